"""What is learned: one label mapping, decided once from the training rows and used for every split.

Single label, several labels or a number is read off the labels themselves: lists are several labels, fractions are a
number to predict, all else is classes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset, List, Value

from hf_kit.data.arrow_columns import name_rows
from hf_kit.data.label_values import NUMBER, LabelValues, read_labels
from hf_kit.data.quiet import quiet
from hf_kit.errors import UserError

SINGLE = "single_label_classification"
MULTI = "multi_label_classification"
REGRESSION = "regression"
PROBLEM_TYPES = (SINGLE, MULTI, REGRESSION)
ENCODED = "labels"  # the column that Trainer and the models read


@dataclass(frozen=True)
class LabelMapping:
    """What the model's outputs mean; the names of `transformers`' configuration.

    Attributes:
        names: the classes in the order of their ids; for regression one name, that of the number's column.
        minus_one: for regression, whether a training row has the number -1 (of classes their names tell).
    """

    problem_type: str
    names: list[str]
    minus_one: bool = False

    @property
    def has_minus_one(self) -> bool:
        """Whether -1 is a label like any other; where it is none, it stands for a missing label."""
        return self.minus_one if self.problem_type == REGRESSION else "-1" in self.names

    @property
    def num_labels(self) -> int:
        return len(self.names)

    @property
    def label2id(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.names)}

    @property
    def id2label(self) -> dict[int, str]:
        return dict(enumerate(self.names))

    def to_dict(self) -> dict[str, Any]:
        noted = {"minus_one": True} if self.minus_one else {}
        return {"problem_type": self.problem_type, "names": list(self.names)} | noted

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> "LabelMapping":
        return cls(value["problem_type"], list(value["names"]), bool(value.get("minus_one", False)))


def decide_labels(train: Dataset, column: str, problem_type: str | None = None) -> LabelMapping:
    """The mapping of the training rows' labels.

    Names are a ClassLabel's own, in its order; else numbers by size (`1`, `1.0` and the text `1` are one class), texts
    by their characters with the spaces around them cut off, `False` and `True`.

    Args:
        problem_type: the user's word, where the labels can be read in several ways (regression on whole numbers).

    Raises:
        UserError: labels missing, of one value only, or not fit for `problem_type`; rows are counted from 1.
    """
    return mapping_of(read_labels(train, column, "train"), column, problem_type)


def mapping_of(labels: LabelValues, column: str, problem_type: str | None = None) -> LabelMapping:
    """`decide_labels` for labels already read."""
    if labels.missing.all():
        raise UserError(f"train: column `{column}` holds no labels at all; name another one with --label_column")
    _refuse_missing(labels, column, "train")
    natural = MULTI if labels.is_list else REGRESSION if labels.has_fractions else SINGLE
    decided = problem_type or natural
    if decided not in PROBLEM_TYPES:
        raise UserError(f"--problem_type {decided}: must be one of {', '.join(PROBLEM_TYPES)}")
    _check_possible(labels, column, decided, "train", labels.names)
    names = [labels.names[code] for code in np.unique(labels.codes)]
    if labels.is_number:
        names = [str(value) for value in sorted({_number(name) for name in names})]
    if len(names) < 2:
        only = f"{names[0]!r} only" if names else "empty lists only"
        raise UserError(
            f"train: column `{column}` holds {only}: nothing can be learned from that; two labels are needed"
        )
    if decided == REGRESSION:
        return LabelMapping(REGRESSION, [column], minus_one=bool((labels.numbers() == -1).any()))
    if labels.class_names is not None:
        return LabelMapping(decided, labels.class_names)
    return LabelMapping(decided, names if labels.is_number else sorted(names))


def _number(name: str) -> int | float:
    """An int where the value is whole: `01`, `1.0` and `1e0` are 1."""
    try:
        return int(name)
    except ValueError:
        return int(float(name)) if float(name).is_integer() else float(name)


def _check_possible(
    labels: LabelValues, column: str, problem_type: str, split_name: str, train_names: list[str]
) -> None:
    where = f"{split_name}: column `{column}`"
    if labels.is_list != (problem_type == MULTI):
        if labels.is_list:
            raise UserError(f"{where} holds lists: they are learned as {MULTI} only, not as {problem_type}")
        raise UserError(
            f'{where} holds single labels, and {MULTI} needs lists, such as "labels": ["a", "b"] in a jsonl file'
        )
    if problem_type == REGRESSION and not labels.is_number:
        words = np.array([not NUMBER.fullmatch(name) for name in labels.names])
        if labels.kind == "string":
            wrong = labels.rows_of(np.flatnonzero(words))
            first = labels.names[labels.codes[np.flatnonzero(wrong)[0]]]
            raise UserError(f"{where} must hold numbers for {REGRESSION}; {first!r} in {name_rows(wrong)} is none")
        raise UserError(f"{where} holds {'class names' if labels.kind == 'class' else 'True and False'}, not numbers")
    if labels.is_number and not np.isfinite(labels.numbers()).all():
        raise UserError(f"{where} holds infinite numbers in {name_rows(~np.isfinite(labels.numbers()))}; remove them")
    if problem_type != REGRESSION and labels.has_fractions:
        fractions = [i for i, name in enumerate(labels.names) if not float(name).is_integer()]
        raise UserError(
            f"{where} holds fractions, {labels.names[fractions[0]]} in {name_rows(labels.rows_of(fractions))}; labels "
            f"of {problem_type} are texts or whole numbers (fractions, one a row, are for {REGRESSION})"
        )
    if problem_type == MULTI and _are_indicators(labels, train_names):
        raise UserError(
            f"{where} seems to hold one 0 or 1 for each label; give the list of the labels that a row has: "
            '["a", "c"] or [0, 2]'
        )


def _are_indicators(labels: LabelValues, train_names: list[str]) -> bool:
    """Whether the lists say 0 or 1 of each label instead of naming labels.

    Args:
        train_names: those of the training rows' labels.
    """
    width = labels.lists[0]
    if labels.kind == "class" or (labels.lists != width).any() or set(labels.names) != {"0", "1"}:
        return False
    if width != 2:
        return bool(width > 2)  # over 0 and 1 such a list repeats itself, and no list of label numbers does
    # Two label numbers without a repetition, out of 0 and 1 only, are both labels: were these true lists, every row
    # would have the same two labels and nothing could be learned. So lists that differ are indicators: one repeats a
    # number, or the order means something. Nothing that could be learned is refused; a row with one label or none,
    # which true lists have somewhere, is shorter and has ended this above. Where training has further labels, two
    # columns cannot be one for each, and a small split may well hold [0, 1] and [1, 0] alone.
    pairs = labels.codes.reshape(-1, 2)
    return set(train_names) == {"0", "1"} and bool((pairs != pairs[0]).any())


def _refuse_missing(labels: LabelValues, column: str, split_name: str) -> None:
    if labels.missing.any():
        raise UserError(
            f"{split_name}: no label in column `{column}` in {name_rows(labels.missing)} "
            f"({labels.missing.sum():,} of {len(labels.missing):,} rows); fill them in or delete the rows"
        )


def has_labels(dataset: Dataset, column: str | None, mapping: LabelMapping | None = None) -> bool:
    """Whether the rows are labelled; not where the column is absent, empty throughout, or -1 throughout (GLUE's test).

    Args:
        mapping: the training rows'; where -1 is a label of theirs, rows of -1 alone are labelled (negatives only, say).

    Raises:
        UserError: some rows have a label and some have none.
    """
    if column is None or column not in dataset.column_names:
        return False
    split_name = str(dataset.split or "data")
    labels = read_labels(dataset, column, split_name)
    if labels.missing.all() or (labels.is_list and not labels.lists.any()):
        return False
    if set(labels.names) == {"-1"} and not (mapping and mapping.has_minus_one):
        return False
    _refuse_missing(labels, column, split_name)
    return True


def encode_labels(dataset: Dataset, column: str, mapping: LabelMapping, split_name: str) -> Dataset:
    """The data set with a column `labels`: an int, `num_labels` floats of 0 and 1, or a float.

    Raises:
        UserError: labels missing, of another kind than the training rows', or not among theirs.
    """
    labels = read_labels(dataset, column, split_name)
    _refuse_missing(labels, column, split_name)
    _check_possible(labels, column, mapping.problem_type, split_name, mapping.names)
    return with_labels(dataset, labels, column, mapping, split_name)


def with_labels(dataset: Dataset, labels: LabelValues, column: str, mapping: LabelMapping, split_name: str) -> Dataset:
    """`encode_labels` for labels of the right kind, without gaps."""
    rows = len(dataset)
    if mapping.problem_type == REGRESSION:
        encoded, feature = pa.array(labels.numbers(), pa.float32()), Value("float32")  # [n]
    elif mapping.problem_type == SINGLE:
        encoded, feature = pa.array(label_ids(labels, mapping, column, split_name)), Value("int64")  # [n]
    else:
        hot = np.zeros((rows, mapping.num_labels), dtype=np.float32)  # [n, c]
        hot[labels.rows, label_ids(labels, mapping, column, split_name)] = 1
        offsets = np.arange(rows + 1, dtype=np.int32) * mapping.num_labels
        encoded, feature = pa.ListArray.from_arrays(offsets, hot.ravel()), List(Value("float32"))
    if ENCODED in dataset.column_names:
        dataset = dataset.remove_columns(ENCODED)
    with quiet():
        return dataset.add_column(ENCODED, encoded, feature=feature)


def label_ids(labels: LabelValues, mapping: LabelMapping, column: str, split_name: str) -> np.ndarray:
    """[n] the id of each label. Raises: UserError: a label that the mapping has not."""
    known = mapping.label2id
    ids = np.full(len(labels.names), -1)
    for code in np.unique(labels.codes):
        name = labels.names[code]
        if name not in known and NUMBER.fullmatch(name):
            name = str(_number(name))
        ids[code] = known.get(name, -1)
    unknown = np.flatnonzero(ids < 0)
    unknown = unknown[np.isin(unknown, labels.codes)]
    if len(unknown):
        first = int(unknown[0])
        others = f", and {len(unknown) - 1} more unknown labels" if len(unknown) > 1 else ""
        there = ", ".join(mapping.names[:30]) + (" ..." if mapping.num_labels > 30 else "")
        raise UserError(
            f"{split_name}: label {labels.names[first]!r} in column `{column}`, {name_rows(labels.rows_of([first]))}"
            f"{others}: the training rows have no such label. Theirs: {there}"
        )
    return ids[labels.codes]
