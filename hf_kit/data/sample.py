"""The sample that ships with the kit: short reviews, English and Chinese, positive and negative."""

import json
from pathlib import Path

from datasets import Dataset, NamedSplit

FOLDER = Path(__file__).parent
LANGUAGES = ("en", "zh")


def load_sample() -> Dataset:
    """Columns `text`, `label` (`negative` or `positive`) and `language` (`en` rows first, then `zh`)."""
    rows = []
    for language in LANGUAGES:
        with open(FOLDER / f"reviews_{language}.jsonl", encoding="utf-8") as lines:
            rows += [json.loads(line) | {"language": language} for line in lines]
    return Dataset.from_list(rows, split=NamedSplit("train"))
