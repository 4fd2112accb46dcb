"""Pairs of texts as token ids: each side as its tokenizer frames it, cut inside the frame, kept by content."""

import json
from pathlib import Path

import pytest
from datasets import Dataset
from transformers import AutoConfig
from translators import CHECKPOINTS, pairs

from hf_kit.languages import set_languages
from hf_kit.pair_tokenization import tokenize_pairs

ROWS = [*pairs(6), ("", ""), ("cat " * 30, "猫" * 30)]
LONG = len(ROWS) - 1


def made(name: str, folder: Path):
    model_type, _, make = CHECKPOINTS[name]
    tokenizer = make(folder)
    set_languages(tokenizer, AutoConfig.for_model(model_type), "en", "zh")
    return tokenizer


def tokenized(tokenizer, rows=ROWS, target: str | None = "zh", **options) -> Dataset:
    sources, targets = zip(*rows, strict=True)
    settings = {"max_source_length": 12, "max_target_length": 9, "cache_dir": "cache", "description": "tokenizing"}
    return tokenize_pairs(
        Dataset.from_dict({"en": sources, "zh": targets}), tokenizer, "en", target, **settings | options
    )


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_both_sides_are_what_the_tokenizer_gives_and_are_cut_inside_their_frame(name, tmp_path):
    tokenizer = made(name, tmp_path)
    rows = tokenized(tokenizer)
    for i, (source, target) in enumerate(ROWS):
        own, other = tokenizer(source)["input_ids"], tokenizer(text_target=target)["input_ids"]
        assert (rows[i]["whole"], rows[i]["target_whole"]) == (len(own), len(other))
        assert i != LONG or (len(own) > 12 and len(other) > 9)
        own = tokenizer(source, truncation=True, max_length=12)["input_ids"]
        other = tokenizer(text_target=target, truncation=True, max_length=9)["input_ids"]
        assert (rows[i]["input_ids"], rows[i]["labels"]) == (own, other)
        assert (rows[i]["target_length"], rows[i]["length"]) == (len(other), len(own))
    # What stands around a short target stands around the one that was cut.
    short, long = rows[0]["labels"], rows[LONG]["labels"]
    empty = tokenizer(text_target="")["input_ids"]
    after = len(empty) - empty.index(tokenizer.eos_token_id)
    assert len(long) == 9 and long[-after:] == short[-after:] == empty[-after:]
    assert long[: len(empty) - after] == short[: len(empty) - after] == empty[: len(empty) - after]


@pytest.mark.parametrize("name", ["t5", "mbart50"])
def test_the_cut_is_not_saved_with_the_tokenizer(name, tmp_path):
    tokenizer = made(name, tmp_path)
    tokenized(tokenizer)
    tokenizer.save_pretrained("saved")
    assert json.loads(Path("saved/tokenizer.json").read_text(encoding="utf-8"))["truncation"] is None


def test_a_prefix_stands_before_sources_only(tmp_path):
    tokenizer = made("t5", tmp_path)
    plain, told = tokenized(tokenizer), tokenized(tokenizer, prefix="translate English to Chinese: ")
    before = tokenizer("translate English to Chinese:")["input_ids"][:-1]
    assert told[0]["input_ids"] == [*before, *plain[0]["input_ids"]]
    assert told["labels"] == plain["labels"]
    assert told[0]["whole"] == plain[0]["whole"] + len(before)


def test_sources_alone_have_no_labels(tmp_path):
    rows = tokenized(made("marian", tmp_path), target=None)
    assert set(rows.column_names) == {"input_ids", "whole", "length"}
    assert rows["length"] == [len(ids) for ids in rows["input_ids"]]


def test_tokens_are_kept_by_content_and_made_anew_for_another_language(tmp_path, monkeypatch):
    tokenizer = made("m2m_100", tmp_path)
    first = tokenized(tokenizer)
    with monkeypatch.context() as patch:
        patch.setattr("hf_kit.pair_tokenization._cut", None)  # whoever tokenizes again fails
        again = tokenized(tokenizer)
    assert again.to_dict() == first.to_dict()
    set_languages(tokenizer, AutoConfig.for_model("m2m_100"), "en", "de")
    other = tokenized(tokenizer)
    assert other[0]["labels"][0] == tokenizer.get_lang_id("de") != first[0]["labels"][0]
