"""The tokenizer of a run, trained here or loaded, and data sets tokenized once and cached by content.

Four kinds can be trained: WordPiece (Schuster and Nakajima 2012, in BERT's form), byte-level BPE (Sennrich et al. 2016;
Radford et al. 2019), unigram (Kudo 2018) and plain words. Deliberately different from the usual code:

- Training is reproducible to the byte. The WordPiece trainer of `tokenizers` numbers `##` characters in the order of a
  randomly seeded hash map, so they are given to it in a fixed order; its unigram trainer sums in random order, so
  unigram models are trained by `sentencepiece` on one thread. `vocab_size` is a hard cap: characters too rare to fit
  are left to [UNK].
- Texts are encoded whole and cut here. That tells exactly which texts were cut, leaves no truncation setting behind in
  the tokenizer that is saved, and avoids the library's overflow pieces, whose number is the product of both sides of a
  pair (a thousand long pairs cut to 32 tokens: over a minute).
- The cache of a tokenized data set is keyed by texts and tokenizer, never by the fingerprint of a function: a
  tokenizer's pickle changes with use.
"""

import hashlib
import io
import itertools
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sentencepiece
import tokenizers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from .console import is_main_process
from .errors import UserError, nearest

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]  # in the order of their ids: padding is 0
DEFAULT_MAX_LENGTH = 512
# Their position table begins with the rows up to the padding index, which no token uses.
POSITIONS_AFTER_PADDING = frozenset(
    "camembert data2vec-text esm ibert longformer luke markuplm mpnet roberta roberta-prelayernorm xlm-roberta "
    "xlm-roberta-xl xmod lilt layoutlmv3".split()
)
CACHE_SCHEMA = 1  # raise it when the columns below or their meaning change
DIGEST_BYTES = hashlib.sha256().digest_size

# A text alone, a pair of texts, and what the tokenizer feeds a model.
TEMPLATES = {
    "bert": ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ["input_ids", "token_type_ids", "attention_mask"]),
    "plain": ("$A", "$A [SEP] $B", ["input_ids", "attention_mask"]),
}


