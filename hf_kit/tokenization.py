"""The tokenizer of a checkpoint, the length it cuts at, and data sets tokenized once and cached by content.

Deliberately different from the usual code:

- Texts are encoded whole and cut here (`truncation.py`), or split into windows (`windows.py`). That tells exactly which
  texts were cut, leaves no truncation setting behind in the tokenizer that is saved, and avoids the library's overflow
  pieces, whose number is the product of both sides of a pair (a thousand long pairs cut to 32 tokens: over a minute).
- The tokens of a data set are kept by its contents (`token_cache.py`).
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import datasets
import pyarrow as pa
import pyarrow.compute as pc
import tokenizers
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from hf_kit.arguments import ModelArguments
from hf_kit.backbone import may_run_code, resolve_checkpoint
from hf_kit.errors import UserError
from hf_kit.hub_errors import why_not_from_hub
from hf_kit.token_cache import cached_rows
from hf_kit.truncation import kept_tokens
from hf_kit.untrusted_folder import examine_checkpoint
from hf_kit.windows import window_tokens

DEFAULT_MAX_LENGTH = 512
# Their position table begins with the rows up to the padding index, which no token uses.
POSITIONS_AFTER_PADDING = frozenset(
    "camembert data2vec-text esm ibert longformer luke markuplm mpnet roberta roberta-prelayernorm xlm-roberta "
    "xlm-roberta-xl xmod lilt layoutlmv3".split()
)
CACHE_SCHEMA = 2  # raise it when the columns below or their meaning change


def load_tokenizer(
    name_or_path: str, *, revision: str | None = None, trust_remote_code: bool = False
) -> PreTrainedTokenizerBase:
    """The tokenizer of a model id on the Hub or of a folder, padding on the right, always with a pad token.

    Decoders (Llama, GPT-2, Mistral) often have no pad token. Theirs becomes the eos token, else sep, else unk: rows
    that exist, so the embedding does not grow. `GenericForSequenceClassification` pools at the last token whose id is
    not the pad id, and masks come from lengths, not ids: with eos as padding a text that ends in eos is pooled at the
    token before it, whatever the batch. Unk comes last, because a text may well end in an unknown word. The caller
    copies `pad_token_id` to the model's config (and generation config).

    Raises `UserError` when nothing can be loaded, when the vocabulary is empty (transformers makes an empty tokenizer
    from a folder without tokenizer files), when no token can serve as padding, and where `examine_checkpoint` does.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        raise UserError(
            f"Cannot load a tokenizer from `{name_or_path}`: it is a file; give its folder (--tokenizer_name)"
        )
    if path.is_dir():
        name_or_path = str(path)
    elif name_or_path.startswith((".", "/", "~")) or name_or_path.count("/") > 1:
        raise UserError(f"Cannot load a tokenizer from `{name_or_path}`: there is no such folder")
    try:
        revision = examine_checkpoint(
            name_or_path, f"the tokenizer of {name_or_path}", revision=revision, trust_remote_code=trust_remote_code
        )
        tokenizer = AutoTokenizer.from_pretrained(
            name_or_path, revision=revision, trust_remote_code=trust_remote_code, padding_side="right"
        )
    except UserError:
        raise
    except Exception as error:  # of many kinds: the network's, the file's, the Rust library's
        why = why_not_from_hub(error, revision) or _why_not_read(error)
        raise UserError(
            f"Cannot load a tokenizer from `{name_or_path}`: {why}. Give a model id of the Hub or a folder that holds "
            "tokenizer files (--tokenizer_name)"
        ) from error
    if tokenizer.is_fast and not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens) - {"▁"}:
        raise UserError(
            f"`{name_or_path}` holds no tokenizer files: its vocabulary is empty. Save the tokenizer there as well, "
            "or name a tokenizer of its own."
        )
    if not isinstance(tokenizer.model_max_length, (int, float)):
        raise UserError(
            f"The tokenizer of `{name_or_path}`: tokenizer_config.json: `model_max_length` is "
            f"{tokenizer.model_max_length!r}; it must be a number. Mend it, or remove the key"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.sep_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise UserError(
            f"The tokenizer of `{name_or_path}` has no pad, eos, sep or unk token to pad with. "
            "Add a pad token to it, resize the model's embedding and save both to a folder."
        )
    return tokenizer


def given_tokenizer(arguments: ModelArguments) -> PreTrainedTokenizerBase:
    """The tokenizer that `--tokenizer_name` or the checkpoint brings."""
    if arguments.tokenizer_name:
        # Never its code: the commit that the user has read is the model's.
        return load_tokenizer(arguments.tokenizer_name)
    name = resolve_checkpoint(arguments.model_name_or_path)
    return load_tokenizer(name, revision=arguments.model_revision, trust_remote_code=may_run_code(arguments, name))


def _why_not_read(error: Exception) -> str:
    said = (str(error).splitlines() or [""])[0].rstrip(".:")
    if "instantiate the backend tokenizer" in said:
        return "it holds no tokenizer files (tokenizer.json) that can be read"
    if isinstance(error, (OSError, ImportError)):
        return said
    return f"its files are damaged ({type(error).__name__}: {said})"


def position_limit(config: PreTrainedConfig) -> int | None:
    """The tokens that a model has positions for; None where it needs none (an LSTM, T5)."""
    text_config = config.get_text_config()
    positions = getattr(text_config, "max_position_embeddings", None)  # recurrent and relative models have none
    if positions is None or positions <= 0:  # XLNet says -1
        return None
    if text_config.model_type in POSITIONS_AFTER_PADDING:
        # MPNet's padding index is fixed in its code.
        positions -= 1 + (1 if text_config.model_type == "mpnet" else text_config.pad_token_id)
    return positions


def check_max_length(max_length: int, config: PreTrainedConfig, flag: str = "max_length") -> None:
    """Raises: UserError: the model has fewer positions than that; `flag` is what the user set."""
    limit = position_limit(config)
    if limit is not None and max_length > limit:
        raise UserError(
            f"--{flag} {max_length} is more than the {limit} tokens that this {config.model_type} model can take; "
            f"set it to {limit} or less"
        )


def effective_max_length(
    tokenizer: PreTrainedTokenizerBase,
    config: PreTrainedConfig,
    max_length: int | None = None,
    flag: str = "max_length",
) -> int:
    """The number of tokens, special ones included, at which texts for this model are cut.

    The model's limit is `max_position_embeddings`, for RoBERTa's relatives without the rows up to the padding index.
    Rotary models (ModernBERT, Llama, Qwen2) would run beyond it, on positions they never saw. Without `max_length` it
    is the limit, or the tokenizer's own where that is less; 512 where neither has one (an LSTM, T5).

    Raises `UserError` for a `max_length` beyond the limit, or one that leaves no room beside the special tokens.
    """
    if max_length is None:
        # A tokenizer without a limit says so with a number such as 1e30.
        known = [n for n in (position_limit(config), tokenizer.model_max_length) if n is not None and n < 10**6]
        return min(known, default=DEFAULT_MAX_LENGTH)
    check_max_length(max_length, config, flag)
    frame = tokenizer.num_special_tokens_to_add(pair=True)
    if max_length <= frame:
        raise UserError(f"--{flag} {max_length} leaves no room for text beside {frame} special tokens; raise it")
    return max_length


class TokenizedDataset(NamedTuple):
    """What `tokenize_dataset` gives.

    Attributes:
        truncated: how many texts (or pairs) are longer than `max_length`.
        lost_share: the share of all tokens (special ones included) that no input holds, 0 to 1.
        from_cache: nothing had to be tokenized.
    """

    dataset: datasets.Dataset
    truncated: int
    lost_share: float
    from_cache: bool


def tokenize_dataset(
    dataset: datasets.Dataset,
    tokenizer: PreTrainedTokenizerBase,
    text_column: str,
    text_pair_column: str | None = None,
    *,
    max_length: int,
    truncation_side: str = "right",
    windows: bool = False,
    cache_dir: str | os.PathLike | None = None,
    description: str = "Tokenizing",
) -> TokenizedDataset:
    """Token ids of every row, cut to `max_length` tokens (special ones included), not padded.

    Columns: `input_ids`, `token_type_ids` where the tokenizer's model takes them, `length`, `whole` (the length before
    the cut), and `labels` where `dataset` has them. There is no attention mask: `DataCollatorWithPadding` makes it from
    the lengths. The longer text of a pair is cut first, as `tokenizer(..., truncation=True)` would; `truncation_side`
    is `right`, `left` or `middle` (see `truncation.py`).

    With `windows`, a row longer than `max_length` becomes several inputs that hold all of it (see `windows.py`). The
    column `row` says whose each input is, in ascending order; there are no `whole` and `labels`, which belong to rows.

    The result is memory-mapped (see `cached_rows`), by texts, tokenizer and the settings here but not by the labels.

    Raises `UserError` for a data set without rows and for a tokenizer without a fast version.
    """
    if len(dataset) == 0:
        raise UserError(f"{description}: the data set has no rows.")
    texts = dataset.select_columns([text_column, *([text_pair_column] if text_pair_column else [])])
    texts = texts.with_format("arrow")
    serialized = _serialized(tokenizer)
    with_types = "token_type_ids" in tokenizer.model_input_names
    how = {"max_length": max_length, "side": truncation_side, "windows": windows, "with_types": with_types}
    settings = [CACHE_SCHEMA, tokenizers.__version__, how, text_pair_column is not None]
    backend = Tokenizer.from_str(serialized)
    tokenized, from_cache = cached_rows(
        texts,
        json.dumps(settings) + serialized,
        lambda table, rows: _encode(table, rows, backend, **how),
        cache_dir=cache_dir,
        description=description,
    )
    whole, lost = tokenized.data["whole"], pc.sum(tokenized.data["lost"]).as_py()
    truncated, tokens = pc.sum(pc.greater(whole, max_length)).as_py(), pc.sum(whole).as_py()
    tokenized = tokenized.remove_columns(["whole", "lost"] if windows else ["lost", "row"])
    if "labels" in dataset.column_names and not windows:
        labels = dataset.select_columns("labels").with_format("arrow")[:]["labels"]
        tokenized = tokenized.add_column("labels", labels, feature=dataset.features["labels"])
    return TokenizedDataset(tokenized, truncated, lost / max(tokens, 1), from_cache)


def table_tokenizer(
    tokenizer: PreTrainedTokenizerBase, max_length: int, truncation_side: str
) -> Callable[[pa.Table], pa.Table]:
    """What `tokenize_dataset` does to some rows: from their texts (or pairs) to its columns, without labels.

    Raises `UserError` for a tokenizer without a fast version.
    """
    backend = Tokenizer.from_str(_serialized(tokenizer))
    with_types = "token_type_ids" in tokenizer.model_input_names
    how = {"max_length": max_length, "side": truncation_side, "windows": False, "with_types": with_types}
    return lambda table: _encode(table, list(range(len(table))), backend, **how).drop_columns(["row", "lost"])


def _serialized(tokenizer: PreTrainedTokenizerBase) -> str:
    if not tokenizer.is_fast:
        raise UserError(f"{type(tokenizer).__name__} has no fast version (tokenizer.json), which hf_kit needs.")
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["truncation"] = state["padding"] = None  # left behind by whoever called the tokenizer last
    return json.dumps(state)


def _encode(
    table: pa.Table, rows: list[int], backend: Tokenizer, max_length: int, side: str, windows: bool, with_types: bool
) -> pa.Table:
    columns = [column.to_pylist() for column in table.columns]
    encodings = backend.encode_batch_fast(columns[0] if len(columns) == 1 else list(zip(*columns, strict=True)))
    ids, types, whose, whole, lost = [], [], [], [], []
    for row, encoding in zip(rows, encodings, strict=True):
        row_ids, row_types = encoding.ids, encoding.type_ids
        if len(row_ids) <= max_length:
            ids.append(row_ids)
            types.append(row_types)
            whose.append(row)
            whole.append(len(row_ids))
            lost.append(0)
            continue
        sequences = encoding.sequence_ids
        pieces = window_tokens(sequences, max_length, side) if windows else [kept_tokens(sequences, max_length, side)]
        ids += [[row_ids[i] for i in piece] for piece in pieces]
        types += [[row_types[i] for i in piece] for piece in pieces]
        whose += [row] * len(pieces)
        # A row's counts stand at its first input.
        whole += [len(row_ids)] + [0] * (len(pieces) - 1)
        lost += [len(row_ids) - len(set().union(*pieces))] + [0] * (len(pieces) - 1)
    out = {"input_ids": pa.array(ids, pa.list_(pa.int32()))}
    if with_types:
        out["token_type_ids"] = pa.array(types, pa.list_(pa.int8()))
    out |= {"length": pa.array(map(len, ids), pa.int32()), "row": pa.array(whose, pa.int64())}
    out |= {"whole": pa.array(whole, pa.int32()), "lost": pa.array(lost, pa.int32())}
    return pa.table(out)
