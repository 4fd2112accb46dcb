"""The order in which streamed rows train: that of rows in memory, window by window.

The stream is cut into windows of at most `buffer_size` rows, in whole steps, each ordered as a data set of its own. A
set that fits into one window trains exactly as it does in memory. Where a window begins in the stream follows from its
number, so that a resumed run reads on from there. Deliberately different from the shuffle buffer of `datasets`, which
draws single rows: batches of nearly equal length need a window.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset
from torch.utils.data import IterableDataset, get_worker_info

from hf_kit.collation import TokenRows
from hf_kit.dealing import UNUSED
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
        processes: how many share each batch: the rows come in such an order that each gets every n-th of them, as
            accelerate cuts a batch into equal pieces, and rows that do not count fill the last one up.
    """

    def __init__(
        self,
        stream: TokenizedStream,
        batch_size: int,
        accumulation: int,
        seed: int,
        strategy: str,
        drop_last: bool,
        processes: int = 1,
    ):
        self.stream = stream
        self.batch_size = batch_size
        self.step = batch_size * accumulation
        self.seed = seed
        self.strategy = strategy
        self.rows = len(stream) // batch_size * batch_size if drop_last else len(stream)
        self.processes = processes
        # Whole steps, so that no window leaves rows over; where one window takes all rows, they are ordered as one.
        whole = stream.buffer_size // self.step * self.step
        self.window = len(stream) if len(stream) <= stream.buffer_size else whole
        self.epoch = 0
        self._starts: dict[int, Any] = {}  # of the windows begun last: where in the stream they begin
        self._passed: tuple[int, int, Any] | None = None

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.rows

    def position(self, rows: int) -> Any:
        """Where the stream stands after `rows` rows of this epoch, plain JSON, or None where that is not known: other
        processes read it (`dataloader_num_workers`)."""
        return self._starts.get(rows // self.window)

    def pass_over(self, epoch: int, rows: int, position: Any) -> None:
        """In `epoch` the first `rows` rows have been trained on: the loader counts them off, and they are not read.

        Of the window in which the next row lies all rows are read, as its order is that of the whole; of the windows
        before it any row stands for all. `position`, if known, spares reading up to there as well.
        """
        self._passed = (epoch, rows, position)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        # Several workers each read the whole stream and give every n-th batch, which the loader asks for in turn.
        worker = get_worker_info()
        mine, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        rows = itertools.islice(self._in_order(), self.rows)
        for place, row in enumerate(rows if self.processes == 1 else self._dealt(rows)):
            if place // self.batch_size % workers == mine:
                yield row

    def _in_order(self) -> Iterator[dict[str, Any]]:
        passed, position = self._passed[1:] if self._passed and self._passed[0] == self.epoch else (0, None)
        first = passed // self.window
        for number, window in self._windows(first, position):
            rows = TokenRows(window.remove_columns("length"))
            if number == first:
                for _ in range(first * self.window):
                    yield rows[0]
            order = self._order(np.asarray(window.data["length"]), number)
            for place in order:
                yield rows[place]

    def _dealt(self, rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Whole batches, cut into equal pieces for the processes."""
        while together := list(itertools.islice(rows, self.batch_size)):
            for process in range(self.processes):
                own = together[process :: self.processes]
                yield from own
                for _ in range(self.batch_size // self.processes - len(own)):
                    yield together[0] | {UNUSED: True}

    def _windows(self, first: int, position: Any) -> Iterator[tuple[int, Dataset]]:
        """The windows from number `first` on; `position` is where that one begins, if known."""
        state, skip = position or (None, first * self.window)  # rows to leave out from there
        held: list[pa.Table] = []
        number, count = first, 0
        self._starts = {first: [state, skip]}
        for table, after in self.stream.tables_from(state):
            taken = min(skip, len(table))
            skip -= taken
            while taken < len(table):
                part = table.slice(taken, self.window - count)
                held.append(part)
                count, taken = count + len(part), taken + len(part)
                if count == self.window:
                    # The loader reads a batch ahead, which may be of the next window.
                    self._starts = {number: self._starts[number], number + 1: [state, taken]}
                    yield number, _window(held)
                    held, count, number = [], 0, number + 1
            state = after
        if held:
            yield number, _window(held)

    def _order(self, lengths: np.ndarray, number: int) -> np.ndarray:
        """The order of the rows of window `number`, of these lengths."""
        # The first window has the seed of rows in memory, later ones each their own.
        seed = self.seed if number == 0 else int(np.random.SeedSequence((self.seed, number)).generate_state(1)[0])
        if self.strategy == "group_by_length":
            return bucketed_order(lengths, self.step, seed, self.epoch)
        if self.strategy == "random":
            return np.random.default_rng((seed, self.epoch)).permutation(len(lengths))  # as `RowSampler`
        return np.arange(len(lengths))


def _window(tables: list[pa.Table]) -> Dataset:
    return Dataset(pa.concat_tables(tables), fingerprint="window")  # one of its contents would take long
