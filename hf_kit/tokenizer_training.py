"""A tokenizer learned from a run's own training texts.

Four kinds: WordPiece (Schuster and Nakajima 2012, in BERT's form), byte-level BPE (Sennrich et al. 2016; Radford et al.
2019), unigram (Kudo 2018) and plain words. Deliberately different from the usual code: training is reproducible to the
byte. The WordPiece trainer of `tokenizers` numbers `##` characters in the order of a randomly seeded hash map, so they
are given to it in a fixed order; its unigram trainer sums in random order, so unigram models are trained by
`sentencepiece` on one thread. `vocab_size` is a hard cap: characters too rare to fit are left to [UNK].
"""

import io
import itertools
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import sentencepiece
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from hf_kit.console import is_main_process
from hf_kit.errors import UserError, nearest

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]  # in the order of their ids: padding is 0

# A text alone, a pair of texts, and what the tokenizer feeds a model.
TEMPLATES = {
    "bert": ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ["input_ids", "token_type_ids", "attention_mask"]),
    "plain": ("$A", "$A [SEP] $B", ["input_ids", "attention_mask"]),
    "seq2seq": ("$A [SEP]", "$A [SEP] $B [SEP]", ["input_ids", "attention_mask"]),
}
# Those that keep a text as it is where they are asked to.
LOSSLESS = ("bpe", "unigram")

CHINESE = r"\p{Han}"
APART = "\t"  # stands in no line: spaces are single ones there

ENDLESS = re.compile(r"\S{1000}")


def train_tokenizer(
    texts: Iterable[str],
    *,
    tokenizer_type: Literal["wordpiece", "bpe", "unigram", "wordlevel"] = "wordpiece",
    vocab_size: int = 10000,
    special_tokens: Literal["bert", "plain", "seq2seq"] = "bert",
    lowercase: bool = True,
    more_words: Iterable[str] = (),
) -> PreTrainedTokenizerFast:
    """A tokenizer learned from `texts` and nothing else; the same texts give the same files.

    - `wordpiece`: word pieces, Chinese characters one by one.
    - `bpe`: over bytes after NFKC, so nothing is ever unknown; frequent Chinese words become one token.
    - `unigram`: over characters after NFKC; frequent Chinese words become one token.
    - `wordlevel`: words, punctuation marks and Chinese characters, as word vectors need them.

    `special_tokens` frames a text as `[CLS] A [SEP]`, a pair as `[CLS] A [SEP] B [SEP]` with token types 0 and 1
    ("bert"), leaves it bare, a pair as `A [SEP] B` without token types ("plain"), or ends it with [SEP] ("seq2seq").
    [CLS] is also the bos token and [SEP] the eos token, where decoders look for them. Padding is on the right, with id
    0. `vocab_size` is a cap that counts the special tokens; `len(tokenizer)` is the true size. The caller sets
    `model_max_length`.

    Where a model is to write texts, `lowercase=False` keeps them as they are, without NFKC: letters in their case,
    Chinese punctuation in its width. `bpe` and `unigram` can; decoding then gives the text back. `unigram` then takes
    Chinese characters one by one: of words and phrases, each rarer than its characters, a small corpus teaches little.

    `more_words` fill the places that the texts' own words leave in a `wordlevel` vocabulary, in their order: words that
    have a vector, so that a new text's word can be known though no training text has it. The other kinds build unknown
    words from pieces and take none.

    `texts` are read several times and not gathered: memory grows with the different words, where a run of Chinese is
    one word to `bpe`. `unigram` alone holds all texts (sentencepiece does).

    Raises `UserError` for an unknown type or frame, a cap without room for text, texts that are all blank, or a type
    that cannot keep texts as they are.
    """
    if tokenizer_type not in TRAINERS:
        raise UserError(
            f"tokenizer_type `{tokenizer_type}` is not known{nearest(tokenizer_type, TRAINERS)} "
            f"Choose one of: {', '.join(TRAINERS)}."
        )
    if special_tokens not in TEMPLATES:
        raise UserError(f"special_tokens `{special_tokens}` is not known. Choose one of: {', '.join(TEMPLATES)}.")
    if not lowercase and tokenizer_type not in LOSSLESS:
        raise UserError(
            f"--tokenizer_type {tokenizer_type} changes what it reads (case, accents), and this model is to write "
            f"texts: choose {' or '.join(LOSSLESS)}"
        )
    smallest = smallest_vocab_size(tokenizer_type)
    if vocab_size < smallest:
        raise UserError(
            f"vocab_size {vocab_size} is too small for tokenizer_type {tokenizer_type}: at least {smallest}."
        )
    texts = _NotBlank(texts)
    if next(iter(texts), None) is None:
        raise UserError(
            "There is no text to train a tokenizer on: every training text is empty. Check the text column."
        )

    backend = TRAINERS[tokenizer_type](texts, vocab_size, lowercase)
    if tokenizer_type == "wordlevel":
        _fill_up(backend, more_words, vocab_size)
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


