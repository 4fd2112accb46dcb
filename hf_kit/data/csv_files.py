"""csv and tsv files: every row is checked here, then loaded by `datasets` with all columns as text.

Deliberately different from `load_dataset("csv", data_files=path)` on its own: that guesses types block by block
(labels change from `1` to `1.0` where a cell is empty), turns the texts `NA`, `null` and `None` into missing values,
fills short rows silently, and lets a stray quote swallow the rows up to the next one.
"""

import csv
import glob
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from datasets import Dataset, Features, IterableDataset, Value, load_dataset

from hf_kit.data.files import check_utf8
from hf_kit.data.row_stream import RowStream, stream_of
from hf_kit.errors import UserError

DELIMITERS = {".csv": ",;\t|", ".tsv": "\t,;|"}  # of two that fit equally well the first


class CsvForm(NamedTuple):
    delimiter: str
    quoting: int
    columns: list[str]
    rows: int


def load_csv(path: Path, split: str) -> Dataset:
    """The rows of a csv or tsv file; the delimiter (, ; tab |) is found from the header.

    Raises:
        UserError: naming the file, the data row (1-based, without the header) and its line (1-based).
    """
    form = _checked_form(path)
    dataset = _load(path, split, form, streaming=False)
    _same_number(path, form.rows, len(dataset))
    return dataset


def stream_csv(path: Path, split: str) -> RowStream:
    """`load_csv` as a stream: the same checks and the same values; the file is read three times here."""
    form = _checked_form(path)
    stream = stream_of(_load(path, split, form, streaming=True), str(path))
    _same_number(path, form.rows, sum(len(chunk) for chunk in stream.chunks()))
    return stream


def _checked_form(path: Path) -> CsvForm:
    check_utf8(path)
    with _long_fields():
        return _inspect(path)


def _load(path: Path, split: str, form: CsvForm, *, streaming: bool) -> Dataset | IterableDataset:
    return load_dataset(
        "csv",
        data_files={split: glob.escape(str(path))},
        split=split,
        streaming=streaming,
        features=Features({name: Value("string") for name in form.columns}),
        column_names=form.columns,
        header=0,
        sep=form.delimiter,
        quoting=form.quoting,
        keep_default_na=False,
        na_filter=False,
        encoding="utf-8-sig",
    )


def _same_number(path: Path, rows: int, loaded: int) -> None:
    if loaded != rows:
        raise UserError(
            f"{path}: {rows} rows by one reading, {loaded} by another; look for rows that are blank "
            "but for quotes or spaces, or save the file as jsonl"
        )


def _inspect(path: Path) -> CsvForm:
    """The file's delimiter, quoting, columns and number of rows, with every row checked."""
    delimiter, columns = _read_header(path)
    try:
        return CsvForm(delimiter, csv.QUOTE_MINIMAL, columns, _count_rows(path, delimiter, columns, csv.QUOTE_MINIMAL))
    except UserError as as_csv:
        if delimiter != "\t":
            raise
        # Many tab-separated files (GLUE's, for one) hold bare quotes as plain characters.
        try:
            return CsvForm(delimiter, csv.QUOTE_NONE, columns, _count_rows(path, delimiter, columns, csv.QUOTE_NONE))
        except UserError:
            raise as_csv from None


def _read_header(path: Path) -> tuple[str, list[str]]:
    found: list[str] = []
    best = ","
    for delimiter in DELIMITERS[path.suffix.lower()]:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            fields = next((row for row in csv.reader(stream, delimiter=delimiter) if not _blank(row)), [])
        if len(fields) > len(found):
            found, best = fields, delimiter
    columns = [name.strip() or f"unnamed_{i}" for i, name in enumerate(found, 1)]
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise UserError(f"{path}: the header has column `{twice[0]}` twice; give each column its own name")
    if not columns:
        raise UserError(f"{path} holds blank lines only; it needs a header such as `text,label` and rows")
    return best, columns


def _count_rows(path: Path, delimiter: str, columns: list[str], quoting: int) -> int:
    row, last_line = -1, 0  # the header becomes row 0
    with open(path, encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, delimiter=delimiter, quoting=quoting, strict=True)
        try:
            for fields in reader:
                first_line, last_line = last_line + 1, reader.line_num
                if _blank(fields):
                    continue
                row += 1
                if len(fields) != len(columns):
                    raise UserError(
                        f"{path}, row {row} (line {first_line}): the number of fields is {len(fields)}, but the "
                        f"header has {len(columns)} ({', '.join(columns)}). A text that holds {_shown(delimiter)} or "
                        'a line break must stand in double quotes: "..."'
                    )
        except csv.Error as reason:
            where = f"{path}, {f'row {row + 1}' if row >= 0 else 'header'} (line {last_line + 1})"
            if "unexpected end of data" in str(reason):
                raise UserError(f"{where}: a double quote opens here and never closes; close or remove it") from None
            raise UserError(
                f'{where}: text after a closing double quote; write quotes inside a quoted text twice: ""'
            ) from None
    if not row:
        raise UserError(f"{path} has a header ({', '.join(columns)}) and no rows")
    return row


def _blank(fields: list[str]) -> bool:
    """A line that pandas skips too: nothing on it but spaces; `""` is a field."""
    return not fields or (len(fields) == 1 and fields[0] != "" and not fields[0].strip(" \t"))


def _shown(delimiter: str) -> str:
    return "a tab" if delimiter == "\t" else f"`{delimiter}`"


@contextmanager
def _long_fields() -> Iterator[None]:
    """The reader's limit of 131,072 characters a field is for all of Python: lift it for the while."""
    before = csv.field_size_limit(sys.maxsize)
    try:
        yield
    finally:
        csv.field_size_limit(before)
