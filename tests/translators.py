"""Small encoder-decoders with random weights and the tokenizers of their families, as their checkpoints have them."""

import io
import json
import random
from collections.abc import Callable
from pathlib import Path

import sentencepiece
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    BartTokenizer,
    M2M100Tokenizer,
    MarianTokenizer,
    MBart50Tokenizer,
    MBartTokenizer,
    NllbTokenizer,
    PreTrainedTokenizerBase,
    T5Tokenizer,
)
from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

from hf_kit.tokenizer_training import train_tokenizer

WORDS = {
    "cat": "猫",
    "dog": "狗",
    "bird": "鸟",
    "fish": "鱼",
    "tea": "茶",
    "water": "水",
    "book": "书",
    "moon": "月亮",
    "red": "红色",
    "small": "小",
}


def pairs(rows: int = 40, seed: int = 0) -> list[tuple[str, str]]:
    """`rows` different English texts with their Chinese, word by word."""
    rng, found = random.Random(seed), {}
    while len(found) < rows:
        words = rng.choices(list(WORDS), k=rng.randint(1, 6))
        found.setdefault(" ".join(words) + ".", "".join(WORDS[word] for word in words) + "。")
    return list(found.items())


SOURCES, TARGETS = (list(side) for side in zip(*pairs(), strict=True))


def _pieces(texts: list[str]) -> sentencepiece.SentencePieceProcessor:
    """A sentencepiece model as fairseq and Marian train it: <unk>, <s>, </s>, then its pieces."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=60,
        hard_vocab_limit=False,
        character_coverage=1.0,
        num_threads=1,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def _scored(texts: list[str]) -> list[tuple[str, float]]:
    trained = _pieces(texts)
    return [(trained.id_to_piece(i), trained.get_score(i)) for i in range(3, trained.get_piece_size())]


def _write(path: Path, value: object) -> str:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")
    return str(path)


def marian(folder: Path, *, separate: bool = False, marks: tuple[str, ...] = ()) -> PreTrainedTokenizerBase:
    """With one vocabulary for both sides, or two; `marks` name its targets, where there are several: `>>fra<<`."""
    spoken = {"source": _pieces(SOURCES), "target": _pieces(TARGETS)}
    own = {}
    for name, trained in spoken.items():
        (folder / f"{name}.spm").write_bytes(trained.serialized_model_proto())
        own[name] = [trained.id_to_piece(i) for i in range(3, trained.get_piece_size())]
    files = {"source_spm": str(folder / "source.spm"), "target_spm": str(folder / "target.spm")}
    if not separate:
        own["source"] = list(dict.fromkeys([*own["source"], *own["target"], *marks]))
    for name, pieces in own.items():
        own[name] = {piece: i for i, piece in enumerate(["</s>", "<unk>", *pieces, "<pad>"])}
    files["vocab"] = _write(folder / "vocab.json", own["source"])
    if separate:
        files["target_vocab_file"] = _write(folder / "target_vocab.json", own["target"])
    return MarianTokenizer(**files, source_lang="en", target_lang="zh", separate_vocabs=separate)


def _bart(folder: Path) -> PreTrainedTokenizerBase:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([*SOURCES, *TARGETS], trainer)
    learned = json.loads(backend.to_str())["model"]
    learned["vocab"]["<mask>"] = len(learned["vocab"])
    return BartTokenizer(vocab=learned["vocab"], merges=[tuple(merge) for merge in learned["merges"]])


def _t5(folder: Path) -> PreTrainedTokenizerBase:
    prefix = [(f"▁{word}", 0.0) for word in "translate English to Chinese:".split()]
    extra = [(f"<extra_id_{i}>", 0.0) for i in reversed(range(4))]
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *_scored([*SOURCES, *TARGETS]), *prefix, *extra]
    return T5Tokenizer(vocab=vocab, extra_ids=4)


def _fairseq(tokenizer_class: type) -> Callable[[Path], PreTrainedTokenizerBase]:
    """mBART's two: the languages behind the pieces."""

    def make(folder: Path) -> PreTrainedTokenizerBase:
        special = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")]
        codes = [(code, 0.0) for code in tokenizer_class().lang_code_to_id]
        return tokenizer_class(vocab=[*special, *_scored([*SOURCES, *TARGETS]), *codes, ("<mask>", 0.0)])

    return make


