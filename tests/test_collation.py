"""Batches are those of transformers' collator, read without a copy of the data set."""

import numpy as np
import pytest
import torch
from datasets import Dataset, concatenate_datasets
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

from hf_kit.collation import PadRows, TokenRows
from hf_kit.tokenizer_training import train_tokenizer

SETS = {
    "one label": {"labels": [1, 0, 2, 1, 1, 0]},
    "several labels": {"labels": [[1.0, 0.0]] * 4 + [[0.0, 1.0]] * 2},
    "numbers": {"labels": [0.5, 1.0, -2.0, 3.5, 0.0, 9.0]},
    "pairs": {"labels": [1, 0, 2, 1, 1, 0], "token_type_ids": [[0], [0, 1], [0, 0, 1], [], [0] * 8, [1]]},
    "no labels": {},
}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer(["a few words to learn a tokenizer from"])


def rows(**columns) -> Dataset:
    return Dataset.from_dict({"input_ids": [[7], [8, 9], [5, 6, 7], [], [4] * 8, [3]]} | columns)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", SETS)
def test_a_batch_is_that_of_the_library(tokenizer, name, side):
    dataset = rows(**SETS[name])
    tokenizer.padding_side = side
    for picked in ([0, 1, 2, 3, 4, 5], [2, 0], [3]):
        ours = PadRows(tokenizer)(TokenRows(dataset).__getitems__(picked))
        theirs = dict(DataCollatorWithPadding(tokenizer)([dataset[i] for i in picked]))
        if picked == [3]:  # an empty text alone: one step of padding, where the library has none
            assert ours["input_ids"].tolist() == [[tokenizer.pad_token_id]] and ours["attention_mask"].tolist() == [[0]]
            continue
        assert ours.keys() == theirs.keys()
        for key in ours:
            torch.testing.assert_close(ours[key], theirs[key])
    tokenizer.padding_side = "right"


def test_rows_as_python_lists_make_the_same_batch(tokenizer):
    dataset = rows(**SETS["pairs"])
    ours = PadRows(tokenizer)(TokenRows(dataset).__getitems__([4, 1]))
    torch.testing.assert_close(ours, PadRows(tokenizer)([dataset[4], dataset[1]]))


def test_lengths_are_multiples_where_asked(tokenizer):
    assert PadRows(tokenizer, multiple=8)(TokenRows(rows()).__getitems__([0, 2]))["input_ids"].shape == (2, 8)
    assert PadRows(tokenizer, multiple=8)(TokenRows(rows()).__getitems__([4]))["input_ids"].shape == (1, 8)


def test_no_length_is_beyond_what_the_model_takes(tokenizer, monkeypatch):
    monkeypatch.setattr(tokenizer, "model_max_length", 5)
    assert PadRows(tokenizer, multiple=8)(TokenRows(rows()).__getitems__([0, 2]))["input_ids"].shape == (2, 5)
    assert PadRows(tokenizer, multiple=8)(TokenRows(rows()).__getitems__([4]))["input_ids"].shape == (1, 8)


def test_rows_in_many_pieces_and_in_another_order_are_found():
    dataset = concatenate_datasets([rows(), rows()]).select([11, 0, 7, 6])
    assert [row["input_ids"].tolist() for row in (TokenRows(dataset)[i] for i in range(4))] == [[3], [7], [8, 9], [7]]
    assert len(TokenRows(dataset)) == 4


def test_nothing_is_copied(tmp_path):
    rows().save_to_disk(tmp_path)
    column = TokenRows(Dataset.load_from_disk(tmp_path)).columns["input_ids"]
    assert not any(values.flags.owndata or values.flags.writeable for values in column.values)
    assert isinstance(column[2], np.ndarray) and np.shares_memory(column[2], column.values[0])
