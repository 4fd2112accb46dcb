"""A finished run, or a checkpoint of one in training, to the Hub: staged, examined, then sent in one commit."""

import shlex
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from hf_kit.errors import UserError
from hf_kit.hub.access import Destination, create, told
from hf_kit.hub.contents import MANAGED
from hf_kit.hub.disclosure import disclosures


def examine(staged: Path, labels: list[str] | None) -> None:
    """Raises: UserError: a file would disclose what must stay here; nothing has been sent."""
    found = disclosures(staged, labels or [])
    if found:
        more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
        raise UserError(
            f"not pushed, for it would tell the world too much: {'; '.join(found[:5])}{more}. Take that out of the run "
            "folder's file of this name (or out of the data, and train again), then push again"
        )


def send(staged: Path, destination: Destination, message: str, flag: str, managed: tuple[str, ...] = MANAGED) -> str:
    """Make `destination` hold the files of `staged`; what it held of the same kinds before is replaced.

    In one commit, so that nobody loads half a model (`HfApi.upload_folder` may make several). Sent again, nothing
    changes and nothing is sent. Files of other names on the Hub stay.

    Returns:
        the commit's address.

    Raises:
        UserError: the Hub refuses or cannot be reached, after several tries.
    """
    create(destination, flag)
    api, repo, revision = HfApi(), destination.repo_id, destination.revision
    names = sorted(str(path.relative_to(staged)) for path in staged.rglob("*") if path.is_file())

    def commit() -> str:
        left = set(api.list_repo_files(repo, revision=revision)) - set(names)
        old = sorted(name for name in left if any(fnmatch(name, pattern) for pattern in managed))
        operations = [
            *(CommitOperationAdd(path_in_repo=name, path_or_fileobj=staged / name) for name in names),
            *(CommitOperationDelete(path_in_repo=name) for name in old),
        ]
        return api.create_commit(repo, operations, commit_message=message, revision=revision).commit_url

    return told(f"{flag} {repo}", commit)


def push_command(folder: Path, destination: Destination, *, merge_lora: bool = False) -> str:
    """The command that pushes a run later."""
    words = ["hf-kit", "push", shlex.quote(str(folder)), destination.repo_id]
    words += ["--private"] * bool(destination.private) + ["--merge_lora"] * merge_lora
    words += ["--revision", shlex.quote(destination.revision)] if destination.revision else []
    return " ".join(words)


def sizes(staged: Path) -> str:
    """Number and size of files, for a line."""
    files = [path for path in staged.rglob("*") if path.is_file()]
    return f"{len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:,.1f} MB"
