"""A checkpoint becomes one by a rename: until then it lies aside, and a kill at any moment leaves the ones before it.

The trainer writes into `.checkpoint-<step>.part`. Hashing, syncing and the manifest (`manifest.py`) run in a thread
beside the next steps; then the folder gets its name, and older ones are removed, by step, never by time stamps.
"""

import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from hf_kit.checkpoints.manifest import sync, sync_all, write_manifest
from hf_kit.checkpoints.names import PREFIX, checkpoints, is_finished, step_of
from hf_kit.checkpoints.write_errors import one_clear_error


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
        with self.telling(staged):
            for left in self.folder.glob(f".{PREFIX}*"):
                shutil.rmtree(left)
            staged.mkdir(parents=True)
        return staged

    def telling(self, staged: Path) -> AbstractContextManager:
        """What goes wrong while `staged` is written becomes one error; what was written of it is removed."""
        step = staged.name.removeprefix(f".{PREFIX}").removesuffix(".part")
        return one_clear_error(f"the checkpoint of step {step}", self.folder, staged)

    def commit(
        self, staged: Path, facts: dict[str, Any], needed: Iterable[str], keep: int | None, stay: set[int]
    ) -> None:
        """Finish the checkpoint of `facts["step"]` beside the next steps; `wait` tells whether it worked.

        Args:
            needed: the files without which it is no checkpoint.
            keep: how many checkpoints stay, the newest ones; None: all.
            stay: the steps of those that stay besides.
        """
        self._pending = self._thread.submit(self._finish, staged, facts, needed, keep, stay)

    def afterwards(self, do: Callable[[], None]) -> Future:
        """Have `do` done after the last commit and before the next one."""
        return self._thread.submit(do)

    def wait(self) -> None:
        """Until the last commit is done.

        Raises:
            UserError: it failed; the checkpoints before it are whole.
        """
        pending, self._pending = self._pending, None
        if pending:
            pending.result()

    def close(self) -> None:
        """Until the thread has ended: nothing is written any more."""
        self._thread.shutdown()

    def settle(self) -> None:
        """Until the last commit is done, well or not; `wait` still tells."""
        if self._pending:
            self._pending.exception()

    def failed(self) -> bool:
        """Whether the last commit is over and went wrong: `wait` would raise at once."""
        return self._pending is not None and self._pending.done() and self._pending.exception() is not None

    def _finish(
        self, staged: Path, facts: dict[str, Any], needed: Iterable[str], keep: int | None, stay: set[int]
    ) -> None:
        with self.telling(staged):
            write_manifest(staged, facts, needed)
            final = self.folder / f"{PREFIX}{facts['step']}"
            # One that did not verify, or this step saved again: it stays whole until the new one stands.
            replaced = _set_aside(final) if final.exists() else None
            staged.rename(final)
            sync(self.folder)
            if replaced:
                shutil.rmtree(replaced)
            if keep is not None:
                self._rotate(keep, {facts["step"], *stay})

    def keep_only(self, step: int) -> None:
        """Remove all checkpoints but that of `step`, when a run is finished; without that one, none."""
        whole = self._whole()
        if any(step_of(path) == step for path in whole):
            for path in whole:
                if step_of(path) != step:
                    _put_away(path)

    def _whole(self) -> list[Path]:
        """The newest first. What has no whole manifest is no checkpoint: not counted, and not touched."""
        return [path for path in checkpoints(self.folder) if is_finished(path)]

    def _rotate(self, keep: int, steps: set[int]) -> None:
        """Remove the oldest checkpoints beyond `keep`; the newest and those of `steps` always stay.

        Those are the best one, those to be averaged, and the one just written, which need not be the newest: a run that
        goes on from an older checkpoint comes by those that it skipped.
        """
        whole = self._whole()
        stay = {whole[0]} | {path for path in whole if step_of(path) in steps}
        for path in reversed(whole):
            if len(whole) > max(keep, len(stay)) and path not in stay:
                _put_away(path)
                whole.remove(path)


def _put_away(path: Path) -> None:
    """Remove a checkpoint: at once no checkpoint any more, then its files."""
    shutil.rmtree(_set_aside(path))


def _set_aside(path: Path) -> Path:
    return path.rename(path.with_name(f".{path.name}.old"))


def adopt(checkpoint: Path, folder: Path) -> None:
    """Copy a whole checkpoint of another folder into `folder`, unless one of its step is there.

    Raises:
        UserError: it could not be written.
    """
    final = folder / checkpoint.name
    if final.exists():
        return
    staged = staging(folder, step_of(checkpoint))
    with one_clear_error(f"the copy of {checkpoint}", folder, staged):
        shutil.rmtree(staged, ignore_errors=True)
        shutil.copytree(checkpoint, staged)
        sync_all(staged)
        staged.rename(final)
        sync(folder)
