"""What is odd in the rows of a run, counted before it trains: all of it from arrays, whatever the rows came from.

Counts only: the texts themselves are never part of what is written into a run folder, which may be published.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import issparse

from hf_kit.data.labels import MULTI, REGRESSION, LabelMapping

# What `count_tokens` gives, of rows without tokens.
NO_TOKENS = dict.fromkeys(("read", "cut", "lost", "tokens", "unknown"))


@dataclass
class SplitChecks:
    """One split; rows, inputs (texts, images) and tokens are counted.

    Attributes:
        labels: rows of each label; None for regression and without labels.
        label_range: the least and the greatest number of regression.
        unlabelled: rows with an empty list of labels, where rows have several.
        empty: rows with an empty text.
        repeated: rows beyond the first one of their input.
        two_labels: rows whose input stands in this split with another label as well; None where rows have no labels,
            but texts that are wanted.
        in_train, in_validation: rows whose input is there too; None for the split itself and the ones before it.
        skipped: images that cannot be read, and are none of the rows; None for texts.
        dropped: pairs of texts that are not trained on, by the reason; None for other tasks.
        scored: whether what was wanted of the rows is known.
        read: rows whose tokens were counted; of a stream the first ones. None, like all below, for images.
        cut: of these the rows that lose tokens to `max_length`.
        lost: the tokens that they lose.
        tokens, unknown: those of the texts as the model reads them, special ones not counted; `unknown` is None where
            the tokenizer can write everything.
    """

    rows: int
    labels: dict[str, int] | None
    label_range: tuple[float, float] | None
    unlabelled: int
    empty: int | None
    repeated: int
    two_labels: int | None
    in_train: int | None
    in_validation: int | None
    read: int | None
    cut: int | None
    lost: int | None
    tokens: int | None
    unknown: int | None
    skipped: int | None = None
    dropped: dict[str, int] | None = None
    scored: bool = True

    @property
    def whole(self) -> int | None:
        """Tokens before the cut."""
        return None if self.tokens is None else self.tokens + self.lost


@dataclass
class DataChecks:
    """All splits of a run.

    Attributes:
        similar_labels: groups of label names that differ in case, spaces or width (`Ａ` and `A`) only.
        max_length: tokens at which texts are cut; None for images.
        example: an input with two labels, as a sentence's part for the terminal; None where there is none.
        noun: what one input is called.
    """

    splits: dict[str, SplitChecks]
    similar_labels: list[list[str]]
    max_length: int | None
    example: str | None = None
    noun: str = "text"

    def to_dict(self) -> dict[str, Any]:
        """As JSON, without the example and the noun."""
        splits = {name: asdict(split) for name, split in self.splits.items()}
        return {"splits": splits, "similar_labels": self.similar_labels, "max_length": self.max_length}


def check_split(
    name: str,
    keys: dict[str, np.ndarray],
    labels: np.ndarray | None,
    empty: np.ndarray | None,
    tokens: dict[str, int | None],
    mapping: LabelMapping | None,
    skipped: int | None = None,
    dropped: dict[str, int] | None = None,
    scored: bool | None = None,
) -> SplitChecks:
    """Count one split.

    Args:
        name: train, validation or test.
        keys: of every split, [n] numbers that are equal where rows have the same input.
        labels: [n] label ids or numbers, [n, c] of 0 and 1 for several labels (sparse of a stream), None where there
            are none.
        empty: [n] True where a row has no text; None for images.
        tokens: from `count_tokens`, or `NO_TOKENS`.
        mapping: None where rows have no labels, but texts that are wanted.
        skipped: images that cannot be read.
        dropped: pairs that are not trained on, by the reason.
        scored: unset: where there are labels.
    """
    own = keys[name]
    seen = {other: int(np.isin(own, keys[other]).sum()) if other in keys else None for other in ("train", "validation")}
    classes = labels is not None and mapping.problem_type != REGRESSION
    return SplitChecks(
        rows=len(own),
        labels=_label_counts(labels, mapping) if classes else None,
        label_range=None if classes or labels is None else (float(labels.min()), float(labels.max())),
        unlabelled=int((np.asarray(labels.sum(1)).ravel() == 0).sum())
        if classes and mapping.problem_type == MULTI
        else 0,
        empty=None if empty is None else int(empty.sum()),
        repeated=len(own) - len(np.unique(own)),
        two_labels=_two_labels(own, labels, mapping),
        in_train=None if name == "train" else seen["train"],
        in_validation=seen["validation"] if name == "test" else None,
        skipped=skipped,
        dropped=dropped,
        scored=labels is not None if scored is None else scored,
        **tokens,
    )


def _two_labels(keys: np.ndarray, labels: np.ndarray | None, mapping: LabelMapping | None) -> int | None:
    if mapping is None:
        return None  # of one text there are many translations
    return 0 if labels is None else int(rows_with_two_labels(keys, labels).sum())


def _label_counts(labels: np.ndarray, mapping: LabelMapping) -> dict[str, int]:
    if mapping.problem_type == MULTI:
        counts = np.asarray(labels.sum(0)).ravel().astype(int)  # [c]
    else:
        counts = np.bincount(labels, minlength=mapping.num_labels)  # [c]
    return dict(zip(mapping.names, counts.tolist(), strict=True))


def rows_with_two_labels(keys: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[n] True where another row has the same input and another label; `labels` is [n], or [n, c] for several."""
    values = pa.array(_row_bytes(labels))  # far faster than sorting rows of [n, c]
    codes = values.dictionary_encode().indices.to_numpy()  # [n]
    inputs, input_of_row = np.unique(keys, return_inverse=True)
    lowest, highest = np.full(len(inputs), len(keys)), np.zeros(len(inputs), dtype=np.int64)
    np.minimum.at(lowest, input_of_row, codes)
    np.maximum.at(highest, input_of_row, codes)
    return (lowest < highest)[input_of_row]


