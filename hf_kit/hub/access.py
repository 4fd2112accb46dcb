"""Whether a push can work, found before the first step of a training that ends with one."""

import os
import re
from dataclasses import dataclass
from typing import Any

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
from huggingface_hub.utils import validate_repo_id

from hf_kit.errors import UserError
from hf_kit.hub.retries import retrying
from hf_kit.hub_errors import LOG_IN, why_not_to_hub

NO_NAME = "allowed: letters, digits, `-`, `_` and `.`, at most 96 of them, as `name` or `owner/name`"
REVISION = re.compile(r"[\w][\w./-]*")


@dataclass(frozen=True)
class Destination:
    """Where a run is pushed.

    Attributes:
        repo_id: `owner/name`.
        private: of a new repository; None: as the owner's settings say.
        revision: the branch; None: the default one.
    """

    repo_id: str
    private: bool | None = None
    revision: str | None = None

    @property
    def address(self) -> str:
        """Of the repository's page."""
        return f"{constants.ENDPOINT}/{self.repo_id}"


def check_name(repo_id: str, flag: str) -> None:
    """Raises: UserError: no repository can have this name."""
    try:
        validate_repo_id(repo_id)
    except HFValidationError:
        raise UserError(f"{flag} {repo_id!r} is no name of a repository; {NO_NAME}") from None


def check_access(repo_id: str, flag: str, *, private: bool | None, revision: str | None) -> Destination:
    """See that the Hub is there and lets this user write to `repo_id`; nothing is made there yet.

    Args:
        repo_id: `owner/name`, or `name` for one of the user's own.
        flag: the message's first words, as `--hub_model_id`.

    Raises:
        UserError: naming what is missing (a name, a network, a token, a right), and the remedy.
    """
    check_name(repo_id, flag)
    if revision is not None and not REVISION.fullmatch(revision):
        raise UserError(
            f"the revision {revision!r} is no name of a branch; allowed: letters, digits, `-`, `_`, `.`, `/`"
        )
    what = f"{flag} {repo_id}"
    if constants.HF_HUB_OFFLINE:
        raise UserError(f"{what}: the Hub is switched off (HF_HUB_OFFLINE=1); unset it, or push later (hf-kit push)")
    if get_token() is None:
        raise UserError(f"{what}: pushing needs a token that may write: {LOG_IN} (hf.co/settings/tokens makes one)")
    api = HfApi()
    user = told(what, api.whoami)
    owner, _, name = repo_id.rpartition("/")
    repo_id = f"{owner or user['name']}/{name}"
    what = f"{flag} {repo_id}"
    role = ((user.get("auth") or {}).get("accessToken") or {}).get("role")
    if role == "read":
        raise UserError(f"{what}: the token of {user['name']} may read only; set one that may write in HF_TOKEN")
    try:
        told(what, lambda: api.auth_check(repo_id, write=True), expected=RepositoryNotFoundError)
    except RepositoryNotFoundError:  # new, or somebody else's private one
        owners = [user["name"], *(org["name"] for org in user.get("orgs") or [])]
        if repo_id.split("/")[0] not in owners:
            raise UserError(
                f"{what}: {user['name']} cannot make it there; owners that this token knows: {', '.join(owners)}"
            ) from None
    return Destination(repo_id, private, revision)


def create(destination: Destination, flag: str) -> None:
    """Make the repository, and its branch, where they are not there yet.

    Raises:
        UserError: the Hub refuses, or does not answer.
    """
    api, what = HfApi(), f"{flag} {destination.repo_id}"
    told(what, lambda: api.create_repo(destination.repo_id, private=destination.private, exist_ok=True))
    if destination.revision:
        told(what, lambda: api.create_branch(destination.repo_id, branch=destination.revision, exist_ok=True))


def told(what: str, ask: Any, expected: type[BaseException] | tuple = ()) -> Any:
    """`ask`, tried again where that may help; what goes wrong becomes one error that names `what` and the remedy."""
    try:
        return retrying(ask)
    except expected:
        raise
    except Exception as reason:  # of many kinds: the network's, the server's, the library's
        raise UserError(f"{what}: {why_not_to_hub(reason)}") from reason


def default_name(output_dir: str) -> str:
    """As transformers: a run without `--hub_model_id` is named after its folder."""
    return os.path.basename(os.path.abspath(output_dir))
