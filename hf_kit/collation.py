"""Rows of token ids become padded tensors, without a Python loop over tokens.

`TokenRows` reads a tokenized data set as numpy views of its memory-mapped Arrow columns, where `datasets` would make
Python lists of them; `PadRows` copies each row into the batch at once. Both give what `DataCollatorWithPadding` gives.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from hf_kit.token_loss import IGNORED


class _Column:
    """Random access to an Arrow column of numbers or of lists of numbers, without copying it."""

    def __init__(self, column: pa.ChunkedArray):
        self.starts = np.cumsum([0, *(len(chunk) for chunk in column.chunks)])  # [chunks + 1]
        lists = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
        self.offsets = [chunk.offsets.to_numpy() if lists else None for chunk in column.chunks]
        self.values = [(chunk.values if lists else chunk).to_numpy(zero_copy_only=False) for chunk in column.chunks]

    def __getitem__(self, row: int) -> Any:
        """A list's numbers as `[m]`, or the number."""
        chunk = int(np.searchsorted(self.starts, row, side="right")) - 1
        place = row - self.starts[chunk]
        offsets, values = self.offsets[chunk], self.values[chunk]
        return values[place] if offsets is None else values[offsets[place] : offsets[place + 1]]


class TokenRows(torch.utils.data.Dataset):
    """The rows of a `datasets.Dataset` of numbers and lists of numbers, as dictionaries of numpy values."""

    def __init__(self, dataset: Dataset):
        if dataset._indices is not None:
            dataset = dataset.flatten_indices()
        self.columns = {name: _Column(dataset.data[name]) for name in dataset.column_names}
        self.length = len(dataset)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {name: column[row] for name, column in self.columns.items()}

    def __getitems__(self, rows: list[int]) -> list[dict[str, Any]]:
        return [self[row] for row in rows]


class PadRows:
    """A collator: rows with `input_ids` `[t]`, all columns of tokens padded to the longest row, labels stacked.

    Args:
        multiple: padded lengths are multiples of it, as far as the tokenizer's `model_max_length` allows.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, multiple: int = 1):
        self.padding = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}
        self.left = tokenizer.padding_side == "left"
        self.multiple = multiple
        self.most = tokenizer.model_max_length

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask` and `token_type_ids` (if the rows have them) `[b, t]`; `labels` `[b]` or
        `[b, c]`; numbers of other columns `[b]`."""
        lengths = np.array([len(row["input_ids"]) for row in rows])  # [b]
        longest = max(1, int(lengths.max()))
        longest = max(longest, min(-(-longest // self.multiple) * self.multiple, self.most))
        starts = longest - lengths if self.left else np.zeros_like(lengths)
        batch = {}
        for name in rows[0]:
            if name in self.padding:
                padded = np.full((len(rows), longest), self.padding[name], dtype=np.int64)  # [b, t]
                for place, (row, start) in enumerate(zip(rows, starts, strict=True)):
                    padded[place, start : start + len(row[name])] = row[name]
                batch[name] = torch.from_numpy(padded)
            else:
                batch[name] = stacked([row[name] for row in rows])
        steps = np.arange(longest)
        valid = (steps >= starts[:, None]) & (steps < (starts + lengths)[:, None])  # [b, t]
        batch["attention_mask"] = torch.from_numpy(valid.astype(np.int64))
        return batch


class PadPairs(PadRows):
    """As `PadRows` for rows that also hold `labels` `[t]`, the tokens to be written.

    Args:
        start: the token that the decoder starts from.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, start: int, multiple: int = 1):
        super().__init__(tokenizer, multiple)
        self.start = start

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Beside the source's: `labels` `[b, t]`, -100 at padding, and `decoder_input_ids` `[b, t]`, which are the
        labels one step later. `Trainer` takes the labels away before the model could make them."""
        targets = [row["labels"] for row in rows if "labels" in row]
        batch = super().__call__([{"input_ids": row["input_ids"]} for row in rows])
        if targets:
            longest = max(1, max(map(len, targets)))
            longest = -(-longest // self.multiple) * self.multiple
            labels = np.full((len(rows), longest), IGNORED, dtype=np.int64)  # [b, t]
            inputs = np.full_like(labels, self.padding["input_ids"])
            inputs[:, 0] = self.start
            for place, target in enumerate(targets):
                labels[place, : len(target)] = target
                inputs[place, 1 : len(target)] = target[:-1]
            batch |= {"labels": torch.from_numpy(labels), "decoder_input_ids": torch.from_numpy(inputs)}
        return batch


def stacked(values: list[Any]) -> Tensor:
    """Numbers or arrays of one shape as a tensor `[b, ...]`, float32 or int64."""
    stacked = torch.from_numpy(np.array(values))
    return stacked.float() if stacked.is_floating_point() else stacked.long()
