"""One run at a time on a run folder: two would overwrite each other's checkpoints.

The operating system holds the lock and lets go of it when the process ends, however it ends.
"""

from pathlib import Path

from filelock import FileLock, Timeout

from hf_kit import console
from hf_kit.errors import UserError

LOCK = ".lock"


class RunLock:
    """The main process's hold on one run folder."""

    def __init__(self):
        self._lock: FileLock | None = None

    def take(self, folder: Path) -> None:
        """Hold `folder`, which is there, until `release`; nothing happens on other processes, or when it is held.

        Raises:
            UserError: another program holds it.
        """
        if self._lock or not console.is_main_process():
            return
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"--output_dir {folder}: another run is training in it right now; wait for it, stop it, or name "
                "another folder. Nothing was changed"
            ) from None
        except (NotImplementedError, OSError) as reason:  # some network file systems
            console.warn(f"{folder} cannot be locked ({reason}): see that no second run is started in it")
            return
        self._lock = lock

    def release(self) -> None:
        if self._lock:
            self._lock.release()
            self._lock = None
