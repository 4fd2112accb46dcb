"""Which columns hold the text, the second text of a pair and the label: found by their usual names, else asked for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, Json, Value

from hf_kit.data.arrow_columns import column_array, name_rows
from hf_kit.data.quiet import quiet
from hf_kit.data.row_stream import RowStream
from hf_kit.errors import UserError, nearest

# Usual names in lower case, the surest first: a row of names is looked at only where none of the rows above is there.
TEXT_NAMES = (
    ("text", "文本"),
    (
        "sentence",
        "review",
        "comment",
        "content",
        "message",
        "tweet",
        "utterance",
        "评论",
        "评价",
        "内容",
        "正文",
        "句子",
    ),
    (
        "document",
        "article",
        "body",
        "sms",
        "query",
        "question",
        "review_text",
        "text_clean",
        "评论内容",
        "短信",
        "文字",
    ),
    ("title", "headline", "subject", "description", "input", "标题"),
)
LABEL_NAMES = (
    ("label", "labels", "标签"),
    ("class", "category", "sentiment", "target", "intent", "topic", "emotion", "类别", "分类", "情感", "意图"),
    ("score", "rating", "stars", "similarity", "polarity", "gold_label", "y", "分数", "评分", "得分", "星级"),
)
PAIR_NAMES = (
    ("text", "text2"),
    ("text", "text_pair"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("sentence1", "sentence2"),
    ("sentence_a", "sentence_b"),
    ("sentence", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("文本1", "文本2"),
    ("句子1", "句子2"),
    ("前提", "假设"),
)
NEVER_TEXT = ("id", "idx", "index", "guid", "uid", "url", "date", "编号", "序号")
NO_HEADER = " If these are values, the file lacks its header: put a line such as `text,label` on top."


@dataclass
class TextColumns:
    """Column names; `text_pair` is None for single texts, `label` where there is none."""

    text: str
    text_pair: str | None
    label: str | None


def find_columns(
    column_names: Iterable[str],
    features: Mapping[str, Any],
    text_column: str | None = None,
    text_pair_column: str | None = None,
    label_column: str | None = None,
) -> TextColumns:
    """The columns to read: those named, else those with usual names, else the only column of text beside the label.

    Upper and lower case are one. Who names the text column and no pair column gets single texts.

    Raises:
        UserError: a named column is not there, no or several columns could be the text or the label.
    """
    names = list(column_names)
    named = {"text_column": text_column, "text_pair_column": text_pair_column, "label_column": label_column}
    for flag, name in named.items():
        if name is not None and name not in names:
            raise UserError(f"--{flag} {name}: there is no such column among {listed(names)}{nearest(name, names)}")
    given = [name for name in named.values() if name is not None]
    for name in given:
        if given.count(name) > 1:
            flags = " and ".join(f"--{flag}" for flag, value in named.items() if value == name)
            raise UserError(f"{flags} both name column `{name}`; columns: {listed(names)}")

    label = label_column or find_label([n for n in names if n not in given], features)
    free = [n for n in names if n not in given and n != label]
    text, pair = text_column, text_pair_column
    if text is None:
        text, found_pair = _find_text(free, pair, names, features)
        pair = pair or found_pair
    return TextColumns(text, pair, label)


def find_label(names: list[str], features: Mapping[str, Any]) -> str | None:
    """The column of labels: the one with a usual name, else the only one of class labels; None where there is none.

    Raises:
        UserError: several could be meant.
    """
    found = usual_column(names, LABEL_NAMES, "label_column", names)
    if found is None:
        class_labels = [n for n in names if isinstance(features.get(n), ClassLabel)]
        found = class_labels[0] if len(class_labels) == 1 else None
    return found


def _find_text(
    free: list[str], pair: str | None, names: list[str], features: Mapping[str, Any]
) -> tuple[str, str | None]:
    lower = {name.strip().lower(): name for name in free}
    for first, second in PAIR_NAMES:
        if pair is None and first in lower and second in lower:
            return lower[first], lower[second]
        if pair is not None and pair.strip().lower() == second and first in lower:
            return lower[first], pair
    found = usual_column(free, TEXT_NAMES, "text_column", names)
    if found is not None:
        return found, None
    strings = [
        n for n in free if is_string(features.get(n)) and n.lower() not in NEVER_TEXT and not n.startswith("unnamed_")
    ]
    if len(strings) == 1:
        return strings[0], None
    problem = "several columns could be the text" if strings else "no column is known to be the text"
    raise UserError(f"{problem}; name it with --text_column. Columns: {listed(names)}.{NO_HEADER}")


def usual_column(names: list[str], usual: tuple[tuple[str, ...], ...], flag: str, there: list[str]) -> str | None:
    """The one of `names` that stands in the first row of `usual` that has any of them.

    Args:
        flag: the flag to name the column with.
        there: all columns, for the message.

    Raises:
        UserError: several of one row are there.
    """
    for row in usual:
        found = [name for name in names if name.strip().lower() in row]
        if len(found) > 1:
            what = flag.removesuffix("_column")
            raise UserError(
                f"{' and '.join(f'`{n}`' for n in found)} could each be the {what}; name it with --{flag}. "
                f"Columns: {listed(there)}"
            )
        if found:
            return found[0]
    return None


def is_string(feature: Any) -> bool:
    return isinstance(feature, Value) and feature.dtype in ("string", "large_string", "string_view")


def listed(names: list[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:20])
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def check_texts(dataset: Dataset, columns: TextColumns, split_name: str) -> Dataset:
    """The data set with its texts as strings; whole numbers become their digits.

    Raises:
        UserError: a text is missing (naming the rows), or a column holds something else than texts.
    """
    for column in (columns.text, columns.text_pair):
        if column is None:
            continue
        if column not in dataset.column_names:
            raise UserError(
                f"{split_name}: there is no column `{column}`; columns: {listed(dataset.column_names)}. Every split "
                "needs the columns of the training rows"
            )
        feature = dataset.features[column]
        values = column_array(dataset, column)
        missing = values.is_null().to_numpy(zero_copy_only=False)
        refuse_missing(missing, column, split_name)
        if not is_string(feature):
            check_text_kind(dataset, column, split_name)
            with quiet():
                dataset = dataset.cast_column(column, Value("string"))
    return dataset


def empty_texts(dataset: Dataset, columns: TextColumns) -> np.ndarray:
    """[n] True for rows that lack a text, or one of a pair; a text of spaces counts as none."""
    empty = np.zeros(len(dataset), dtype=bool)
    for column in (columns.text, columns.text_pair):
        if column is not None:
            trimmed = pc.utf8_trim_whitespace(column_array(dataset, column))
            empty |= pc.equal(trimmed, "").to_numpy(zero_copy_only=False)
    return empty


def refuse_missing(missing: np.ndarray, column: str, split_name: str) -> None:
    """Raises: UserError: where `missing` ([n] bool) is true, naming the rows."""
    if missing.any():
        raise UserError(
            f"{split_name}: no text in column `{column}` in {name_rows(missing)}; fill them in or delete the rows"
        )


def check_text_kind(dataset: Dataset | RowStream, column: str, split_name: str) -> None:
    """Raises: UserError: the column holds something else than texts and whole numbers."""
    feature = dataset.features[column]
    whole = isinstance(feature, Value) and pa.types.is_integer(feature.pa_type)
    if not is_string(feature) and not whole:
        raise UserError(_not_text(dataset, column, split_name))


def _not_text(dataset: Dataset | RowStream, column: str, split_name: str) -> str:
    feature = dataset.features[column]
    kind = feature.dtype if isinstance(feature, Value) else type(feature).__name__
    what = f"values of type {kind}"
    if isinstance(feature, Json):
        wrong = np.array([not isinstance(value, str) for value in dataset[column]])
        what = f"something else than text in {name_rows(wrong)}"
    return f"{split_name}: column `{column}` holds {what}; it must hold texts. Name another one with --text_column"
