"""Inputs that stand in training as well as in a set that judges the model: found, and taken out if asked."""

import numpy as np
from datasets import Dataset

from hf_kit.data.arrow_columns import column_array
from hf_kit.data.labels import ENCODED, MULTI, REGRESSION, LabelMapping
from hf_kit.data.streamed_rows import StreamedRows
from hf_kit.errors import UserError


def clean_rows(keys: dict[str, np.ndarray], split: str) -> np.ndarray:
    """[n] True for the rows of `split` whose input is not in train; `keys`: of each split, [n]."""
    return np.isin(keys[split], keys["train"], invert=True)


def drop_leaks(
    train: Dataset | StreamedRows, keys: dict[str, np.ndarray], mapping: LabelMapping | None, noun: str = "text"
) -> tuple[Dataset | StreamedRows, dict[str, np.ndarray], str]:
    """Training rows whose input is in no other split: the rows, the `keys` that then hold, a sentence for the user.

    The sets that judge stay whole, so that scores compare with those of others.

    Raises:
        UserError: a class would lose all its rows.
    """
    judged = [own for split, own in keys.items() if split != "train"]
    kept = np.isin(keys["train"], np.concatenate(judged), invert=True) if judged else np.ones(len(train), dtype=bool)
    lost = _lost_classes(train, mapping, kept)
    if lost or not kept.any():
        whose = f"of class {' and '.join(f'`{name}`' for name in lost)}" if lost else "there is"
        raise UserError(
            f"--drop_leaks takes every training row {whose}: their {noun}s are also in the validation or test set. "
            "Leave it out (the scores on clean rows are given all the same), or add training rows"
        )
    note = (
        f"--drop_leaks: {np.sum(~kept):,} of {len(kept):,} training rows left out, whose {noun} is also in a given "
        "validation or test set"
    )
    clean = train.keep(kept) if isinstance(train, StreamedRows) else train.select(np.flatnonzero(kept))
    return clean, keys | {"train": keys["train"][kept]}, note


def _lost_classes(train: Dataset | StreamedRows, mapping: LabelMapping | None, kept: np.ndarray) -> list[str]:
    """The names of the classes that have rows, and none among `kept` ([n] bool)."""
    if mapping is None or mapping.problem_type == REGRESSION:
        return []
    if isinstance(train, StreamedRows):
        rows, codes = train.labels.nonzero() if mapping.problem_type == MULTI else (np.arange(len(train)), train.labels)
        return [mapping.names[code] for code in np.setdiff1d(codes, codes[kept[rows]])]
    values = column_array(train, ENCODED)
    if mapping.problem_type == MULTI:
        rows, codes = values.flatten().to_numpy().reshape(len(train), mapping.num_labels).nonzero()
    else:
        rows, codes = np.arange(len(train)), values.to_numpy()
    return [mapping.names[code] for code in np.setdiff1d(codes, codes[kept[rows]])]
