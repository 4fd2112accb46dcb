"""Pretrained word vectors in the place of an LSTM's fresh embedding.

The flags are settled before any work (`settle`, `configure`), the vectors go into the built model (`fill_embedding`).
"""

from dataclasses import fields

import numpy as np
import torch
from datasets import Dataset
from tokenizers import models
from transformers import CONFIG_MAPPING, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from hf_kit import console
from hf_kit.arguments import Arguments
from hf_kit.errors import UserError
from hf_kit.models import own_model_types
from hf_kit.streaming import TokenizedStream
from hf_kit.vector_file import VectorFile

# What a model's configuration has if word vectors can be its embedding.
NEEDED_FIELDS = {"embedding_dim", "freeze_embeddings"}
LOW_COVERAGE = 0.5


def settle(arguments: Arguments) -> VectorFile | None:
    """Check the flags and the file's first row; choose words as tokens where the user says nothing.

    Raises:
        UserError: flags that contradict each other, or a file that cannot be word vectors.
    """
    model = arguments.model
    if model.word_vectors is None:
        if model.freeze_word_vectors:
            raise UserError("--freeze_word_vectors without --word_vectors: there is nothing to freeze; name the file")
        return None
    if model.model_name_or_path:
        raise UserError(
            f"--word_vectors {model.word_vectors} with --model_name_or_path {model.model_name_or_path}: a checkpoint "
            "brings its own embedding. Leave --word_vectors out, or train a fresh model: --model_type hf_kit_lstm"
        )
    able = [name for name in own_model_types() if NEEDED_FIELDS <= {f.name for f in fields(CONFIG_MAPPING[name])}]
    if model.model_type not in able:
        raise UserError(
            f"--word_vectors {model.word_vectors} with --model_type {model.model_type}: word vectors are the embedding "
            f"of {', '.join(able)}"
        )
    file = VectorFile(model.word_vectors)
    if arguments.sources.get("config_overrides") == "recipe" and arguments.sources["word_vectors"] == "command line":
        # The width that a recipe chose was for an embedding from nothing.
        model.config_overrides = {k: v for k, v in model.config_overrides.items() if k != "embedding_dim"}
    width = model.config_overrides.get("embedding_dim", file.dim)
    if width != file.dim:
        raise UserError(
            f"--config_overrides embedding_dim {width}, but the vectors of {model.word_vectors} have {file.dim} "
            "numbers; leave embedding_dim out"
        )
    if model.freeze_word_vectors and model.config_overrides.get("freeze_embeddings") is False:
        raise UserError("--freeze_word_vectors and --config_overrides freeze_embeddings false contradict each other")
    if not model.tokenizer_name and not arguments.is_set("tokenizer_type"):
        model.tokenizer_type = "wordlevel"
        arguments.sources["tokenizer_type"] = "word vectors"
    return file


def configure(arguments: Arguments, config: PreTrainedConfig, file: VectorFile) -> None:
    """Give the model's configuration the file's width, and say in `sources` whose it is."""
    config.embedding_dim = file.dim
    arguments.sources["embedding_dim"] = "word vectors"
    if arguments.model.freeze_word_vectors:
        config.freeze_embeddings = True


def fill_embedding(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, file: VectorFile, train: Dataset | TokenizedStream
) -> None:
    """Write the file's vectors into the rows of a fresh model's embedding, and print how much they cover.

    A token takes the vector of the file's word that is written like it, else of the first one that becomes it by the
    tokenizer's own normalization (`Paris` for a tokenizer that lower-cases); of a word that stands there twice, the
    first counts. The other rows stay random, scaled to the standard deviation of the vectors found, so that known and
    unknown words look alike to the network (Kim 2014, section 3.1, aclanthology.org/D14-1181). The padding row stays
    zero.

    Args:
        train: tokenized rows; their tokens (of a stream those of its first rows) are the coverage's running words.

    Raises:
        UserError: a faulty row in the file, or no token has a vector.
    """
    weight = model.get_input_embeddings().weight  # [v, e]
    vectors, found = _look_up(tokenizer, file, len(weight))
    if tokenizer.pad_token_id is not None:
        found[tokenizer.pad_token_id] = False
    if not found.any():
        advice = (
            "The tokenizer cuts Chinese into its characters: of Chinese only single characters match"
            if _has_words(tokenizer)
            else "Tokens that are no words need --tokenizer_type wordlevel"
        )
        raise UserError(
            f"--word_vectors {file.path}: no token of the tokenizer stands there. Is it a file of words in the "
            f"language of the texts? {advice}"
        )
    scale = float(vectors[found].std())
    with torch.no_grad():
        weight.mul_(scale / model.config.initializer_range)
        weight[torch.from_numpy(found)] = torch.from_numpy(vectors[found]).to(weight)
    _tell_coverage(found, _token_counts(train, len(weight)), tokenizer)


def _has_words(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokens are words already, as `--tokenizer_type wordlevel` makes them."""
    return isinstance(tokenizer.backend_tokenizer.model, models.WordLevel)


def _look_up(tokenizer: PreTrainedTokenizerBase, file: VectorFile, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The vectors `[size, dim]`, and which tokens have one `[size]`."""
    vocabulary = tokenizer.get_vocab()
    normalizer = tokenizer.backend_tokenizer.normalizer
    vectors = np.zeros((size, file.dim), dtype=np.float32)
    rank = np.zeros(size, dtype=np.int8)  # 2: the word itself, 1: a word that normalization makes equal
    for row in file.rows("reading word vectors"):
        token, worth = vocabulary.get(row.word), 2
        if token is None and normalizer is not None:
            token, worth = vocabulary.get(normalizer.normalize_str(row.word)), 1
        if token is not None and worth > rank[token]:
            vectors[token], rank[token] = file.vector(row), worth
    return vectors, rank > 0


def _token_counts(train: Dataset | TokenizedStream, size: int) -> np.ndarray:
    """How often each token stands in the rows, `[size]`."""
    counts = np.zeros(size, dtype=np.int64)
    streamed = isinstance(train, TokenizedStream)
    for table in train.first_tables() if streamed else train.with_format("arrow").iter(batch_size=10_000):
        counts += np.bincount(table["input_ids"].combine_chunks().flatten().to_numpy(), minlength=size)
    return counts


def _tell_coverage(found: np.ndarray, counts: np.ndarray, tokenizer: PreTrainedTokenizerBase) -> None:
    ordinary = np.ones(len(found), dtype=bool)
    ordinary[tokenizer.all_special_ids] = False
    known, running = found & ordinary, counts * ordinary
    unknown = 0 if tokenizer.unk_token_id is None else int(counts[tokenizer.unk_token_id])
    total = max(int(running.sum()) + unknown, 1)
    share = running[known].sum() / total
    console.say(
        f"word vectors: {known.sum():,} of {ordinary.sum():,} tokens ({known.sum() / max(ordinary.sum(), 1):.1%}) have "
        f"one, and {share:.1%} of the running words of the training texts; {(known & (counts == 0)).sum():,} tokens "
        f"come from the file alone; {unknown / total:.1%} of the running words are unknown"
    )
    if share < LOW_COVERAGE:
        cut = (
            "Chinese words (of Chinese only single characters match)"
            if _has_words(tokenizer)
            else "words cut into pieces (--tokenizer_type wordlevel)"
        )
        console.warn(
            f"word vectors cover only {share:.1%} of the running words; the others start random. Likely: vectors of "
            f"another language, {cut}, or a small --vocab_size"
        )
