"""hf_kit: finetune classifiers of texts and images, and translators, on your own data, with one command or five lines.

>>> import hf_kit
>>> run = hf_kit.train("text_classification/lstm.yaml", train_file="reviews.csv")
>>> run.results["test"]
>>> run.predict(["a text of mine"])

Importing this is cheap: torch and transformers load with the first name that needs them.
"""

import importlib

__version__ = "0.1.0"

_PUBLIC = {
    "train": "hf_kit.notebook",
    "load": "hf_kit.notebook",
    "Run": "hf_kit.notebook",
    "LstmConfig": "hf_kit.models.lstm",
    "LstmForSequenceClassification": "hf_kit.models.lstm",
    "UserError": "hf_kit.errors",
}
__all__ = [*_PUBLIC]  # noqa: PLE0604 (the table above holds strings)


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'hf_kit' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
