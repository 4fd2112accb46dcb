"""SIGTERM and SIGINT ask a training run to stop: it finishes the step, saves, and ends with 128 + the signal's number.

A signal may come to one process or to all of them, to the data workers as well (Ctrl-C in a terminal does that), and
more than once. The processes agree on the step: each tells the others what it heard, once a step.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from accelerate import PartialState

from hf_kit.console import is_main_process

# Set by `accelerate launch` and by `torch.distributed.run`, and by nothing within a run.
LAUNCHERS = ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequests:
    """What has been asked of this process since `listening` began.

    Attributes:
        agreed: the signal that all processes know of, 0 for none.
    """

    def __init__(self):
        self.agreed = 0
        self._heard = 0
        # Shared with the data workers, so that they know as well.
        self._listens = multiprocessing.Value("b", 0, lock=False)
        # Started by a launcher that dies without a word, nobody could stop the run any more.
        launched = any(name in os.environ for name in LAUNCHERS)
        self._parent = os.getppid() if launched else None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear the signals meanwhile; only the main thread of a program can, elsewhere nothing changes.

        One that came too late for the processes to agree on it does what it would have done without us.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._hear) for number in SIGNALS}
        self._listens.value = 1
        try:
            yield
        finally:
            self._listens.value = 0
            for number, handler in before.items():
                signal.signal(number, handler)
        if self._heard and not self.agreed:
            signal.raise_signal(self._heard)

    @contextmanager
    def sparing_children(self, workers: int) -> Iterator[None]:
        """Signals wait until this is over, also in data workers that start meanwhile, for what `spared` does there."""
        if not workers or not self._listens.value:
            yield
            return
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def spared(self, init: Callable[[int], None] | None) -> "SparedWorker":
        """A data worker's first call, with `init` in it: as long as this process listens, it ignores the signals."""
        return SparedWorker(init, self._listens)

    def _hear(self, number: int, frame: object) -> None:
        first, self._heard = not self._heard, self._heard or number
        if is_main_process():
            name = signal.Signals(number).name
            text = f"{name}: finishing this step, saving, then stopping" if first else f"{name}: still saving"
            with suppress(OSError):  # `tee` has got the Ctrl-C as well
                os.write(2, f"\n{text}\n".encode())  # what Python buffers may be half written where a signal comes in

    def agree(self, *also: bool) -> list[bool]:
        """Called once a step on all processes: `agreed` is what any of them heard; of `also`, what holds on any."""
        if self._parent is not None and os.getppid() != self._parent:
            self._heard = self._heard or signal.SIGTERM
        state = PartialState()
        heard = torch.tensor([self._heard, *map(int, also)])
        if state.num_processes > 1:
            heard = heard.to(state.device)
            torch.distributed.all_reduce(heard, torch.distributed.ReduceOp.MAX)
        self.agreed, *on_any = heard.tolist()
        return [bool(one) for one in on_any]


class SparedWorker:
    """Called first in a data worker, which torch would let SIGTERM end: the step under way would lack its batches.

    Once its parent has stopped listening it ends at a signal, as the parent, when it ends, waits for that.
    """

    def __init__(self, init: Callable[[int], None] | None, listens: Any):
        self.init, self.listens = init, listens

    def __call__(self, worker: int) -> None:
        for number in SIGNALS:
            signal.signal(number, self._hear)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        if self.init:
            self.init(worker)

    def _hear(self, number: int, frame: object) -> None:
        if not self.listens.value:
            os._exit(128 + number)