def _row_bytes(labels: np.ndarray) -> list[bytes]:
    """[n] bytes, the same where the labels are."""
    if not issparse(labels):
        return [row.tobytes() for row in labels]
    parts = (labels[i : i + 10_000].toarray() for i in range(0, labels.shape[0], 10_000))  # [m, c]
    return [row.tobytes() for part in parts for row in np.packbits(part > 0, axis=1)]


def two_rows_that_disagree(keys: np.ndarray, labels: np.ndarray) -> tuple[int, int] | None:
    """The first row that has the input of another row and not its label, and that other row."""
    found = np.flatnonzero(rows_with_two_labels(keys, labels))
    if not len(found):
        return None
    first = found[0]
    same = found[keys[found] == keys[first]]
    other = same[(labels[same] != labels[first]).reshape(len(same), -1).any(1)][0]
    return int(first), int(other)


def similar_labels(names: list[str]) -> list[list[str]]:
    """Groups of names that differ in case, spaces or width only: two classes to the model, one to its reader."""
    groups = defaultdict(list)
    for name in names:
        groups["".join(unicodedata.normalize("NFKC", name).casefold().split())].append(name)
    return [group for group in groups.values() if len(group) > 1]


def count_tokens(tables: Iterable[pa.Table], unknown_id: int | None, special: int) -> dict[str, int | None]:
    """`read`, `cut`, `lost`, `tokens` and `unknown` of `SplitChecks`.

    Args:
        tables: tokenized rows: `input_ids`, `length` and `whole`, the length before the cut.
        unknown_id: the id of unknown tokens, None where the tokenizer has none.
        special: special tokens that each row has.
    """
    read = cut = lost = tokens = unknown = 0
    for table in tables:
        read += len(table)
        missing = pc.subtract(table["whole"], table["length"])
        cut += pc.sum(pc.greater(missing, 0)).as_py()
        lost += pc.sum(missing).as_py()
        tokens += pc.sum(table["length"]).as_py() - special * len(table)
        if unknown_id is not None:
            unknown += pc.sum(pc.equal(pc.list_flatten(table["input_ids"]), unknown_id)).as_py() or 0
    counted = {"read": read, "cut": cut, "lost": lost, "tokens": tokens}
    return counted | {"unknown": None if unknown_id is None else unknown}
