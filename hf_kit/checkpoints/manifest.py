"""What a checkpoint consists of: names, sizes and sha256 of its files, written last, in a file that checks itself.

A folder with a manifest that agrees with its files is a checkpoint; anything else is not.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from hf_kit.run_folder import hash_file

MANIFEST = "manifest.json"
FORMAT = 1


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """List what is in `folder`, beside `facts` (step, versions ...). Every file is on the disk when this returns."""
    files = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        sync(path)
        name = path.relative_to(folder).as_posix()
        files.append({"name": name, "size": path.stat().st_size, "sha256": hash_file(path)})
    content = {"format": FORMAT} | facts | {"files": files}
    text = json.dumps({"sha256": _digest(content), "content": content}, indent=1, ensure_ascii=False)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
    sync(folder / MANIFEST)
    for inner in folder.rglob("*"):
        if inner.is_dir():
            sync(inner)
    sync(folder)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest's content.

    Raises:
        ValueError: there is none, or it is damaged; the message says which, to stand behind the folder's name.
    """
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"no {MANIFEST}: it was never finished, or another program wrote it") from None
    except (OSError, UnicodeDecodeError) as reason:
        raise ValueError(f"{MANIFEST} cannot be read ({reason})") from None
    try:
        whole = json.loads(text)
        content = whole["content"]
        if whole["sha256"] != _digest(content):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{MANIFEST} is damaged") from None
    if content["format"] != FORMAT:
        raise ValueError(f"its format is {content['format']}, and this version of hf_kit reads {FORMAT}")
    return content


def verify(folder: Path) -> dict[str, Any]:
    """Read every byte of a checkpoint; the manifest's content.

    Raises:
        ValueError: what is wrong with it; the message names the first file.
    """
    content = read_manifest(folder)
    for entry in content["files"]:
        path = folder / entry["name"]
        try:
            size = path.stat().st_size
            if size != entry["size"]:
                raise ValueError(f"{entry['name']} has {size:,} bytes instead of {entry['size']:,}")
            if hash_file(path) != entry["sha256"]:
                raise ValueError(f"{entry['name']} has other contents than when it was saved")
        except FileNotFoundError:
            raise ValueError(f"{entry['name']} is not there") from None
        except OSError as reason:
            raise ValueError(f"{entry['name']} cannot be read ({reason.strerror})") from None
    return content


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def sync(path: Path) -> None:
    """Have the disk, not only the operating system, hold a file's bytes or a folder's entries."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