def _m2m_100(folder: Path) -> PreTrainedTokenizerBase:
    trained = _pieces([*SOURCES, *TARGETS])
    (folder / "sentencepiece.bpe.model").write_bytes(trained.serialized_model_proto())
    pieces = [trained.id_to_piece(i) for i in range(3, trained.get_piece_size())]
    vocab = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *pieces])}
    languages = [f"__{code}__" for code in FAIRSEQ_LANGUAGE_CODES["m2m100"]]  # as its checkpoints list them
    files = _write(folder / "vocab.json", vocab), str(folder / "sentencepiece.bpe.model")
    return M2M100Tokenizer(*files, additional_special_tokens=languages)


def _nllb(folder: Path) -> PreTrainedTokenizerBase:
    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=100, special_tokens=special, show_progress=False)
    backend.train_from_iterator([*SOURCES, *TARGETS], trainer)
    learned = json.loads(backend.to_str())["model"]
    return NllbTokenizer(vocab=learned["vocab"], merges=[tuple(merge) for merge in learned["merges"]])


def _ours(folder: Path) -> PreTrainedTokenizerBase:
    texts = [*SOURCES, *TARGETS]
    return train_tokenizer(texts, tokenizer_type="unigram", vocab_size=80, special_tokens="seq2seq", lowercase=False)


_SMALL = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "max_position_embeddings": 64,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "encoder_layerdrop": 0.0,
    "decoder_layerdrop": 0.0,
}
_LSTM = {
    "embedding_dim": 16,
    "hidden_dim": 16,
    "num_layers": 1,
    "embedding_dropout": 0.0,
    "lstm_dropout": 0.0,
    "output_dropout": 0.0,
}
_T5 = {
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 32,
    "num_layers": 1,
    "num_decoder_layers": 1,
    "num_heads": 2,
    "dropout_rate": 0.0,
}
# A fresh model's fields, by its `model_type`.
FRESH = {
    "marian": _SMALL,
    "bart": _SMALL,
    "mbart": _SMALL,
    "m2m_100": _SMALL,
    "t5": _T5,
    "hf_kit_lstm_seq2seq": _LSTM,
}
# By name: the `model_type`, its fields, the tokenizer.
CHECKPOINTS: dict[str, tuple[str, dict, Callable[[Path], PreTrainedTokenizerBase]]] = {
    "marian": ("marian", _SMALL, marian),
    "marian of two vocabularies": (
        "marian",
        _SMALL | {"share_encoder_decoder_embeddings": False, "tie_word_embeddings": False},
        lambda folder: marian(folder, separate=True),
    ),
    "bart": ("bart", _SMALL | {"decoder_start_token_id": 2}, _bart),
    "t5": ("t5", _T5, _t5),
    "mt5": ("mt5", _T5 | {"tie_word_embeddings": False}, _t5),
    "mbart": ("mbart", _SMALL, _fairseq(MBartTokenizer)),
    "mbart50": ("mbart", _SMALL | {"decoder_start_token_id": 2}, _fairseq(MBart50Tokenizer)),
    "m2m_100": ("m2m_100", _SMALL | {"decoder_start_token_id": 2}, _m2m_100),
    "nllb": ("m2m_100", _SMALL | {"decoder_start_token_id": 2}, _nllb),
    "lstm": ("hf_kit_lstm_seq2seq", _LSTM | {"decoder_start_token_id": 2}, _ours),
}


def write_translator(name: str, folder: Path) -> Path:
    """A checkpoint of one of `CHECKPOINTS`, drawn at random: its weights, configuration and tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    model_type, fields, make = CHECKPOINTS[name]
    tokenizer = make(folder)
    fields = fields | {f"{role}_token_id": getattr(tokenizer, f"{role}_token_id") for role in ("pad", "eos", "bos")}
    if model_type in ("t5", "mt5", "marian"):
        fields |= {"decoder_start_token_id": tokenizer.pad_token_id}
    size = len(tokenizer)
    fields |= {"vocab_size": size}
    if "target_vocab_file" in tokenizer.init_kwargs and tokenizer.separate_vocabs:
        fields |= {"decoder_vocab_size": len(tokenizer.target_encoder)}
    elif model_type == "marian":
        fields |= {"decoder_vocab_size": size}
    torch.manual_seed(0)
    model = AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model(model_type, **fields))
    for weight in model.parameters():  # of a size at which answers differ
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=1.0)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
