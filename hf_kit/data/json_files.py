"""json and jsonl files: a list of objects, or one object a line.

Deliberately different from `load_dataset("json", ...)`, whose reader (Arrow's) turns texts that look like dates into
timestamps (`2020-01-01` comes back as `2020-01-01 00:00:00`), and whose errors name no row: rows are read by `json`,
the type of each column is decided from all its rows, and `datasets` caches them under the hash of the file's bytes.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, Features, Json, List, NamedSplit, Value

from hf_kit.data.files import check_utf8
from hf_kit.data.row_stream import CHUNK, RowStream, State
from hf_kit.errors import UserError

CACHE_SCHEMA = 1  # raise it when the same bytes shall give other rows or types
EXAMPLE = '{"text": "...", "label": "..."}'

# The type of a column so far: one of these, or ("list", type of its items).
Kind = str | tuple[str, Any]
VALUES = {"null": "null", "bool": "bool", "int": "int64", "float": "float64", "string": "string"}


def load_json(path: Path, split: str) -> Dataset:
    """The rows of a json or jsonl file. A key that a row lacks is missing there.

    Whole and fractional numbers together are floats; a column that mixes other types, or holds objects, has the
    feature `Json`.

    Raises:
        UserError: naming the file, the row (1-based) and its line.
    """
    features = _features(path)
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Dataset.from_generator(
        _complete_rows,
        gen_kwargs={"path": path, "columns": tuple(features)},  # a list would be taken for shards
        features=features,
        split=NamedSplit(split),
        fingerprint=hashlib.sha256(f"{CACHE_SCHEMA} {split} {digest}".encode()).hexdigest()[:32],
    )


def stream_json(path: Path) -> RowStream:
    """`load_json` as a stream: the same checks and the same values; the file is read twice here.

    Raises:
        UserError: also for a file that is one list: it could only be read as a whole.
    """
    if _is_list(path):
        raise UserError(f"{path} is one list, which is read as a whole; for --streaming save it as one object a line")
    features = _features(path)

    def tables(state: State) -> Iterator[tuple[pa.Table, State]]:
        seen = state or 0
        rows = _complete_rows(path, tuple(features), seen)
        while chunk := list(itertools.islice(rows, CHUNK)):
            seen += len(chunk)
            columns = {name: [row[name] for row in chunk] for name in features}
            yield Dataset.from_dict(columns, features).data.table, seen

    return RowStream(features, tables)


def _is_list(path: Path) -> bool:
    with open(path, encoding="utf-8-sig", errors="replace") as stream:
        while (character := stream.read(1)).isspace():
            pass
    return character == "["


def _features(path: Path) -> Features:
    """The types of all columns, from all rows, each of which is checked."""
    check_utf8(path)
    kinds: dict[str, Kind] = {}
    rows = 0
    for row in _read_rows(path):
        rows += 1
        for name, value in row.items():
            kind = _kind(value)
            known = kinds.setdefault(name, kind)
            if known != kind:
                kinds[name] = _merge(known, kind)
    if not rows:
        raise UserError(f"{path} holds no rows; it needs rows such as {EXAMPLE}")
    if not kinds:
        raise UserError(f"{path}: its rows are empty objects; they need keys, such as {EXAMPLE}")
    return Features({name: _feature(kind) for name, kind in kinds.items()})


def _complete_rows(path: Path, columns: tuple[str, ...], skip: int = 0) -> Iterator[dict[str, Any]]:
    for row in _read_rows(path, skip):
        yield {name: row.get(name) for name in columns}


def _read_rows(path: Path, skip: int = 0) -> Iterator[dict[str, Any]]:
    """The rows after the first `skip`, which (where each has a line of its own) are not parsed."""
    with open(path, encoding="utf-8-sig") as stream:
        first = next((line for line in stream if line.strip()), "").lstrip()
        stream.seek(0)
        if first.startswith("["):
            text = stream.read()
            for number, row in enumerate(_parse(text, str(path)), 1):
                yield _checked(row, f"{path}, row {number}", text)
            return
        number = 0
        for line_number, line in enumerate(stream, 1):
            if line.strip():
                number += 1
                if number <= skip:
                    continue
                where = f"{path}, row {number} (line {line_number})"
                yield _checked(_parse(line, where), where, line)


def _parse(text: str, where: str) -> Any:
    try:
        return DECODER.decode(text)
    except json.JSONDecodeError as reason:
        at = f"line {reason.lineno}, character {reason.colno}" if "\n" in text.strip() else f"character {reason.colno}"
        why = f"{reason.msg} at {at}"
    except (ValueError, RecursionError) as reason:
        why = str(reason)
    raise UserError(f"{where} is not JSON ({why}); write a list of objects, or one object a line: {EXAMPLE}")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} stands in it; a missing value is null")


DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _checked(row: Any, where: str, text: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise UserError(f"{where} is {json.dumps(row, ensure_ascii=False)[:60]}, not an object such as {EXAMPLE}")
    if "\\ud" in text or "\\uD" in text:
        try:
            json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError as reason:
            half = reason.object[reason.start].encode("ascii", "backslashreplace").decode()
            raise UserError(f"{where} holds {half}, one half of a character (a cut emoji?); remove it") from None
    return row


def _kind(value: Any) -> Kind:
    if isinstance(value, str):
        return "string"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if -(2**63) <= value < 2**63 else "mixed"
    if isinstance(value, float):
        return "float"
    if isinstance(value, list):
        inner: Kind = "null"
        for item in value:
            inner = _merge(inner, _kind(item))
        return ("list", inner)
    return "mixed"


def _merge(one: Kind, other: Kind) -> Kind:
    if one == other or other == "null":
        return one
    if one == "null":
        return other
    if {one, other} == {"int", "float"}:
        return "float"
    if isinstance(one, tuple) and isinstance(other, tuple):
        return ("list", _merge(one[1], other[1]))
    return "mixed"


def _feature(kind: Kind) -> Any:
    if kind == "mixed":
        return Json()
    if isinstance(kind, tuple):
        return List(_feature(kind[1]))
    return Value(VALUES[kind])
