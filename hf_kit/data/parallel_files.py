"""The rows of a parallel text: line n of one file and line n of the other, as columns named by the files' languages."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
from datasets import Dataset, Features, NamedSplit, Value

from hf_kit.data.files import KINDS, check_utf8
from hf_kit.data.halves import both_halves, half_of
from hf_kit.data.row_stream import CHUNK, RowStream, State
from hf_kit.errors import UserError

BOM = "\ufeff"


def load_parallel(path: Path, split: str) -> Dataset:
    """All lines of the parallel text that `path` is one half of; the columns stand in the order `path`, other half.

    A line ends with a line feed, with or without a carriage return before it, and with nothing else: other readers
    also break at U+2028 and its like, in one language and not in the other. A blank line is an empty text.

    Raises:
        UserError: the other half is missing or one of several, a file is not UTF-8, the files differ in length.
    """
    halves = _checked_halves(path)
    columns = {half_of(half).column: [] for half in halves}
    for rows, _ in _chunks(halves, [0, 0]):
        for column, texts in zip(columns.values(), rows, strict=True):
            column.extend(texts)
    return Dataset.from_dict(columns, features=_features(halves), split=NamedSplit(split))


def stream_parallel(path: Path) -> RowStream:
    """`load_parallel` as a stream: the same checks and the same values; both files are read twice here."""
    halves = _checked_halves(path)
    features = _features(halves)

    def tables(state: State) -> Iterator[tuple[pa.Table, State]]:
        for rows, after in _chunks(halves, state or [0, 0]):
            yield pa.table(dict(zip(features, rows, strict=True)), schema=features.arrow_schema), after

    return RowStream(features, tables)


def _features(halves: tuple[Path, Path]) -> Features:
    return Features({half_of(half).column: Value("string") for half in halves})


def _checked_halves(path: Path) -> tuple[Path, Path]:
    halves = both_halves(path, str(path), KINDS)
    lines = [_count_lines(half) for half in halves]
    if lines[0] != lines[1]:
        raise UserError(
            f"{halves[0]} and {halves[1]} are no parallel text: they have {lines[0]:,} and {lines[1]:,} lines; line n "
            "of one must be the translation of line n of the other (an empty one where there is none)"
        )
    if not lines[0]:
        raise UserError(f"{halves[0]} and {halves[1]} have no rows")
    return halves


def _count_lines(path: Path) -> int:
    check_utf8(path)
    with open(path, "rb") as stream:
        return sum(1 for _ in stream)


def _chunks(halves: tuple[Path, Path], offsets: list[int]) -> Iterator[tuple[tuple[list[str], ...], list[int]]]:
    """Texts of both files, at most `CHUNK` lines of each, and where in the files (in bytes) the next ones begin."""
    with open(halves[0], "rb") as first, open(halves[1], "rb") as second:
        first.seek(offsets[0])
        second.seek(offsets[1])
        while True:
            at_start = first.tell() == 0
            rows = tuple([_text(line) for line in islice(stream, CHUNK)] for stream in (first, second))
            if not rows[0]:
                return
            if at_start:
                for texts in rows:
                    texts[0] = texts[0].removeprefix(BOM)
            yield rows, [first.tell(), second.tell()]


def _text(line: bytes) -> str:
    return line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
