"""Two runs on one folder: the second stops, whatever became of the first."""

import subprocess
import sys

import pytest

from hf_kit.errors import UserError
from hf_kit.run_lock import LOCK, RunLock

HOLD = "import sys; from filelock import FileLock; x = FileLock(sys.argv[1]); x.acquire(); print('held'); input()"


def test_a_folder_that_another_program_holds_is_refused_until_that_one_is_gone(tmp_path):
    other = subprocess.Popen(
        [sys.executable, "-u", "-c", HOLD, str(tmp_path / LOCK)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another run is training in it right now"):
            RunLock().take(tmp_path)
    finally:
        other.kill()  # not even an orderly end is needed
        other.communicate()
    lock = RunLock()
    lock.take(tmp_path)
    lock.take(tmp_path)
    with pytest.raises(UserError, match="another run"):
        RunLock().take(tmp_path)
    lock.release()
    RunLock().take(tmp_path)


def test_only_the_main_process_holds_it(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    RunLock().take(tmp_path)
    assert not (tmp_path / LOCK).exists()


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, capsys):
    def refused(self, timeout):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("hf_kit.run_lock.FileLock.acquire", refused)
    RunLock().take(tmp_path)
    assert "cannot be locked" in capsys.readouterr().err