def train_tokenizer(
    texts: Iterable[str],
    *,
    tokenizer_type: Literal["wordpiece", "bpe", "unigram", "wordlevel"] = "wordpiece",
    vocab_size: int = 10000,
    special_tokens: Literal["bert", "plain"] = "bert",
) -> PreTrainedTokenizerFast:
    """A lower-casing tokenizer learned from `texts` and nothing else; the same texts give the same files.

    - `wordpiece`: word pieces, Chinese characters one by one.
    - `bpe`: over bytes after NFKC, so nothing is ever unknown; frequent Chinese words become one token.
    - `unigram`: over characters after NFKC; frequent Chinese words become one token.
    - `wordlevel`: words, punctuation marks and Chinese characters, as word vectors need them.

    `special_tokens` frames a text as `[CLS] A [SEP]`, a pair as `[CLS] A [SEP] B [SEP]` with token types 0 and 1
    ("bert"), or leaves it bare, a pair as `A [SEP] B` without token types ("plain"). [CLS] is also the bos token and
    [SEP] the eos token, where decoders look for them. Padding is on the right, with id 0. `vocab_size` is a cap that
    counts the special tokens; `len(tokenizer)` is the true size. The caller sets `model_max_length`.

    `AutoTokenizer` reads the saved files beside the config of any model but those, like `qwen2`, for which it puts a
    class of its own in the place of the one named in the files (transformers 5.23).

    Raises `UserError` for an unknown type or frame, a cap without room for text, or texts that are all blank.
    """
    if tokenizer_type not in TRAINERS:
        raise UserError(
            f"tokenizer_type `{tokenizer_type}` is not known{nearest(tokenizer_type, TRAINERS)}. "
            f"Choose one of: {', '.join(TRAINERS)}."
        )
    if special_tokens not in TEMPLATES:
        raise UserError(f"special_tokens `{special_tokens}` is not known. Choose one of: {', '.join(TEMPLATES)}.")
    smallest = len(SPECIAL_TOKENS) + (256 if tokenizer_type == "bpe" else 2)
    if vocab_size < smallest:
        raise UserError(
            f"vocab_size {vocab_size} is too small for tokenizer_type {tokenizer_type}: at least {smallest}."
        )
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise UserError(
            "There is no text to train a tokenizer on: every training text is empty. Check the text column."
        )

    backend = TRAINERS[tokenizer_type](texts, vocab_size)
    backend.add_special_tokens(SPECIAL_TOKENS)
    single, pair, model_inputs = TEMPLATES[special_tokens]
    ids = [(token, backend.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing(single=single, pair=pair, special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        bos_token="[CLS]",
        eos_token="[SEP]",
        padding_side="right",
        model_input_names=model_inputs,
    )


def _wordpiece(texts: list[str], vocab_size: int) -> Tokenizer:
    backend = _word_backend(models.WordPiece(unk_token="[UNK]"))
    split, normalize = backend.pre_tokenizer.pre_tokenize_str, backend.normalizer.normalize_str
    words = Counter(word for text in texts for word, _ in split(normalize(text)))
    counts, inside = Counter(), set()
    for word, count in words.items():
        for character in word:
            counts[character] += count
        inside.update(word[1:])
    forms = {c: [c, f"##{c}"] if c in inside else [c] for c in counts}
    kept, rare = _most_frequent(counts, vocab_size - len(SPECIAL_TOKENS), cost=lambda c: len(forms[c]))
    characters = [form for c in kept for form in forms[c]]
    # As special tokens they get their ids in this order; the model is then rebuilt with the true special tokens only.
    trainer = trainers.WordPieceTrainer(special_tokens=SPECIAL_TOKENS + characters, **_trainer_options(vocab_size))
    backend.train_from_iterator((normalize(t).translate(rare) for t in texts), trainer, length=len(texts))
    rebuilt = _word_backend(models.WordPiece(vocab=backend.get_vocab(), unk_token="[UNK]"))
    rebuilt.decoder = decoders.WordPiece()
    return rebuilt


def _bpe(texts: list[str], vocab_size: int) -> Tokenizer:
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        **_trainer_options(vocab_size),
    )
    backend.train_from_iterator(texts, trainer, length=len(texts))
    return backend


def _unigram(texts: list[str], vocab_size: int) -> Tokenizer:
    normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    lines = [" ".join(normalizer.normalize_str(text).split()) for text in texts]
    counts = Counter(character for line in lines for character in line if character != " ")
    _, rare = _most_frequent(counts, vocab_size - len(SPECIAL_TOKENS) - 1)  # one place is for "▁"
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line.translate(rare) for line in lines),
        model_writer=model,
        model_type="unigram",
        vocab_size=vocab_size - len(SPECIAL_TOKENS) + 1,  # it counts its own unknown token, which is ours
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        max_sentence_length=2**30,  # bytes; the most it allows: a longer line would be left out
        num_threads=1,
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        minloglevel=2,
    )
    trained = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    pieces = [(trained.id_to_piece(i), trained.get_score(i)) for i in range(1, trained.get_piece_size())]
    vocab = [(token, 0.0) for token in SPECIAL_TOKENS] + pieces
    backend = Tokenizer(models.Unigram(vocab, unk_id=SPECIAL_TOKENS.index("[UNK]")))
    backend.normalizer = normalizer
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    backend.decoder = decoders.Metaspace()
    return backend


def _wordlevel(texts: list[str], vocab_size: int) -> Tokenizer:
    backend = _word_backend(models.WordLevel(unk_token="[UNK]"))
    trainer = trainers.WordLevelTrainer(special_tokens=SPECIAL_TOKENS, **_trainer_options(vocab_size))
    backend.train_from_iterator(texts, trainer, length=len(texts))
    return backend


TRAINERS: dict[str, Callable[[list[str], int], Tokenizer]] = {
    "wordpiece": _wordpiece,
    "bpe": _bpe,
    "unigram": _unigram,
    "wordlevel": _wordlevel,
}


def _word_backend(model) -> Tokenizer:
    """BERT's cleaning: lower case, accents stripped, words and punctuation apart, Chinese characters one by one."""
    backend = Tokenizer(model)
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return backend


def _trainer_options(vocab_size: int) -> dict:
    return {"vocab_size": vocab_size, "show_progress": sys.stderr.isatty() and is_main_process()}


