"""The rows of a step dealt out to several processes like cards, so that together they train on what one would.

Rows come in the order that one process would take them in, sorted by length within a step; each process gets every
n-th, so that all have about equally many tokens and none waits. The last rows of an epoch are dealt as they are.
accelerate would fill them up with rows that were there before, and the step would be another one. A process that gets
none of them takes part with a row that does not count: its gradients are zero, and exchanging them needs everybody.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

UNUSED = "unused"  # in a batch: it does not count


class Unused(NamedTuple):
    """Stands for a row that is read and does not count."""

    row: Any


class DealtBatches(Sampler[list]):
    """The batches of all processes in turn: of a step first that of process 0, then that of process 1, ...

    Args:
        sampler: gives the rows in their order.
        batch_size: rows per process.
        processes: how many there are.
        drop_last: leave out the rows that are no whole batch for each.
    """

    def __init__(self, sampler: Sampler, batch_size: int, processes: int, drop_last: bool = False):
        self.sampler = sampler
        self.rows = batch_size * processes
        self.processes = processes
        self.drop_last = drop_last

    def __len__(self) -> int:
        whole, rest = divmod(len(self.sampler), self.rows)
        return self.processes * (whole + (rest > 0 and not self.drop_last))

    def __iter__(self) -> Iterator[list]:
        together = []
        for row in self.sampler:
            together.append(row)
            if len(together) == self.rows:
                yield from self._deal(together)
                together = []
        if together and not self.drop_last:
            yield from self._deal(together)

    def _deal(self, rows: list) -> Iterator[list]:
        for process in range(self.processes):
            yield rows[process :: self.processes] or [Unused(rows[0])]


class DealtRows(Dataset):
    """Rows of a data set by what `DealtBatches` gives."""

    def __init__(self, dataset: Any):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, rows: list) -> list[dict[str, Any]]:
        if isinstance(rows[0], Unused):
            return [self.dataset[rows[0].row] | {UNUSED: True}]
        return self.dataset.__getitems__(rows)


class DealtCollator:
    """The collator `collate`, without the rows that do not count; of a batch of nothing else it says so beside it."""

    def __init__(self, collate: Callable[[list[dict[str, Any]]], dict[str, Tensor]]):
        self.collate = collate

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        counted = [row for row in rows if UNUSED not in row]
        if counted:
            return self.collate(counted)
        row = {name: value for name, value in rows[0].items() if name != UNUSED}
        return self.collate([row]) | {UNUSED: torch.ones(1, dtype=torch.bool)}
