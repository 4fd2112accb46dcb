"""A file that cannot be written (a full disk, a read-only folder) is one error that says what to do."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from hf_kit.checkpoints.names import last_checkpoint
from hf_kit.errors import UserError

FULL, QUOTA, FORBIDDEN = (errno.ENOSPC,), (errno.EDQUOT,), (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def one_clear_error(what: str, folder: Path, staged: Path | None = None) -> Iterator[None]:
    """Turn what can go wrong while `what` is written into `folder` into one error.

    Args:
        staged: is removed; without it, an error that is not about the disk stays as it is.

    Raises:
        UserError: the disk is full, the folder read-only or gone ...
    """
    try:
        yield
    except Exception as reason:
        number = _number(reason)
        if number is None and not isinstance(reason, (OSError, SafetensorError)):
            raise
        if staged is None and number not in (*FULL, *QUOTA, *FORBIDDEN):
            raise
        if staged is not None:
            shutil.rmtree(staged, ignore_errors=True)
        raise UserError(
            f"{what} could not be saved: {_why(folder, number, reason)}, {_then(last_checkpoint(folder))}"
        ) from reason


def _number(reason: Exception) -> int | None:
    """The system's error number; libraries in Rust (tokenizers, safetensors) tell it in words only."""
    if isinstance(reason, OSError):
        return reason.errno
    _, found, rest = str(reason).partition("os error ")
    digits = rest.split(")")[0]
    if found and digits.isdecimal():
        return int(digits)
    _, found, rest = str(reason).partition("Os { code: ")
    return int(rest.split(",")[0]) if found else None


def _why(folder: Path, number: int | None, reason: Exception) -> str:
    """What happened, and the remedy."""
    if number in FULL:
        free = f"{shutil.disk_usage(folder).free / 1e6:,.0f} MB free" if folder.is_dir() else "its folder is gone"
        return f"the disk is full ({free}). Make room"
    if number in QUOTA:
        return "your disk quota is used up. Make room"
    if number in FORBIDDEN:
        return f"{folder} cannot be written. Make it writable"
    if number == errno.ENOENT:
        return f"files vanished while it was written ({reason}). See that no other program cleans up there"
    return f"{reason}. Mend that"


def _then(last: Path | None) -> str:
    return f"then give the same command: it goes on from {last or 'the start, as nothing is saved yet'}"
