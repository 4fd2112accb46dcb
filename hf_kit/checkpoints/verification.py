"""`hf-kit verify`: the checkpoints of a run, each whole or damaged."""

from pathlib import Path
from typing import Any

from hf_kit import console
from hf_kit.checkpoints.manifest import MANIFEST, verify
from hf_kit.checkpoints.names import checkpoints, step_of
from hf_kit.errors import UserError


def verify_all(name: str) -> list[dict[str, Any]]:
    """`{"checkpoint", "step", "files", "bytes", "versions", "damage"}` of each, the newest first; no damage: None.

    Args:
        name: a run folder, or one checkpoint.

    Raises:
        UserError: there is no such folder, or no checkpoint in it.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise UserError(f"there is no folder {name}; name a run folder or one of its checkpoints")
    one = (folder / MANIFEST).exists() or step_of(folder.absolute()) is not None
    seeds = sorted(folder.glob("seed-*"))  # while a run of several is under way
    found = [folder] if one else [path for run in (folder, *seeds) for path in checkpoints(run)]
    if not found:
        raise UserError(f"{name} holds no checkpoint; a run makes them as --save_strategy and --save_minutes say")
    return [_examined(path) for path in found]


def _examined(path: Path) -> dict[str, Any]:
    out = {"checkpoint": str(path), "step": step_of(path.absolute())}
    try:
        content = verify(path)
    except ValueError as reason:
        return out | {"files": None, "bytes": None, "versions": None, "damage": str(reason)}
    files = content["files"]
    size = sum(file["size"] for file in files)
    return out | {"files": len(files), "bytes": size, "versions": content.get("versions"), "damage": None}


def show(found: list[dict[str, Any]]) -> None:
    """A table on the screen."""
    rows = [
        [
            one["checkpoint"],
            "" if one["files"] is None else f"{one['files']}",
            "" if one["bytes"] is None else f"{one['bytes'] / 1e6:,.1f} MB",
            one["damage"] or "whole",
        ]
        for one in found
    ]
    console.table(["checkpoint", "files", "size", "state"], rows)
