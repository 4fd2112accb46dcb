"""Pairs of texts read apart: a checkpoint becomes the encoder of a bi-encoder (`models/bi_encoder/`).

A checkpoint that was trained to embed single texts knows how alike two of them are before it has seen one labelled
pair. Reading the two together, as a pair is read otherwise, uses none of that.
"""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from hf_kit import console
from hf_kit.arguments import ModelArguments
from hf_kit.backbone import resolve_checkpoint
from hf_kit.collation import PadRows
from hf_kit.errors import UserError
from hf_kit.models import own_model_types
from hf_kit.models.bi_encoder import BiEncoderConfig
from hf_kit.models.bi_encoder.modeling_bi_encoder import split_pairs
from hf_kit.streaming import TokenizedStream

TOGETHER, APART = "together", "apart"
FLAG = "--pair_encoding apart"
# How sentence-transformers calls what a bi-encoder can do.
PARTS = ("Transformer", "Pooling", "Normalize")
POOLINGS = {"mean": "mean", "mean_tokens": "mean", "cls": "first", "cls_token": "first"}
# Pairs whose cosines say whether more means more alike.
PAIRS = 128
BATCH = 16


def bi_encoder_config(
    arguments: ModelArguments, config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase
) -> BiEncoderConfig:
    """That of a bi-encoder around the checkpoint that `config` is of.

    Raises:
        UserError: a model that cannot be the encoder.
    """
    what = arguments.model_name_or_path
    if config.is_encoder_decoder or config.model_type in own_model_types():
        raise UserError(f"{FLAG}: {what} is a {config.model_type}, no encoder that embeds a text; leave it out")
    around = BiEncoderConfig(
        text_config=config,
        pooling=_pooling(arguments),
        pad_token_id=tokenizer.pad_token_id or 0,
        cls_token_id=-1 if tokenizer.cls_token_id is None else tokenizer.cls_token_id,
        sep_token_id=-1 if tokenizer.sep_token_id is None else tokenizer.sep_token_id,
        doubled_separator=tokenizer.num_special_tokens_to_add(pair=True) > 3,
    )
    if not _takes_pairs_apart(around, tokenizer):
        raise UserError(
            f"{FLAG}: the tokenizer of {what} frames a pair in a way that its texts cannot be taken apart again (it "
            "needs a first token and separators, as BERT and RoBERTa have them); leave it out"
        )
    # Where on this machine it came from is nothing that a model should tell.
    around.text_config.name_or_path = ""
    _name_what_is_left_out(arguments)
    means = {"mean": "the mean over its tokens", "first": "its first token's state"}[around.pooling]
    console.say(f"Each text of a pair is read by itself; its embedding is {means}")
    return around


