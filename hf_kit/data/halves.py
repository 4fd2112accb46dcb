"""Parallel text by its names: `train.en` and `train.zh`, whose lines of one number say the same in two languages.

Only the standard library is imported, as in `files.py`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from hf_kit.data.languages import is_language_code
from hf_kit.errors import UserError

SIDES = {"source", "target", "src", "tgt"}  # what stands in a language's place where the files are made for a program


class Half(NamedTuple):
    """One of two files: `corpus` and `zh` of `corpus.zh` or, where `plain`, of `corpus.zh.txt`."""

    stem: str
    column: str
    plain: bool


def half_of(path: Path) -> Half | None:
    """What the name of a half says; None for all other names, whatever lies beside the file."""
    plain = path.suffix.lower() == ".txt"
    name = Path(path.stem) if plain else path
    column = name.suffix.removeprefix(".")
    return Half(name.stem, column, plain) if column in SIDES or is_language_code(column) else None


def both_halves(path: Path, what: str, allowed: str) -> tuple[Path, Path]:
    """`path`, which is a half, and the other one beside it.

    Args:
        what: the file or flag for messages.
        allowed: the kinds of files to give instead.

    Raises:
        UserError: there is no other half, or there are several.
    """
    own = half_of(path)
    others = [other for other in _beside(path, what) if half_of(other) != own and _fit(half_of(other), own)]
    if len(others) == 1:
        return path, others[0]
    if others:
        raise UserError(
            f"{what}: its other half could be {' or '.join(other.name for other in others)}; keep one of them beside "
            "it, or write the two languages as columns of a jsonl file"
        )
    kind = f".{own.column}" + (".txt" if own.plain else "")
    example = own.stem + kind.replace(own.column, "zh" if own.column != "zh" else "en")
    raise UserError(
        f"{what}: files of kind {kind} are not read alone; give a {allowed} file, or put the other half of a parallel "
        f"text beside it: `{example}`, say, with as many lines"
    )


def first_halves(paths: Iterable[Path]) -> list[Path]:
    """Of the parallel texts among `paths` one file each, in their order; none where no text has two halves.

    A half that lacks its other one is given too where any text is whole: it is more likely a mistake than a note.
    """
    firsts: dict[tuple[str, bool], list[Path]] = {}
    for path in paths:
        half = half_of(path)
        if half is not None:
            firsts.setdefault((half.stem, half.plain), []).append(path)
    whole = any(len(found) > 1 for found in firsts.values())
    return [found[0] for found in firsts.values()] if whole else []


def same_text(path: Path) -> Path:
    """A name that both halves of a parallel text have in common; that of any other file is its own."""
    half = half_of(path)
    return path if half is None else path.with_name(f"{half.stem}.*" + (".txt" if half.plain else ""))


def _beside(path: Path, what: str) -> list[Path]:
    try:
        return sorted(other for other in path.parent.iterdir() if other.is_file())
    except PermissionError:
        raise UserError(
            f"{what}: you may not look into {path.parent} for its other half; give yourself the right (`chmod u+rx`)"
        ) from None


def _fit(half: Half | None, own: Half) -> bool:
    return half is not None and (half.stem, half.plain) == (own.stem, own.plain)