def _most_frequent(counts: Counter, room: int, cost: Callable[[str], int] = lambda character: 1):
    """Characters that fit into `room` tokens, most frequent first, and a `str.translate` table that drops the rest."""
    ranked = sorted(counts, key=lambda c: (-counts[c], c))
    fitting = sum(used <= room for used in itertools.accumulate(map(cost, ranked)))
    return ranked[:fitting], {ord(c): None for c in ranked[fitting:]}


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
    from a folder without tokenizer files), and when no token can serve as padding.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            name_or_path, revision=revision, trust_remote_code=trust_remote_code, padding_side="right"
        )
    except (OSError, ValueError) as error:
        raise UserError(
            f"Cannot load a tokenizer from `{name_or_path}`: {str(error).splitlines()[0]} "
            "Give a model id of the Hub or a folder that holds tokenizer files."
        ) from error
    if tokenizer.is_fast and not set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens) - {"▁"}:
        raise UserError(
            f"`{name_or_path}` holds no tokenizer files: its vocabulary is empty. Save the tokenizer there as well, "
            "or name a tokenizer of its own."
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.sep_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise UserError(
            f"The tokenizer of `{name_or_path}` has no pad, eos, sep or unk token to pad with. "
            "Add a pad token to it, resize the model's embedding and save both to a folder."
        )
    return tokenizer


def effective_max_length(
    tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, max_length: int | None = None
) -> int:
    """The number of tokens, special ones included, at which texts for this model are cut.

    The model's limit is `max_position_embeddings`, for RoBERTa's relatives without the rows up to the padding index.
    Rotary models (ModernBERT, Llama, Qwen2) would run beyond it, on positions they never saw. Without `max_length` it
    is the limit, or the tokenizer's own where that is less; 512 where neither has one (an LSTM, T5).

    Raises `UserError` for a `max_length` beyond the limit, or one that leaves no room beside the special tokens.
    """
    text_config = config.get_text_config()
    positions = getattr(text_config, "max_position_embeddings", None)  # recurrent and relative models have none
    limit = positions if positions is not None and positions > 0 else None  # XLNet says -1
    if limit is not None and text_config.model_type in POSITIONS_AFTER_PADDING:
        # MPNet's padding index is fixed in its code.
        limit -= 1 + (1 if text_config.model_type == "mpnet" else text_config.pad_token_id)
    if max_length is None:
        # A tokenizer without a limit says so with a number such as 1e30.
        known = [n for n in (limit, tokenizer.model_max_length) if n is not None and n < 10**6]
        return min(known, default=DEFAULT_MAX_LENGTH)
    if limit is not None and max_length > limit:
        raise UserError(
            f"max_length {max_length} is more than the {limit} tokens that a {text_config.model_type} model "
            f"with {positions} positions can take. Set max_length to {limit} or less."
        )
    frame = tokenizer.num_special_tokens_to_add(pair=True)
    if max_length <= frame:
        raise UserError(f"max_length {max_length} leaves no room for text beside {frame} special tokens. Raise it.")
    return max_length


class TokenizedDataset(NamedTuple):
    """What `tokenize_dataset` gives: the rows, how many texts (or pairs) were cut, and whether the cache had them."""

    dataset: datasets.Dataset
    truncated: int
    from_cache: bool


def tokenize_dataset(
    dataset: datasets.Dataset,
    tokenizer: PreTrainedTokenizerBase,
    text_column: str,
    text_pair_column: str | None = None,
    *,
    max_length: int,
    cache_dir: str | os.PathLike | None = None,
    description: str = "Tokenizing",
) -> TokenizedDataset:
    """Token ids of every row, cut to `max_length` tokens (special ones included), not padded.

    Columns: `input_ids`, `token_type_ids` where the tokenizer's model takes them, `length`, and `labels` where
    `dataset` has them. There is no attention mask: `DataCollatorWithPadding` makes it from the lengths. The longer
    text of a pair is cut first, as `tokenizer(..., truncation=True)` would.

    The result is memory-mapped from `cache_dir/hf_kit/tokenized-<key>.arrow` (`cache_dir`: that of `datasets`), where
    the key covers texts, tokenizer and `max_length` but not the labels. The file ends in its own checksum; one that is
    damaged is written again. It is written aside and renamed, so processes may race. The progress bar, named
    `description`, is shown only when there is work to do.

    Raises `UserError` for a data set without rows and for a tokenizer without a fast version.
    """
    if not tokenizer.is_fast:
        raise UserError(f"{type(tokenizer).__name__} has no fast version (tokenizer.json), which hf_kit needs.")
    if len(dataset) == 0:
        raise UserError(f"{description}: the data set has no rows.")
    texts = dataset.select_columns([text_column, *([text_pair_column] if text_pair_column else [])])
    texts = texts.with_format("arrow")
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["truncation"] = state["padding"] = None  # left behind by whoever called the tokenizer last
    serialized = json.dumps(state)
    with_types = "token_type_ids" in tokenizer.model_input_names
    side = tokenizer.truncation_side
    settings = [CACHE_SCHEMA, tokenizers.__version__, max_length, with_types, side, text_pair_column is not None]
    key = _content_key(texts, json.dumps(settings) + serialized)

    folder = Path(cache_dir or datasets.config.HF_DATASETS_CACHE) / "hf_kit"
    path = folder / f"tokenized-{key}.arrow"
    from_cache = _is_intact(path)
    if not from_cache:
        backend = Tokenizer.from_str(serialized)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix="writing-") as aside:
            written = Path(aside) / path.name
            texts.map(
                lambda table: _encode(table, backend, max_length, side, with_types),
                batched=True,
                remove_columns=texts.column_names,
                cache_file_name=str(written),
                load_from_cache_file=False,
                new_fingerprint=key,
                desc=description,
            )
            _seal(written)
            os.replace(written, path)
    tokenized = datasets.Dataset.from_file(str(path), split=dataset.split)
    truncated = pc.sum(tokenized.data["truncated"]).as_py()
    tokenized = tokenized.remove_columns("truncated")
    if "labels" in dataset.column_names:
        labels = dataset.select_columns("labels").with_format("arrow")[:]["labels"]
        tokenized = tokenized.add_column("labels", labels, feature=dataset.features["labels"])
    return TokenizedDataset(tokenized, truncated, from_cache)


