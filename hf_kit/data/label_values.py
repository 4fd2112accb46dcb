"""The labels of a column in one shape, whatever file they come from.

A label's name is the same for the class index of a Hub data set, the number 1 of a parquet file, the 1.0 that pandas
makes of it and the text `1` of a csv file, so that splits in different formats agree.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, Json, LargeList, List

from hf_kit.data.arrow_columns import column_array, name_rows
from hf_kit.data.row_stream import RowStream
from hf_kit.errors import UserError

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class LabelValues:
    """One label a row, or several.

    Attributes:
        kind: `class` (of a ClassLabel), `string`, `int`, `float` or `bool`: what the labels are.
        names: the different names (class names; spaces around strings cut off; whole floats as ints), in any order.
        codes: [n] the index into `names` of each label; -1 where it is missing (null, empty, NaN; -1 of a ClassLabel).
        class_names: those of the ClassLabel, rows or none.
        rows: [n] the row of each label (0-based) where rows are lists, else None; n is then the number of all items.
        missing: [number of rows] True where a row has no label (an empty list is a label: none of them).
        lists: [number of rows] the items in each row's list; None where rows are single labels.
    """

    kind: str
    names: list[str]
    codes: np.ndarray
    class_names: list[str] | None
    missing: np.ndarray
    rows: np.ndarray | None = None
    lists: np.ndarray | None = None

    @property
    def is_list(self) -> bool:
        return self.lists is not None

    @property
    def is_number(self) -> bool:
        """Numbers, or strings that are numbers without exception (csv)."""
        if self.kind == "string":
            return bool(self.names) and all(NUMBER.fullmatch(name) for name in self.names)
        return self.kind in ("int", "float")

    @property
    def has_fractions(self) -> bool:
        return self.is_number and any(not float(name).is_integer() for name in self.names)

    def numbers(self) -> np.ndarray:
        """[n] float64; NaN where missing. Only where `is_number`."""
        values = np.array([*(float(name) for name in self.names), np.nan])
        return values[self.codes]

    def rows_of(self, codes: np.ndarray) -> np.ndarray:
        """[number of rows] True for rows with one of these codes."""
        hit = np.isin(self.codes, codes)  # [n]
        if self.rows is None:
            return hit
        out = np.zeros(len(self.missing), dtype=bool)
        out[self.rows[hit]] = True
        return out


def read_labels(dataset: Dataset, column: str, split_name: str) -> LabelValues:
    """Raises: UserError: the column holds nothing that can be a label (objects, dates, images, lists of lists)."""
    check_label_kind(dataset, column, split_name)
    feature = dataset.features[column]
    values = column_array(dataset, column)
    inner = feature.feature if isinstance(feature, (List, LargeList)) else None
    if inner is not None:
        return _read_lists(inner, values, column, split_name)
    kind, names, codes, class_names = _read_singles(feature, values, column, split_name)
    return LabelValues(kind, names, codes, class_names, missing=codes < 0)


def check_label_kind(dataset: Dataset | RowStream, column: str, split_name: str) -> None:
    """Raises: UserError: the column mixes types, or holds objects (naming the rows)."""
    feature = dataset.features[column]
    inner = feature.feature if isinstance(feature, (List, LargeList)) else None
    if isinstance(feature, Json) or isinstance(inner, Json):
        raise UserError(_mixed(dataset, column, split_name))


def join(parts: Iterable[LabelValues]) -> LabelValues:
    """The labels of one column, read in parts: what `read_labels` gives for the parts as one."""
    known: dict[str, int] = {}
    codes, missing, rows, lists = [], [], [], []
    seen = 0
    for part in parts:
        places = np.array([known.setdefault(name, len(known)) for name in part.names] + [-1], dtype=np.int32)
        codes.append(places[part.codes])
        missing.append(part.missing)
        if part.is_list:
            rows.append(part.rows + seen)
            lists.append(part.lists)
        seen += len(part.missing)
    return LabelValues(
        part.kind,
        list(known),
        np.concatenate(codes),
        part.class_names,
        np.concatenate(missing),
        np.concatenate(rows) if rows else None,
        np.concatenate(lists) if lists else None,
    )


def _read_lists(inner: Any, values: pa.Array, column: str, split_name: str) -> LabelValues:
    missing = values.is_null().to_numpy(zero_copy_only=False)
    lists = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
    kind, names, codes, class_names = _read_singles(inner, values.flatten(), column, split_name)
    rows = np.repeat(np.arange(len(values)), lists)
    missing = missing.copy()
    missing[rows[codes < 0]] = True  # an item that is null or empty
    return LabelValues(kind, names, codes, class_names, missing, rows, lists)


def _read_singles(
    feature: Any, values: pa.Array, column: str, split_name: str
) -> tuple[str, list[str], np.ndarray, list[str] | None]:
    kind = values.type
    if isinstance(feature, ClassLabel):
        class_names = list(feature.names)
        codes = pc.fill_null(values, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        return "class", class_names, np.where(codes < 0, -1, codes), class_names
    if pa.types.is_null(kind):
        return "string", [], np.full(len(values), -1), None
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        trimmed = pc.utf8_trim_whitespace(values)
        trimmed = pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, trimmed.type), trimmed)
        return "string", *_encode(trimmed), None
    if pa.types.is_boolean(kind):
        return "bool", *_encode(pc.if_else(values, "True", "False")), None
    if pa.types.is_integer(kind):
        return "int", *_encode(values), None
    if pa.types.is_floating(kind):
        values = values.cast(pa.float64())
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
        return "float", *_encode(values), None
    raise UserError(
        f"{split_name}: column `{column}` holds {_what(kind)}, which cannot be labels; labels are texts, numbers, or "
        "lists of them. Name another column with --label_column"
    )


def _encode(values: pa.Array) -> tuple[list[str], np.ndarray]:
    encoded = values.dictionary_encode()
    names = [name_of(value) for value in encoded.dictionary.to_pylist()]
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return names, codes


def name_of(value: str | int | float) -> str:
    """`1.0` and `1` are one label."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _what(kind: pa.DataType) -> str:
    if pa.types.is_struct(kind) or pa.types.is_map(kind):
        return "objects"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return "lists of lists"
    return f"values of type {kind}"


def _mixed(dataset: Dataset | RowStream, column: str, split_name: str) -> str:
    values = list(dataset[column])
    if not all(isinstance(row, list) or row is None for row in values):
        values = [[row] for row in values]  # a list among single labels is the odd one itself
    kinds = [[type(item).__name__ for item in row or []] for row in values]
    counts = Counter(kind for row in kinds for kind in row if kind != "NoneType")
    usual = counts.most_common(1)[0][0]
    others = [[kind for kind in row if kind not in (usual, "NoneType")] for row in kinds]
    if len(counts) == 1:
        return (
            f"{split_name}: column `{column}` holds values of type {usual}, which cannot be labels; name another "
            "column with --label_column"
        )
    other = next(row[0] for row in others if row)
    return (
        f"{split_name}: column `{column}` mixes types: {usual} in most rows, but {other} in "
        f"{name_rows(np.array([bool(row) for row in others]))}; write all labels as one type"
    )
