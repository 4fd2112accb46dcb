"""Pairs of texts read apart: a checkpoint becomes the encoder of a bi-encoder (`models/bi_encoder/`).

A checkpoint that was trained to embed single texts knows how alike two of them are before it has seen one labelled
pair. Reading the two together, as a pair is read otherwise, uses none of that.
"""

import json
import math

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import cached_file

from hf_kit import console
from hf_kit.arguments import ModelArguments
from hf_kit.collation import PadRows
from hf_kit.errors import UserError
from hf_kit.models import own_model_types
from hf_kit.models.bi_encoder import BiEncoderConfig
from hf_kit.streaming import TokenizedStream

TOGETHER, APART = "together", "apart"
FLAG = "--pair_encoding apart"
# Pairs whose cosines say where the outputs start.
PAIRS = 128
LEAST_CORRELATION = 0.5
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
    if tokenizer.cls_token_id is None or tokenizer.sep_token_id is None:
        raise UserError(
            f"{FLAG}: the tokenizer of {what} puts no frame around a text (no cls_token or sep_token), so that the "
            "texts of a pair cannot be told apart; take an encoder of BERT's kind, or leave it out"
        )
    return BiEncoderConfig(
        text_config=config,
        pooling=_pooling(arguments),
        pad_token_id=tokenizer.pad_token_id,
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
        doubled_separator=tokenizer.num_special_tokens_to_add(pair=True) > 3,
    )


def _pooling(arguments: ModelArguments) -> str:
    """How the checkpoint's own embeddings are made, where it says so."""
    file = _beside(arguments, "1_Pooling/config.json")
    if file is None:
        return "mean"
    try:
        with open(file, encoding="utf-8") as lines:
            return "first" if json.load(lines)["pooling_mode_cls_token"] else "mean"
    except (ValueError, KeyError, TypeError):
        console.warn(f"{file} cannot be read: a text's embedding is the mean over its tokens")
        return "mean"


def embeds_single_texts(arguments: ModelArguments) -> bool:
    """Whether the checkpoint is one of sentence-transformers."""
    return arguments.model_name_or_path is not None and _beside(arguments, "modules.json") is not None


def _beside(arguments: ModelArguments, name: str) -> str | None:
    """The path of a file that sentence-transformers writes beside a checkpoint; None where there is none to be had."""
    return cached_file(
        arguments.model_name_or_path,
        name,
        revision=arguments.model_revision,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )


@torch.no_grad()
def start_from_cosines(
    model: PreTrainedModel, rows: Dataset | TokenizedStream, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Let the numbers of a fresh head lie where those of the training rows do.

    Its two weights are fitted to the cosines of some training pairs, upside down where more means less alike. Steps of
    the size that an encoder takes would hardly move them, and it would follow a wrong line.

    Args:
        rows: tokenized, with `labels`.
    """
    if not hasattr(model, "cosine") or model.config.problem_type != "regression":
        return
    collate = PadRows(tokenizer)
    cosines, numbers = [], []
    training = model.training
    model.eval()
    for part in _batches(rows):
        batch = collate(part)
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids") if name in batch}
        cosines.append(model.cosine(**inputs))
        numbers.append(batch["labels"])
    model.train(training)
    slope, start = _line(torch.cat(cosines).double(), torch.cat(numbers).double())
    model.classifier.weight.fill_(slope)
    model.classifier.bias.fill_(start)


def _line(cosines: Tensor, numbers: Tensor) -> tuple[float, float]:
    """Slope and start of the line through `numbers` `[n]` over `cosines` `[n]`: that of least squares.

    Where the two have little to do with each other yet, it would be so flat that no cosine could reach the outer
    numbers: it is as steep as if they correlated by `LEAST_CORRELATION`.
    """
    spread = cosines.std()
    if len(cosines) < 2 or not spread > 0:
        return 1.0, float(numbers.mean() - cosines.mean())
    along = float(torch.corrcoef(torch.stack([cosines, numbers]))[0, 1].nan_to_num())
    slope = float(numbers.std() / spread) * math.copysign(max(abs(along), LEAST_CORRELATION), along)
    return slope, float(numbers.mean() - slope * cosines.mean())


def _batches(rows: Dataset | TokenizedStream) -> list[list[dict]]:
    """At most `PAIRS` rows: of a data set from everywhere, of a stream the first."""
    if isinstance(rows, TokenizedStream):
        table = next(rows.first_tables()).slice(0, PAIRS).drop_columns("whole")
    else:
        places = np.unique(np.linspace(0, len(rows) - 1, min(PAIRS, len(rows))).astype(int))
        table = rows.select(places).with_format("arrow")[:]
    some = [{name: np.asarray(value) for name, value in row.items()} for row in table.to_pylist()]
    return [some[start : start + BATCH] for start in range(0, len(some), BATCH)]
