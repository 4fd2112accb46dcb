"""The texts of a file that a finished model is to answer, one by one."""

from collections.abc import Iterator
from pathlib import Path

from datasets import Dataset

from hf_kit.data.columns import TextColumns, check_texts, find_columns
from hf_kit.data.files import check_files_exist, check_utf8
from hf_kit.data.halves import half_of
from hf_kit.data.loading import load_splits
from hf_kit.data.parallel import TranslationColumns, find_source_column, flatten_translation
from hf_kit.errors import UserError


def check_input_file(path: str) -> None:
    """Raises: UserError: there is no such file, it is of no known kind, or is a file of lines that is not UTF-8."""
    if not path:
        raise UserError("--file is empty; give a file")
    place = Path(path).expanduser()
    if _holds_lines(place) and place.is_file():
        check_utf8(place)
        return
    try:
        check_files_exist(test_file=path)
    except UserError as mistake:
        raise UserError(str(mistake).replace("--test_file", "--file")) from None


def read_texts(
    path: str, columns: TextColumns, text_column: str | None = None, text_pair_column: str | None = None
) -> Iterator[str | tuple[str, str]]:
    """Texts, or pairs where `columns` has a pair: the lines of a file of lines, else a table's rows.

    Args:
        columns: those of the training data; their names are looked for first.
        text_column, text_pair_column: the user's own names for this file.

    Raises:
        UserError: as `check_input_file`; the table cannot be read, or has no such columns.
    """
    check_input_file(path)
    if _holds_lines(Path(path)):
        yield from _lines(path)
        return
    rows = load_splits(test_file=path).test
    found = find_columns(
        rows.column_names,
        rows.features,
        text_column=text_column or column_if_there(columns.text, rows),
        text_pair_column=text_pair_column or column_if_there(columns.text_pair, rows),
    )
    rows = check_texts(rows, found, path)
    if columns.text_pair:
        yield from ((row[found.text], row[found.text_pair]) for row in rows)
    else:
        yield from (row[found.text] for row in rows)


def read_sources(path: str, columns: TranslationColumns, source_column: str | None = None) -> Iterator[str]:
    """Texts to translate: the lines of a file of lines (also of `news.en`), else a table's rows.

    Args:
        columns: those of the training data.
        source_column: the user's own name for this file.

    Raises:
        UserError: as `read_texts`.
    """
    check_input_file(path)
    if _holds_lines(Path(path)):
        yield from _lines(path)
        return
    rows = flatten_translation(load_splits(test_file=path).test, path)
    column = find_source_column(rows.column_names, rows.features, columns, source_column)
    yield from check_texts(rows, TextColumns(column, None, None), path)[column]


def _holds_lines(path: Path) -> bool:
    return path.suffix == ".txt" or half_of(path) is not None


def _lines(path: str) -> Iterator[str]:
    with open(Path(path).expanduser(), encoding="utf-8-sig") as lines:
        yield from (line.rstrip("\r\n") for line in lines)


def column_if_there(column: str | None, dataset: Dataset) -> str | None:
    """`column` where this data set has it too."""
    return column if column in dataset.column_names else None
