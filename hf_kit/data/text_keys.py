"""A number for each text: equal texts are found without holding the texts, within a split and between splits."""

import hashlib

import numpy as np
from datasets import Dataset

from hf_kit.data.columns import TextColumns

SEED = b"hf_kit 1"  # another one gives other splits: never change it


def text_keys(dataset: Dataset, columns: TextColumns) -> np.ndarray:
    """[n] uint64: equal for rows with the same text (or pair), case and white space apart."""
    names = [name for name in (columns.text, columns.text_pair) if name is not None]
    texts = zip(*(dataset[name][:] for name in names), strict=True)
    keys = (
        hashlib.blake2b(
            "\0".join(" ".join(t.casefold().split()) for t in row).encode(), digest_size=8, key=SEED
        ).digest()
        for row in texts
    )
    return np.frombuffer(b"".join(keys), dtype="<u8")
