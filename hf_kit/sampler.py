"""Batches of nearly equal length, in an order that is a function of (seed, epoch) alone.

Like transformers' `LengthGroupedSampler` it sorts by length within random blocks, so that little of a batch is padding.
Deliberately different: the unit is the rows of an optimizer step, over all processes and accumulated batches, so that
it does not matter how they are dealt out; batches are shuffled after sorting, so lengths do not run in cycles; nothing
is drawn from the global random state, so a resumed run sees the order it would have seen.

Rows with two lengths, a source's and its translation's, are sorted by the first and, where that is equal, by the
second: sorted by their sum, a fifth of the positions of English and Chinese sentences would be padding instead of a
thirtieth.

Lengths are tokens per row, `[n]`, or of both sides, `[n, 2]`.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from datasets import Dataset
from torch.utils.data import Sampler

from hf_kit.input_rows import Draw

# Batches sorted together, about: blocks are of one size. More means less padding and less randomness: of SST-2's
# sentences in 216 batches of 32, blocks of 54 leave 2.8 % of the positions to padding, of 108 1.6 %, one of 216 0.8 %.
BLOCK = 200


def by_length(lengths: np.ndarray) -> np.ndarray:
    """The rows from the shortest to the longest, `[n]`; of equal ones the first comes first."""
    return np.argsort(lengths, kind="stable") if lengths.ndim == 1 else np.lexsort((lengths[:, 1], lengths[:, 0]))


def longest_first(lengths: np.ndarray) -> np.ndarray:
    """The rows from the longest to the shortest, `[n]`; of equal ones the first comes first."""
    return by_length(-lengths)


def padded(lengths: np.ndarray) -> int:
    """The positions of a batch of rows, `[b]` or `[b, 2]`, each side padded to its longest."""
    return len(lengths) * int(lengths.max(axis=0).sum())


def bucketed_order(lengths: Sequence[int] | np.ndarray, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of the rows in which each run of `batch_size` rows has nearly equal lengths.

    Args:
        batch_size: rows per optimizer step (per device x processes x accumulation).

    Returns:
        row indices `[n]`; the short last batch, if any, stands at the end.
    """
    lengths = np.asarray(lengths)
    rng = np.random.default_rng((seed, epoch))
    order = rng.permutation(len(lengths))
    whole = len(order) // batch_size * batch_size
    last = order[whole:]
    batches = []
    for block in np.array_split(order[:whole].reshape(-1, batch_size), max(1, round(whole / batch_size / BLOCK))):
        rows = block.ravel()
        batches.extend(rows[by_length(lengths[rows])].reshape(-1, batch_size))
    shuffled = [batches[i] for i in rng.permutation(len(batches))]
    return np.concatenate([*shuffled, last]).astype(np.int64)


def padding_share(lengths: Sequence[int] | np.ndarray, order: Sequence[int], batch_size: int) -> float:
    """The share of all positions that are padding when `order` is cut into batches padded to their longest row."""
    ordered = np.asarray(lengths)[np.asarray(order)]
    positions = sum(padded(ordered[i : i + batch_size]) for i in range(0, len(ordered), batch_size))
    return float(1 - ordered.sum() / positions) if positions else 0.0


class LengthBucketSampler(Sampler[int]):
    """Rows for training, in `bucketed_order`; the epoch comes through `set_epoch`."""

    def __init__(self, lengths: Sequence[int] | np.ndarray, batch_size: int, seed: int):
        self.lengths = np.asarray(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        return iter(bucketed_order(self.lengths, self.batch_size, self.seed, self.epoch).tolist())


class RowSampler(Sampler[int]):
    """Rows for training, not by their lengths; the epoch comes through `set_epoch`.

    Args:
        shuffled: in random order, which is a function of (seed, epoch) alone; else in their own.
    """

    def __init__(self, rows: int, seed: int, shuffled: bool):
        self.rows = rows
        self.seed = seed
        self.shuffled = shuffled
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[int]:
        order = np.arange(self.rows)
        if self.shuffled:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(order)
        return iter(order.tolist())


class DrawSampler(RowSampler):
    """As `RowSampler`, each row with the numbers that its random changes follow from."""

    def __iter__(self) -> Iterator[Draw]:
        return (Draw(self.seed, self.epoch, row) for row in super().__iter__())


def cuts_by_tokens(lengths: np.ndarray, most: int) -> Iterator[slice]:
    """Where to cut rows into batches of at most `most` padded tokens, at least one row each.

    Args:
        lengths: as `longest_first` puts them.
    """
    start = 0
    while start < len(lengths):
        # The first row is the longest of its batch, but for its second side.
        stop = start + max(1, most // max(1, int(lengths[start].sum())))
        if lengths.ndim == 2:
            batch = lengths[start:stop]
            widths = np.maximum.accumulate(batch, axis=0).sum(axis=1)  # [b]
            stop = start + max(1, int((widths * np.arange(1, len(batch) + 1) <= most).sum()))
        yield slice(start, stop)
        start = stop


class TokenBudgetBatches(Sampler[list[int]]):
    """Batches of at most `max_tokens` padded tokens: few rows of long texts, many of short ones.

    Rows of nearly equal length stand together, those of equal length in random order, and batches are shuffled. How
    many batches there are, and of which sizes, is the same in every epoch.

    Args:
        multiple: the number of batches is made a multiple of it, by halving the ones with the most rows: processes
            that take turns then have equally many.
    """

    def __init__(self, lengths: Sequence[int] | np.ndarray, max_tokens: int, seed: int, multiple: int = 1):
        self.lengths = np.asarray(lengths)
        self.seed = seed
        self.epoch = 0
        falling = self.lengths[longest_first(self.lengths)]
        sizes = [len(falling[cut]) for cut in cuts_by_tokens(falling, max_tokens)]
        while len(sizes) % multiple and max(sizes) > 1:
            largest = int(np.argmax(sizes))
            sizes[largest : largest + 1] = [sizes[largest] // 2, sizes[largest] - sizes[largest] // 2]
        self.ends = np.cumsum(sizes)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.ends)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(len(self.lengths))
        order = order[longest_first(self.lengths[order])]
        batches = np.split(order, self.ends[:-1])
        for i in rng.permutation(len(batches)):
            yield batches[i].tolist()


class LongestFirstSampler(Sampler[int]):
    """Rows for evaluation from the longest to the shortest: little padding, and memory runs out at once or never.

    `order` says which row stands where, so that predictions can be put back.
    """

    def __init__(self, lengths: Sequence[int] | np.ndarray):
        self.order = longest_first(np.asarray(lengths))

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[int]:
        return iter(self.order.tolist())


def row_lengths(dataset) -> np.ndarray | None:
    """The `length` column that preprocessing added, `[n]`, with `target_length` `[n, 2]`; None for data without one."""
    if not isinstance(dataset, Dataset) or "length" not in dataset.column_names:
        return None
    names = [name for name in ("length", "target_length") if name in dataset.column_names]
    columns = [np.asarray(dataset.with_format("numpy")[name][:]) for name in names]
    return columns[0] if len(columns) == 1 else np.stack(columns, axis=1)
