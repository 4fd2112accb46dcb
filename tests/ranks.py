"""The processes of one run, as a launcher starts them, but born from a process that has loaded everything: each trains
at once instead of in ten seconds.

What launchers themselves do is tested with these, in `test_launch.py`, `test_launching.py` and `test_clusters.py`.
"""

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

TIMEOUT = 300  # seconds
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["hf_kit.parsing", "hf_kit.run"])


class Ended(NamedTuple):
    """What all processes of a run printed."""

    stdout: str
    stderr: str


class Ranks:
    """`hf-kit train WORDS` in `count` processes, already started.

    Args:
        first: called in each before it trains.
        proven: whether a finished run is proven for real; like in the tests of one process, it takes seconds.
        environment: of the processes, beside this one's.
    """

    def __init__(
        self,
        count: int,
        words: Sequence[str],
        first: Callable[[], Any] | None = None,
        *,
        proven: bool = False,
        **environment: str,
    ):
        self.stdout, self.stderr = Path("ranks.out"), Path("ranks.err")
        for file in (self.stdout, self.stderr):
            file.unlink(missing_ok=True)
        shared = os.environ | environment
        if count > 1:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
            shared |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
        self.processes = []
        for rank in range(count):
            own = shared | ({"RANK": str(rank), "LOCAL_RANK": str(rank)} if count > 1 else {})
            given = (list(words), os.getcwd(), own, str(self.stdout), str(self.stderr), first, proven)
            self.processes.append(SERVER.Process(target=_live, args=given, daemon=True))
            self.processes[-1].start()

    def end(self, expect: int = 0) -> Ended:
        """Wait for all; the others are killed when one has failed."""
        until = time.monotonic() + TIMEOUT
        while any(process.is_alive() for process in self.processes):
            if time.monotonic() > until or any(process.exitcode for process in self.processes):
                for process in self.processes:  # the others fail by themselves
                    process.join(10)
                self.kill()
            time.sleep(0.02)
        ended = Ended(self.stdout.read_text(), self.stderr.read_text())
        status = max(abs(process.exitcode) for process in self.processes)
        assert status == expect, ended.stdout + ended.stderr
        return ended

    def kill(self) -> None:
        for process in self.processes:
            if process.is_alive():
                os.kill(process.pid, signal.SIGKILL)
            process.join()


def _live(
    words: list[str],
    folder: str,
    environment: dict[str, str],
    out: str,
    err: str,
    first: Callable[[], Any] | None,
    proven: bool,
) -> None:
    os.chdir(folder)
    for stream, name in ((sys.stdout, out), (sys.stderr, err)):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        stream.flush()
        os.dup2(file, stream.fileno())
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)

    import torch
    from conftest import unproven

    from hf_kit import cli, publishing

    torch.set_num_threads(1)
    if not proven:
        publishing.prove = unproven
    if first:
        first()
    sys.exit(cli.main(["train", *words]))