def _encode(table: pa.Table, backend: Tokenizer, max_length: int, side: str, with_types: bool) -> pa.Table:
    columns = [column.to_pylist() for column in table.columns]
    encodings = backend.encode_batch_fast(columns[0] if len(columns) == 1 else list(zip(*columns, strict=True)))
    ids, types, truncated = [], [], []
    for encoding in encodings:
        row, row_types = encoding.ids, encoding.type_ids
        truncated.append(len(row) > max_length)
        if len(row) > max_length:
            kept = _kept_tokens(encoding.sequence_ids, max_length, side)
            row, row_types = [row[i] for i in kept], [row_types[i] for i in kept]
        ids.append(row)
        types.append(row_types)
    out = {"input_ids": pa.array(ids, pa.list_(pa.int32()))}
    if with_types:
        out["token_type_ids"] = pa.array(types, pa.list_(pa.int8()))
    out["length"] = pa.array(map(len, ids), pa.int32())
    out["truncated"] = pa.array(truncated)
    return pa.table(out)


def _kept_tokens(sequence_ids: list[int | None], max_length: int, side: str) -> list[int]:
    """Which tokens stay: all special ones (None), and of the texts (0, 1) what a "longest first" cut leaves."""
    places = [[i for i, sequence in enumerate(sequence_ids) if sequence == n] for n in (None, 0, 1)]
    special, first, second = places
    room = max_length - len(special)
    shorter = min(len(first), len(second), room // 2)
    # The text that is shorter keeps up to half of the room, and the other one the rest.
    kept = (room - shorter, shorter) if len(first) > len(second) else (shorter, room - shorter)
    cut = [text[: kept[n]] if side == "right" else text[len(text) - kept[n] :] for n, text in enumerate(places[1:])]
    return sorted([*special, *cut[0], *cut[1]])


def _content_key(texts: datasets.Dataset, settings: str) -> str:
    """sha256 over `settings` and every text; the same however the rows are split into Arrow chunks."""
    key = hashlib.sha256(settings.encode())
    for column in texts.column_names:
        characters, lengths = hashlib.sha256(), hashlib.sha256()
        for table in texts.select_columns(column).iter(batch_size=10_000):
            for chunk in table[column].chunks:
                array = chunk.cast(pa.large_string())
                _, offsets, values = array.buffers()
                offsets = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]  # [rows + 1]
                characters.update(memoryview(values)[offsets[0] : offsets[-1]])
                lengths.update(np.diff(offsets).tobytes())
        key.update(characters.digest() + lengths.digest())
    return key.hexdigest()


def _seal(path: Path) -> None:
    """Append the file's sha256; readers of an Arrow stream stop at its end mark, before these bytes."""
    with path.open("r+b") as file:
        file.write(hashlib.file_digest(file, "sha256").digest())


def _is_intact(path: Path) -> bool:
    if not path.is_file():
        return False
    with pa.memory_map(str(path)) as file:
        content = memoryview(file.read_buffer())
        return hashlib.sha256(content[:-DIGEST_BYTES]).digest() == bytes(content[-DIGEST_BYTES:])
