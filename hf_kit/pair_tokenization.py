"""Pairs of texts, the second to be written from the first, as token ids: through a tokenizer's own call.

The call knows what the backend's alone does not: another vocabulary or another language token on the target's side, and
tokenizers without a fast version (Marian, M2M100).
"""

import hashlib
import json
import os
import tempfile
from pathlib import Path

import pyarrow as pa
import transformers
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from hf_kit.token_cache import cached_rows

SCHEMA = 3  # raise it when the columns below or their meaning change


def tokenize_pairs(
    dataset: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    source_column: str,
    target_column: str | None,
    *,
    prefix: str = "",
    max_source_length: int,
    max_target_length: int,
    cache_dir: str | os.PathLike | None = None,
    description: str,
) -> Dataset:
    """`input_ids` and, with a `target_column`, `labels` of every row, cut but not padded.

    Beside them `length` and `target_length`, by which batches are made, and `whole` and `target_whole`, which were the
    lengths before the cut. All count special tokens. A blank text has no others, whatever a tokenizer makes of spaces.

    Args:
        prefix: put before every source (T5's "translate English to German: ").
        max_source_length, max_target_length: tokens, special ones included.
    """
    names = [source_column, *([target_column] if target_column else [])]
    settings = ["pairs", SCHEMA, transformers.__version__, _hash(tokenizer), prefix]
    settings += [max_source_length, max_target_length, len(names)]

    def encode(table: pa.Table, rows: list[int]) -> pa.Table:
        sources = [prefix + text if text.strip() else prefix.rstrip() for text in table[source_column].to_pylist()]
        source, whole = _cut(sources, tokenizer, max_source_length, target=False)
        out = {"input_ids": pa.array(source, pa.list_(pa.int32())), "whole": pa.array(whole, pa.int32())}
        if target_column:
            targets = [text if text.strip() else "" for text in table[target_column].to_pylist()]
            target, whole = _cut(targets, tokenizer, max_target_length, target=True)
            out |= {"labels": pa.array(target, pa.list_(pa.int32())), "target_whole": pa.array(whole, pa.int32())}
            out |= {"target_length": pa.array(map(len, target), pa.int32())}
        return pa.table(out | {"length": pa.array(map(len, source), pa.int32())})

    texts = dataset.select_columns(names).with_format("arrow")
    return cached_rows(texts, json.dumps(settings), encode, cache_dir=cache_dir, description=description)[0]


def _cut(
    texts: list[str], tokenizer: PreTrainedTokenizerBase, most: int, *, target: bool
) -> tuple[list[list[int]], list[int]]:
    """Token ids, and how many there were before the cut, which the tokenizer makes: it keeps the special tokens."""
    name = "text_target" if target else "text"
    quiet = {"verbose": False, "return_attention_mask": False, "add_special_tokens": True}
    ids = tokenizer(**{name: texts}, **quiet)["input_ids"]
    whole = [len(row) for row in ids]
    long = [i for i, length in enumerate(whole) if length > most]
    if long:
        kept = tokenizer(**{name: [texts[i] for i in long]}, truncation=True, max_length=most, **quiet)["input_ids"]
        for i, row in zip(long, kept, strict=True):
            ids[i] = row
        if tokenizer.is_fast:
            tokenizer.backend_tokenizer.no_truncation()  # else it would be saved with the tokenizer
    return ids, whole


def _hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """sha256 of all that the tokenizer would save: of tokenizers without a fast version there is no one file."""
    with tempfile.TemporaryDirectory() as name:
        tokenizer.save_pretrained(name)
        whole = hashlib.sha256()
        for path in sorted(Path(name).iterdir()):
            whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()
