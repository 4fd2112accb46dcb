"""Whether a file of a folder lies in that folder: one that came from elsewhere may hold links to anything here."""

from pathlib import Path


def leads_outside(path: Path, folder: Path) -> bool:
    """Whether `path`, all links followed, lies neither below `folder` nor in the Hub cache that `folder` is part of.

    The Hub's cache keeps each content once, in `models--NAME/blobs`; a snapshot's files are links to it.
    """
    target, root = path.resolve(), folder.resolve()
    homes = [root]
    for parent in (root, *root.parents):
        if parent.parent.name == "snapshots":
            homes.append(parent.parent.parent / "blobs")
            break
    return not any(target.is_relative_to(home.resolve()) for home in homes)