def _takes_pairs_apart(config: BiEncoderConfig, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer's pair gives the two texts as it frames each of them alone."""
    texts = ["one", "two and three"]
    pair = tokenizer(*texts, return_tensors="pt")
    alone = [tokenizer(text)["input_ids"] for text in texts]
    for types in (pair.get("token_type_ids"), None):
        try:
            ids, kept = split_pairs(pair["input_ids"], pair["attention_mask"].bool(), types, config)
        except ValueError:  # it finds no second text
            return False
        if [row[own].tolist() for row, own in zip(ids, kept, strict=True)] != alone:
            return False
    return True


def _pooling(arguments: ModelArguments) -> str:
    """How the checkpoint's own embeddings are made, where it says so.

    Raises:
        UserError: in a way that a bi-encoder does not know.
    """
    file, seen = _beside(arguments, "1_Pooling/config.json")
    if file is None:
        if not seen:
            console.warn(
                f"{arguments.model_name_or_path}: whether it says how it pools cannot be seen (1_Pooling/config.json "
                "is not in the cache, and the Hub cannot be reached); a text's embedding is the mean over its tokens"
            )
        return "mean"
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        modes = {name.removeprefix("pooling_mode_") for name, value in said.items() if value is True}
        named = said.get("pooling_mode", [])  # of sentence-transformers 6; before, a truth for every mode
        modes |= {named} if isinstance(named, str) else set(named)
    except (ValueError, TypeError, AttributeError) as reason:
        raise UserError(f"{FLAG}: {file} is damaged ({reason}); fetch it again") from None
    poolings = {POOLINGS[mode] for mode in modes if mode in POOLINGS}
    others = modes - set(POOLINGS) - {"include_prompt"}
    if len(poolings) != 1 or others:
        raise UserError(
            f"{FLAG}: {arguments.model_name_or_path} pools by {' and '.join(sorted(modes)) or 'nothing'}, and a "
            "bi-encoder by the mean or by the first token; take another checkpoint, or leave it out"
        )
    return poolings.pop()


def _name_what_is_left_out(arguments: ModelArguments) -> None:
    """Parts of a sentence-transformers model that a bi-encoder has not: a dense layer over the pooled state, mostly."""
    file, _ = _beside(arguments, "modules.json")
    try:
        parts = [] if file is None else [str(part["type"]).rpartition(".")[2] for part in json.loads(file.read_bytes())]
    except (ValueError, TypeError, KeyError) as reason:
        raise UserError(f"{FLAG}: {file} is damaged ({reason!r}); fetch it again") from None
    others = [part for part in parts if part not in PARTS]
    if others:
        console.warn(
            f"{arguments.model_name_or_path}: a bi-encoder has no {' or '.join(others)} (modules.json); it starts from "
            "the embeddings before it"
        )


def embeds_single_texts(arguments: ModelArguments) -> bool:
    """Whether the checkpoint is one of sentence-transformers, as far as can be seen."""
    return arguments.model_name_or_path is not None and _beside(arguments, "modules.json")[0] is not None


def _beside(arguments: ModelArguments, name: str) -> tuple[Path | None, bool]:
    """A file that sentence-transformers writes beside a checkpoint, or None; and whether its absence is known."""
    checkpoint = resolve_checkpoint(arguments.model_name_or_path)
    if Path(checkpoint).is_dir():
        path = Path(checkpoint) / name
        return (path if path.is_file() else None), True
    try:
        return Path(hf_hub_download(checkpoint, name, revision=arguments.model_revision)), True
    except LocalEntryNotFoundError:  # also an EntryNotFoundError
        return None, False
    except EntryNotFoundError:
        return None, True
    except Exception:  # of many kinds: the network's, the disk's
        return None, False


@torch.no_grad()
def start_at_cosines(
    model: PreTrainedModel,
    rows: Dataset | TokenizedStream,
    tokenizer: PreTrainedTokenizerBase,
    numbers: tuple[float, float],
) -> None:
    """Let the cosines from 0 to 1 mean the numbers from the least to the largest: the target that Reimers and Gurevych
    train on, in a fresh head's own weights. Where more means less alike, the other way round.

    Steps of the size that an encoder takes would hardly move these weights, and the encoder would follow wrong ones.

    Args:
        rows: tokenized, with `labels`; some of them say which way round.
        numbers: the least and the largest of all training rows.
    """
    if not hasattr(model, "cosine") or model.config.problem_type != "regression":
        return
    least, most = numbers
    if _fall_as_texts_grow_alike(model, rows, PadRows(tokenizer)):
        least, most = most, least
    model.classifier.weight.fill_(most - least)
    model.classifier.bias.fill_(least)


def _fall_as_texts_grow_alike(model: PreTrainedModel, rows: Dataset | TokenizedStream, collate: PadRows) -> bool:
    cosines, numbers = [], []
    training = model.training
    model.eval()
    for part in _batches(rows):
        batch = collate(part)
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in batch}
        cosines.append(model.cosine(**inputs))
        numbers.append(batch["labels"])
    model.train(training)
    together = torch.stack([torch.cat(cosines), torch.cat(numbers)])  # [2, n]
    away = together - together.mean(1, keepdim=True)
    return bool((away[0] * away[1]).sum() < 0)


def _batches(rows: Dataset | TokenizedStream) -> list[list[dict]]:
    """At most `PAIRS` rows from everywhere, of a stream from its first rows (`buffer_size`)."""
    if isinstance(rows, TokenizedStream):
        table = pa.concat_tables(table.drop_columns("whole") for table in rows.first_tables())
        table = table.take(_evenly(len(table)))
    else:
        table = rows.select(_evenly(len(rows))).with_format("arrow")[:]
    some = [{name: np.asarray(value) for name, value in row.items()} for row in table.to_pylist()]
    return [some[start : start + BATCH] for start in range(0, len(some), BATCH)]


def _evenly(rows: int) -> np.ndarray:
    return np.unique(np.linspace(0, rows - 1, min(PAIRS, rows)).astype(int))
