"""A checkpoint becomes one by a rename: until then it lies aside, and a kill at any moment leaves the ones before it.

The trainer writes into `.checkpoint-<step>.part`. Hashing, syncing and the manifest (`manifest.py`) run in a thread
beside the next steps; then the folder gets its name, and older ones are removed, by step, never by time stamps.
"""

import errno
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from hf_kit.checkpoints.manifest import read_manifest, sync, write_manifest
from hf_kit.errors import UserError

PREFIX = "checkpoint-"


def step_of(path: Path) -> int | None:
    """The step in a checkpoint's name; None for other names."""
    number = path.name.removeprefix(PREFIX)
    return int(number) if path.name.startswith(PREFIX) and number.isdecimal() else None


def checkpoints(folder: Path) -> list[Path]:
    """The folders named as checkpoints, the newest step first, whole or not."""
    return sorted((p for p in folder.glob(f"{PREFIX}*") if p.is_dir() and step_of(p) is not None), key=step_of)[::-1]


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was finished; whether its files are still as they were is not looked at."""
    return next((path for path in checkpoints(folder) if _has_manifest(path)), None)


def staging(folder: Path, step: int) -> Path:
    """Where the checkpoint of `step` is written before it is one."""
    return folder / f".{PREFIX}{step}.part"


class Commits:
    """The checkpoints of one run folder; used on the process that writes."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future | None = None

    def stage(self, step: int) -> Path:
        """An empty folder for the checkpoint of `step`; what a killed run left aside is removed.

        Raises:
            UserError: the one before could not be finished, or this one cannot be begun.
        """
        self.wait()
        staged = staging(self.folder, step)
        with one_clear_error(staged):
            for left in self.folder.glob(f".{PREFIX}*"):
                shutil.rmtree(left)
            staged.mkdir(parents=True)
        return staged

    def commit(self, staged: Path, facts: dict[str, Any], keep: int | None, best: int | None) -> None:
        """Finish the checkpoint of `facts["step"]` beside the next steps; `wait` tells whether it worked.

        Args:
            keep: how many checkpoints stay, the newest ones; None: all.
            best: the step of one that stays besides.
        """
        self._pending = self._thread.submit(self._finish, staged, facts, keep, best)

    def wait(self) -> None:
        """Until the last commit is done.

        Raises:
            UserError: it failed; the checkpoints before it are whole.
        """
        pending, self._pending = self._pending, None
        if pending:
            pending.result()

    def failed(self) -> bool:
        """Whether the last commit is over and went wrong: `wait` would raise at once."""
        return self._pending is not None and self._pending.done() and self._pending.exception() is not None

    def _finish(self, staged: Path, facts: dict[str, Any], keep: int | None, best: int | None) -> None:
        with one_clear_error(staged):
            write_manifest(staged, facts)
            final = self.folder / f"{PREFIX}{facts['step']}"
            if final.exists():  # one that did not verify, or this step saved again
                _put_away(final)
            staged.rename(final)
            sync(self.folder)
            if keep is not None:
                self._rotate(keep, best)

    def keep_only(self, step: int) -> None:
        """Remove all checkpoints but that of `step`, when a run is finished."""
        for path in self._whole():
            if step_of(path) != step:
                _put_away(path)

    def _whole(self) -> list[Path]:
        """The newest first. What has no whole manifest is no checkpoint: not counted, and not touched."""
        return [path for path in checkpoints(self.folder) if _has_manifest(path)]

    def _rotate(self, keep: int, best: int | None) -> None:
        """Remove the oldest checkpoints beyond `keep`; the newest and that of step `best` always stay."""
        whole = self._whole()
        stay = {whole[0]} | {path for path in whole if step_of(path) == best}
        for path in reversed(whole):
            if len(whole) > max(keep, len(stay)) and path not in stay:
                _put_away(path)
                whole.remove(path)


def _has_manifest(path: Path) -> bool:
    try:
        read_manifest(path)
    except ValueError:
        return False
    return True


def _put_away(path: Path) -> None:
    """Remove a checkpoint: at once no checkpoint any more, then its files."""
    aside = path.with_name(f".{path.name}.old")
    path.rename(aside)
    shutil.rmtree(aside)


@contextmanager
def one_clear_error(staged: Path) -> Iterator[None]:
    """Turn what can go wrong while a checkpoint is written into one error, and remove what was written of it.

    Raises:
        UserError: the disk is full, the folder read-only or gone ...
    """
    try:
        yield
    except (OSError, SafetensorError) as reason:
        shutil.rmtree(staged, ignore_errors=True)
        raise UserError(_why_not(staged, reason)) from reason


def _why_not(staged: Path, reason: OSError | SafetensorError) -> str:
    folder = staged.parent
    step = staged.name.removeprefix(f".{PREFIX}").removesuffix(".part")
    # safetensors tells the system's error in words only.
    number = getattr(reason, "errno", None)
    if number == errno.ENOSPC or "os error 28" in str(reason):
        free = f"{shutil.disk_usage(folder).free / 1e6:,.0f} MB free" if folder.is_dir() else "folder gone"
        why, remedy = f"the disk is full ({free})", "Make room"
    elif number in (errno.EROFS, errno.EACCES, errno.EPERM):
        why, remedy = f"{folder} cannot be written", "Make it writable"
    elif number == errno.ENOENT or "os error 2)" in str(reason):
        why, remedy = f"files vanished while it was written ({reason})", "See that no other program cleans up there"
    elif number == errno.EDQUOT:
        why, remedy = "your disk quota is used up", "Make room"
    else:
        why, remedy = str(reason), "See to it"
    last = last_checkpoint(folder)
    go_on = f"it goes on from {last}" if last else "nothing is saved yet, so it starts anew"
    return f"the checkpoint of step {step} could not be saved: {why}. {remedy}, then give the same command: {go_on}"
