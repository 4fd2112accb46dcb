"""Model inputs that are made as they are read, with random changes in training: images, say."""

from abc import abstractmethod
from typing import Any, NamedTuple

from torch.utils.data import Dataset


class Draw(NamedTuple):
    """A training row in one epoch. Every random change of it follows from these three numbers alone.

    So it does not matter which process or worker makes the row, or whether the run was interrupted before.
    """

    seed: int
    epoch: int
    row: int


class InputRows(Dataset):
    """Rows by their number as they are scored, by a `Draw` as they are trained on."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, row: int | Draw) -> dict[str, Any]:
        """The row for the task's collator."""

    def __getitems__(self, rows: list[int] | list[Draw]) -> list[dict[str, Any]]:
        """Those of a batch; the data loader asks for them together."""
        return [self[row] for row in rows]
