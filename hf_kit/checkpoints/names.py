"""What a checkpoint is called, and which ones a run folder has."""

from pathlib import Path

from hf_kit.checkpoints.manifest import read_manifest

PREFIX = "checkpoint-"


def step_of(path: Path) -> int | None:
    """The step in a checkpoint's name; None for other names."""
    number = path.name.removeprefix(PREFIX)
    return int(number) if path.name.startswith(PREFIX) and number.isdecimal() else None


def checkpoints(folder: Path) -> list[Path]:
    """The folders named as checkpoints, the newest step first, whole or not."""
    return sorted((p for p in folder.glob(f"{PREFIX}*") if p.is_dir() and step_of(p) is not None), key=step_of)[::-1]


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was finished; whether its files are still as they were is not looked at."""
    return next((path for path in checkpoints(folder) if is_finished(path)), None)


def is_finished(path: Path) -> bool:
    """Whether a folder has a manifest that is whole."""
    try:
        read_manifest(path)
    except ValueError:
        return False
    return True
