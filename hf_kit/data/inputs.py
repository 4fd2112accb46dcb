"""The texts of a file that a finished model is to answer, one by one."""

from collections.abc import Iterator
from pathlib import Path

from datasets import Dataset

from hf_kit import console
from hf_kit.data.columns import LABEL_NAMES, TextColumns, check_texts, find_columns, listed
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
        UserError: as `check_input_file`; the table cannot be read, or has no such columns; a column is named of a file
            of lines, or a second one for a model that reads single texts.
    """
    if text_pair_column and not columns.text_pair:
        raise UserError(f"--text_pair_column {text_pair_column}: this model reads one text at a time; leave it out")
    check_input_file(path)
    if _holds_lines(Path(path)):
        _refuse_columns(path, text_column=text_column, text_pair_column=text_pair_column)
        yield from _lines(path)
        return
    rows = load_splits(test_file=path).test
    found = _find_texts(rows, columns, text_column, text_pair_column, path)
    name = found.text
    unnamed = name not in (text_column, columns.text) and Path(path).suffix in (".csv", ".tsv")
    if unnamed and (len(name.split()) > 3 or len(name) > 30):
        console.warn(
            f"{path}: its first line names the columns, so `{name[:60]}` is not answered. Is it a text? Then put a "
            "line with the columns' names before it, or give the texts as lines of a .txt file"
        )
    rows = check_texts(rows, found, path)
    if columns.text_pair:
        yield from ((row[found.text], row[found.text_pair]) for row in rows)
    else:
        yield from (row[found.text] for row in rows)


def _find_texts(
    rows: Dataset, columns: TextColumns, text_column: str | None, text_pair_column: str | None, path: str
) -> TextColumns:
    """The columns of texts, as `find_columns` finds them; of labels none is wanted, and several are no mistake.

    Raises:
        UserError: a column of texts is not there, or several could be meant.
    """
    text = text_column or column_if_there(columns.text, rows)
    pair = text_pair_column or column_if_there(columns.text_pair, rows)
    # Named, so that nothing asks which one it is: a column of labels is not taken for texts.
    free = [name for name in rows.column_names if name not in (text, pair)]
    usual = (name for likely in LABEL_NAMES for name in free if name.strip().lower() in likely)
    label = columns.label if columns.label in free else next(usual, None)
    found = find_columns(rows.column_names, rows.features, text_column=text, text_pair_column=pair, label_column=label)
    if columns.text_pair and not found.text_pair:
        raise UserError(
            f"{path}: the model reads pairs of texts; name the second column with --text_pair_column. Columns: "
            f"{listed(rows.column_names)}"
        )
    return TextColumns(found.text, found.text_pair if columns.text_pair else None, None)


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
        _refuse_columns(path, source_column=source_column)
        yield from _lines(path)
        return
    rows = flatten_translation(load_splits(test_file=path).test, path)
    column = find_source_column(rows.column_names, rows.features, columns, source_column)
    yield from check_texts(rows, TextColumns(column, None, None), path)[column]


def _refuse_columns(path: str, **named: str | None) -> None:
    """Raises: UserError: a column is named of a file of lines."""
    for flag, name in named.items():
        if name:
            raise UserError(f"--{flag} {name}: {path} holds lines and no columns; leave it out, or give a table")


def _holds_lines(path: Path) -> bool:
    return path.suffix == ".txt" or half_of(path) is not None


def _lines(path: str) -> Iterator[str]:
    with open(Path(path).expanduser(), encoding="utf-8-sig") as lines:
        yield from (line.rstrip("\r\n") for line in lines)


def column_if_there(column: str | None, dataset: Dataset) -> str | None:
    """`column` where this data set has it too."""
    return column if column in dataset.column_names else None