def smallest_vocab_size(tokenizer_type: str) -> int:
    """The special tokens and what there must be beside them: all bytes for `bpe`, anything at all for the others."""
    return len(SPECIAL_TOKENS) + (256 if tokenizer_type == "bpe" else 2)


def in_the_class_that_loads(
    tokenizer: PreTrainedTokenizerBase, config: PreTrainedConfig, texts: Iterable[str], vocab_size: int
) -> PreTrainedTokenizerBase:
    """`tokenizer`, if `AutoTokenizer` would give it back beside `config`; else one of the class that it insists on.

    For some model types (`qwen2` in transformers 5.23) it puts a class of its own in the place of the one named in the
    files, silently, with other ids. There that class learns from the texts by its own method, byte-level BPE.
    """
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        config.save_pretrained(folder)
        reloaded = AutoTokenizer.from_pretrained(folder)
    if type(reloaded) is type(tokenizer):
        return tokenizer
    trained = type(reloaded)().train_new_from_iterator(
        map(_without_endless_words, texts), vocab_size, show_progress=False
    )
    trained.padding_side = "right"
    return trained


class _NotBlank(Iterable[str]):
    """The texts that hold more than spaces, read anew for every pass; `len` counts the others too."""

    def __init__(self, texts: Iterable[str]):
        # Streamed texts can be read again and are not gathered; what can be read once only is.
        self._texts = list(texts) if isinstance(texts, Iterator) else texts

    def __len__(self) -> int:
        return len(self._texts)

    def __iter__(self) -> Iterator[str]:
        return (_without_endless_words(text) for text in self._texts if text.strip())


def _without_endless_words(text: str) -> str:
    """The time to learn from a word grows with the square of its length: encoded files are taken in pieces."""
    return ENDLESS.sub(r"\g<0> ", text)


def _wordpiece(texts: _NotBlank, vocab_size: int, lowercase: bool) -> Tokenizer:
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


def _bpe(texts: _NotBlank, vocab_size: int, lowercase: bool) -> Tokenizer:
    backend = Tokenizer(models.BPE())
    backend.normalizer = _lowercasing() if lowercase else None
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.ByteLevel()
    if not lowercase:
        backend.decoder = decoders.Sequence([backend.decoder, decoders.Strip(" ", 1, 0)])  # the space put before
    trainer = trainers.BpeTrainer(
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        **_trainer_options(vocab_size),
    )
    backend.train_from_iterator(texts, trainer, length=len(texts))
    return backend


def _unigram(texts: _NotBlank, vocab_size: int, lowercase: bool) -> Tokenizer:
    normalizer = _lowercasing() if lowercase else None
    lines = [" ".join((normalizer.normalize_str(text) if normalizer else text).split()) for text in texts]
    counts = Counter(character for line in lines for character in line if character != " ")
    _, rare = _most_frequent(counts, vocab_size - len(SPECIAL_TOKENS) - 1)  # one place is for "▁"
    steps = [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    if not lowercase:
        apart = pre_tokenizers.Split(Regex(CHINESE), "isolated")
        lines = [APART.join(part for part, _ in apart.pre_tokenize_str(line)) for line in lines]
        steps.append(apart)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line.translate(rare) for line in lines),
        model_writer=model,
        model_type="unigram",
        vocab_size=vocab_size - len(SPECIAL_TOKENS) + 1,  # it counts its own unknown token, which is ours
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        pretokenization_delimiter=APART,
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
    backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
    backend.decoder = decoders.Metaspace()
    return backend


def _wordlevel(texts: _NotBlank, vocab_size: int, lowercase: bool) -> Tokenizer:
    backend = _word_backend(models.WordLevel(unk_token="[UNK]"))
    trainer = trainers.WordLevelTrainer(special_tokens=SPECIAL_TOKENS, **_trainer_options(vocab_size))
    backend.train_from_iterator(texts, trainer, length=len(texts))
    return backend


def _fill_up(backend: Tokenizer, words: Iterable[str], vocab_size: int) -> None:
    """Add words, as the tokenizer writes them, up to `vocab_size`; not those that it would split."""
    vocabulary = backend.get_vocab()
    for word in words:
        if len(vocabulary) >= vocab_size:
            break
        word = backend.normalizer.normalize_str(word).strip()
        if word not in vocabulary and [w for w, _ in backend.pre_tokenizer.pre_tokenize_str(word)] == [word]:
            vocabulary[word] = len(vocabulary)
    backend.model = models.WordLevel(vocab=vocabulary, unk_token="[UNK]")


TRAINERS: dict[str, Callable[[_NotBlank, int, bool], Tokenizer]] = {
    "wordpiece": _wordpiece,
    "bpe": _bpe,
    "unigram": _unigram,
    "wordlevel": _wordlevel,
}


def _lowercasing() -> normalizers.Normalizer:
    return normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])


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
