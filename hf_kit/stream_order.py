"""The order in which streamed rows train: that of rows in memory, window by window.

The stream is cut into windows of `buffer_size` rows, each ordered as a data set of its own; the rows that fill no whole
step go into the next window. A set that fits into one window trains exactly as it does in memory. Deliberately
different from the shuffle buffer of `datasets`, which draws single rows: batches of nearly equal length need a window.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from torch.utils.data import IterableDataset, get_worker_info

from hf_kit.collation import TokenRows
from hf_kit.sampler import bucketed_order
from hf_kit.streaming import TokenizedStream


class WindowedRows(IterableDataset):
    """Rows in the order of training; the epoch comes through `set_epoch`, and nothing else changes the order.

    Args:
        stream: the rows.
        batch_size: rows of one batch over all processes.
        accumulation: batches of an optimizer step.
        strategy: group_by_length; random: shuffled within each window; sequential: the stream's own order.
        drop_last: leave out the rows that fill no whole batch.
    """

    def __init__(
        self, stream: TokenizedStream, batch_size: int, accumulation: int, seed: int, strategy: str, drop_last: bool
    ):
        self.stream = stream
        self.batch_size = batch_size
        self.step = batch_size * accumulation
        self.seed = seed
        self.strategy = strategy
        self.rows = len(stream) // batch_size * batch_size if drop_last else len(stream)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        # Several workers each read the whole stream and give every n-th batch, which the loader asks for in turn.
        worker = get_worker_info()
        mine, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        for place, row in enumerate(self._in_order()):
            if place >= self.rows:
                return
            if place // self.batch_size % workers == mine:
                yield row

    def _in_order(self) -> Iterator[dict[str, Any]]:
        for window, order in self._windows():
            rows = TokenRows(window.remove_columns("length"))
            for place in order:
                yield rows[place]

    def _windows(self) -> Iterator[tuple[Dataset, np.ndarray]]:
        held: list[pa.Table] = []
        number = count = seen = 0  # windows given, rows held, rows read
        for table in self.stream.tables():
            while len(table):
                part = table.slice(0, self.stream.buffer_size - count)
                table = table.slice(len(part))
                held.append(part)
                count, seen = count + len(part), seen + len(part)
                last = seen == len(self.stream)
                if count < self.stream.buffer_size and not last:
                    continue
                window = Dataset(pa.concat_tables(held), fingerprint="window")  # one of its contents would take long
                order = self._order(np.asarray(window.data["length"]), number)
                whole = len(order) if last else len(order) // self.step * self.step
                yield window, order[:whole]
                held = [window.data.table.take(order[whole:])]
                count = len(order) - whole
                number += 1

    def _order(self, lengths: np.ndarray, number: int) -> np.ndarray:
        """The order of the rows of window `number`, of these lengths."""
        # The first window has the seed of rows in memory, later ones each their own.
        seed = self.seed if number == 0 else int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0])
        if self.strategy == "group_by_length":
            return bucketed_order(lengths, self.step, seed, self.epoch)
        if self.strategy == "random":
            # As accelerate's SeedableRandomSampler, which takes seed + epoch.
            generator = torch.Generator().manual_seed(seed + self.epoch)
            return torch.randperm(len(lengths), generator=generator).numpy()
        return np.arange(len(lengths))
