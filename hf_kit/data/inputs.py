"""The texts of a file that a finished model is to answer, one by one."""

from collections.abc import Iterator
from pathlib import Path

from datasets import Dataset

from hf_kit.data.columns import TextColumns, check_texts, find_columns
from hf_kit.data.files import check_files_exist, check_utf8
from hf_kit.data.loading import load_splits
from hf_kit.errors import UserError


def check_input_file(path: str) -> None:
    """Raises: UserError: there is no such file, it is of no known kind, or is a .txt file that is not UTF-8."""
    if not path:
        raise UserError("--file is empty; give a file")
    place = Path(path).expanduser()
    if place.suffix == ".txt" and place.is_file():
        check_utf8(place)
        return
    try:
        check_files_exist(test_file=path)
    except UserError as mistake:
        raise UserError(str(mistake).replace("--test_file", "--file")) from None


def read_texts(
    path: str, columns: TextColumns, text_column: str | None = None, text_pair_column: str | None = None
) -> Iterator[str | tuple[str, str]]:
    """Texts, or pairs where `columns` has a pair: the lines of a .txt file, else a table's rows.

    Args:
        columns: those of the training data; their names are looked for first.
        text_column, text_pair_column: the user's own names for this file.

    Raises:
        UserError: as `check_input_file`; the table cannot be read, or has no such columns.
    """
    check_input_file(path)
    if Path(path).suffix == ".txt":
        with open(Path(path).expanduser(), encoding="utf-8-sig") as lines:
            yield from (line.rstrip("\r\n") for line in lines)
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


def column_if_there(column: str | None, dataset: Dataset) -> str | None:
    """`column` where this data set has it too."""
    return column if column in dataset.column_names else None
