"""Small data and small models for the contract tests."""

import csv
import random
from pathlib import Path

import numpy as np
from PIL import Image

GOOD = "lovely great happy excellent friendly tasty warm bright".split()
BAD = "awful poor angry broken rude cold dark slow".split()
PLAIN = "the a hotel film phone shop waiter room story box on with and very".split()

# One small configuration for each family that the kit promises; transformers' own field names.
_BERT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}
_LLAMA = _BERT | {"num_key_value_heads": 1}
FAMILIES = {
    "hf_kit_lstm": {"embedding_dim": 16, "hidden_dim": 16},
    "bert": _BERT,
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 64},
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "electra": _BERT | {"embedding_size": 16},
    "albert": _BERT | {"embedding_size": 16},
    "deberta-v2": _BERT,
    "mpnet": _BERT,
    "modernbert": _BERT,
    "llama": _LLAMA,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA | {"head_dim": 8},
}

_VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 16,
    "patch_size": 4,
}
IMAGE_FAMILIES = {
    "vit": _VIT,
    "deit": _VIT,
    "beit": _VIT,
    "dinov2": {k: v for k, v in _VIT.items() if k != "intermediate_size"} | {"mlp_ratio": 2},
    "swin": {
        "image_size": 16,
        "patch_size": 2,
        "embed_dim": 8,
        "depths": [1, 1],
        "num_heads": [1, 2],
        "window_size": 4,
    },
    "convnext": {"patch_size": 2, "num_stages": 2, "hidden_sizes": [8, 16], "depths": [1, 1]},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
}


# A run on `reviews.csv` and `dev.csv` that draws and compares nothing.
QUIET_RUN = (
    "--train_file=reviews.csv",
    "--validation_file=dev.csv",
    "--test_split_percentage=0",
    "--vocab_size=200",
    "--disable_tqdm=True",
    "--baselines=False",
    "--per_device_train_batch_size=8",
)


def sentence(words: list[str], rng: random.Random) -> str:
    picked = rng.choices(PLAIN, k=rng.randint(3, 12)) + rng.choices(words, k=2)
    rng.shuffle(picked)
    return " ".join(picked)


def reviews(rows: int = 80, seed: int = 0) -> list[tuple[str, str]]:
    """`rows` different texts, half `good` and half `bad`, told apart by single words."""
    rng = random.Random(seed)
    texts: dict[str, str] = {}
    while len(texts) < rows:
        label = ("good", "bad")[len(texts) % 2]
        texts.setdefault(sentence(GOOD if label == "good" else BAD, rng), label)
    return list(texts.items())


def write_csv(path: Path, rows: list[tuple], header: tuple[str, ...] = ("text", "label")) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def photo(label: str, rng: np.random.Generator, width: int = 20, height: int = 16) -> Image.Image:
    """Noise with a bright bar, `upright` or `lying`."""
    pixels = rng.integers(0, 120, (height, width, 3))
    place = int(rng.integers(3, 10))
    pixels[(slice(None), slice(place, place + 4)) if label == "upright" else (slice(place, place + 4),)] += 130
    return Image.fromarray(pixels.astype(np.uint8))


def write_photos(folder: Path, each: int = 20, seed: int = 0, suffix: str = ".png") -> Path:
    """`folder/upright` and `folder/lying`, told apart by a bar; all images differ."""
    rng = np.random.default_rng(seed)
    for label in ("upright", "lying"):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for i in range(each):
            photo(label, rng).save(folder / label / f"{i:03}{suffix}")
    return folder


# Words that a tiny model can learn to translate: each has one Chinese word, and their order stays.
WORDS = dict(
    zip("one two three four five red blue cat dog house".split(), "一 二 三 四 五 红 蓝 猫 狗 家".split(), strict=True)
)
MARIAN = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    "init_std": 0.1,  # the library's 0.02 learns nothing in so few steps
}


def pairs(number: int, seed: int = 0) -> list[tuple[str, str]]:
    """English sentences of one to three words and their Chinese."""
    rng = random.Random(seed)
    rows = [[rng.choice(list(WORDS)) for _ in range(rng.randint(1, 3))] for _ in range(number)]
    return [(" ".join(row) + ".", "".join(WORDS[word] for word in row) + "。") for row in rows]
