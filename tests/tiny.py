"""Small data and small models for the contract tests."""

import csv
import random
from pathlib import Path

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
