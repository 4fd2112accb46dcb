"""Data workers: the processes that make batches beside the training, `--dataloader_num_workers` of them."""

import signal
from collections.abc import Callable
from functools import partial

from torch.utils.data import DataLoader


def spare_signals(loader: DataLoader) -> DataLoader:
    """The same loader, whose workers live through the signals that ask a whole process group to stop.

    Left alone, torch lets SIGTERM end them at once, and the step that is to be finished lacks its batches. They end
    with the process that trains.
    """
    before = loader.worker_init_fn
    if not (isinstance(before, partial) and before.func is _begin):
        loader.worker_init_fn = partial(_begin, before)
    return loader


def _begin(before: Callable[[int], None] | None, number: int) -> None:
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)
    if before:
        before(number)
