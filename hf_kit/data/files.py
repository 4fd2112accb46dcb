"""Whether a path can be read as data at all: it exists, is of a known kind, is not empty, is UTF-8.

Only the standard library is imported, so that a misspelt path is said in second 0.
"""

import re
from pathlib import Path
from typing import BinaryIO

from hf_kit.data.halves import both_halves, half_of
from hf_kit.errors import UserError, nearest
from hf_kit.packings import packing_of

TABLES = {".csv", ".tsv"}
JSON = {".json", ".jsonl"}
SUFFIXES = TABLES | JSON | {".parquet"}
KINDS = "csv, tsv, json, jsonl or parquet"
SAVE_AS_UTF8 = (
    "save it as UTF-8 (in Excel: `CSV UTF-8`; else `iconv -f GB18030 -t UTF-8 OLD > NEW`, "
    "with WINDOWS-1252 for files from Western Windows, UTF-16 for `Unicode text`)"
)


def check_files_exist(
    *,
    dataset_name: str | None = None,
    train_file: str | None = None,
    validation_file: str | None = None,
    test_file: str | None = None,
) -> None:
    """Look at the paths only: that they are there, may be read, hold something and are of a known kind.

    A file flag may also name a folder of one sub-folder a class, or one half of a parallel text. A `dataset_name` that
    is no local path is taken for a Hub id and not looked up.

    Raises:
        UserError: naming the flag, the path and the remedy.
    """
    files = {"train_file": train_file, "validation_file": validation_file, "test_file": test_file}
    for flag, value in files.items():
        if value is not None:
            path = Path(value).expanduser()
            _check_there(path, f"--{flag} {value}")
            if path.is_file():
                _check_file(path, f"--{flag} {value}")
    if dataset_name is not None and not is_local_folder(dataset_name) and not is_hub_id(dataset_name):
        _check_there(Path(dataset_name).expanduser(), f"--dataset_name {dataset_name}")
        raise UserError(f"--dataset_name {dataset_name} is a file; give it as --train_file (or --test_file)")


def is_local_folder(name: str) -> bool:
    return Path(name).expanduser().is_dir()


def is_hub_id(name: str) -> bool:
    """`name` or `owner/name`, and no data file of this name lies here."""
    path = Path(name).expanduser()
    shape = re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", name, flags=re.ASCII)
    return bool(shape) and path.suffix.lower() not in SUFFIXES and not path.exists()


def _check_there(path: Path, what: str) -> None:
    try:
        there = path.exists()
        beside = [p.name for p in path.parent.iterdir()] if not there and path.parent.is_dir() else []
    except PermissionError:
        raise UserError(
            f"{what}: you may not look into {path.parent}; give yourself the right (`chmod u+rx`)"
        ) from None
    if path.is_symlink() and not there:
        raise UserError(f"{what} is a link to {path.readlink()}, which is not there")
    if there and not path.is_file() and not path.is_dir():
        raise UserError(f"{what} is a pipe or a device; write its content to a file first")
    if not there:
        raise UserError(f"{what}: there is no such file or folder{nearest(path.name, beside)}")


def _check_file(path: Path, what: str) -> None:
    suffix = path.suffix.lower()
    if suffix in (".xls", ".xlsx", ".ods"):
        raise UserError(f"{what}: spreadsheets are not read; save it as `CSV UTF-8` and give the .csv file")
    if half_of(path) is not None:
        for half in both_halves(path, what, KINDS):
            _check_content(half, what if half == path else f"{what}, its other half {half.name}")
        return
    if suffix not in SUFFIXES:
        raise UserError(f"{what}: files of kind {suffix or '(none)'} are not read; give a {KINDS} file")
    _check_content(path, what)


def _check_content(path: Path, what: str) -> None:
    with _open(path, what) as stream:
        start = stream.read(8)
    if not start:
        raise UserError(f"{what}: the file is empty")
    _refuse_packed(start, what)


def _refuse_packed(start: bytes, what: str) -> None:
    # `datasets` would unpack it wherever it leads, and however large it becomes.
    packing = packing_of(start)
    if packing:
        raise UserError(f"{what} is packed with {packing}, whatever its name says; unpack it and give the {KINDS} file")


def _open(path: Path, what: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except PermissionError:
        raise UserError(f"{what}: you may not read this file; give yourself the right (`chmod u+r`)") from None


def check_utf8(path: Path) -> None:
    """Read the whole file once, line by line.

    Raises:
        UserError: naming the first byte (0-based) that is not UTF-8 text, and its line (1-based); a packed file.
    """
    offset = 0
    with _open(path, str(path)) as stream:
        _refuse_packed(stream.read(8), str(path))
        stream.seek(0)
        for number, line in enumerate(stream, 1):
            wrong = line.find(b"\0")  # valid UTF-8, but only binary files and UTF-16 hold it
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as reason:
                wrong = reason.start if wrong < 0 else min(wrong, reason.start)
            if wrong >= 0:
                raise UserError(f"{path} is not UTF-8 text: byte {offset + wrong} (line {number}); {SAVE_AS_UTF8}")
            offset += len(line)
