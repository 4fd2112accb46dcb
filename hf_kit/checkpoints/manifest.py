"""What a checkpoint consists of: names, sizes and sha256 of its files, written last, in a file that checks itself.

A folder with a manifest that agrees with its files is a checkpoint; anything else is not.
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hf_kit.run_folder import hash_file

MANIFEST = "manifest.json"
FORMAT = 1


def write_manifest(folder: Path, facts: dict[str, Any], needed: Iterable[str] = ()) -> None:
    """List what is in `folder`, beside `facts` (step, versions ...). Every file is on the disk when this returns.

    Raises:
        FileNotFoundError: one of the names `needed` is not there, so this would be no checkpoint.
    """
    files = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        sync(path)
        name = path.relative_to(folder).as_posix()
        files.append({"name": name, "size": path.stat().st_size, "sha256": hash_file(path)})
    lost = set(needed) - {file["name"] for file in files}
    if lost:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder / min(lost)))
    (folder / MANIFEST).write_text(_as_text({"format": FORMAT} | facts | {"files": files}), encoding="utf-8")
    sync_all(folder)


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
        content = json.loads(text)["content"]
        if text != _as_text(content):
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


def _as_text(content: Any) -> str:
    """The one way to write it, with its own sha256: a change of any byte shows."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps({"sha256": digest, "content": content}, indent=1, ensure_ascii=False) + "\n"


def sync(path: Path) -> None:
    """Have the disk, not only the operating system, hold a file's bytes or a folder's entries."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all(folder: Path) -> None:
    """`sync` for all files and folders in `folder`, and for itself."""
    for inner in folder.rglob("*"):
        sync(inner)
    sync(folder)
