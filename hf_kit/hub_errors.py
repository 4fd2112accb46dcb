"""Why something does not come from the Hub, or does not go there, in one sentence that names the Hub's address."""

import os
from collections.abc import Iterator
from json import JSONDecodeError

from huggingface_hub import constants, is_offline_mode
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

LOG_IN = "set HF_TOKEN or run `hf auth login`"


def why_not_from_hub(reason: BaseException, revision: str | None = None) -> str | None:
    """What went wrong and the remedy, read off the errors that led to `reason`; None if the Hub is not to blame."""
    errors = list(causes(reason))
    hub = constants.ENDPOINT

    def any_is(*types: type) -> bool:
        return any(isinstance(error, types) for error in errors)

    if any_is(GatedRepoError):
        return f"{hub} gives it to those only whom its owners let in: ask on its page for access, then {LOG_IN}"
    if any_is(RevisionNotFoundError):
        return f"{hub} has it, but no revision {revision}; leave --model_revision out or name a branch, tag or commit"
    if any_is(RepositoryNotFoundError):
        return f"there is no such folder here, and {hub} has none of this name; check it. If it is private, {LOG_IN}"
    if any_is(LocalEntryNotFoundError) and is_offline_mode():
        return (
            "there is no such folder here, and the Hub is switched off (HF_HUB_OFFLINE=1) with no copy in the cache; "
            "unset HF_HUB_OFFLINE, or give a local folder"
        )
    statuses = [e.response.status_code for e in errors if isinstance(e, HfHubHTTPError) and e.response is not None]
    if statuses and statuses[0] in (401, 403):
        return f"{hub} refuses it (HTTP {statuses[0]}): {LOG_IN}, with a token that may read it"
    if any_is(LocalEntryNotFoundError, HfHubHTTPError) and not (any_is(EntryNotFoundError) and 404 in statuses):
        status = f" (HTTP {statuses[0]})" if statuses else ""
        return f"{hub} cannot be reached{status}, and there is no copy here; try again later, or give a local folder"
    return None


def why_not_to_hub(reason: BaseException) -> str:
    """What went wrong when something was to be written, or the right to do so was asked for, and the remedy."""
    hub = constants.ENDPOINT
    answer = http_error(reason)
    status = answer.response.status_code if answer else None
    said = " ".join((getattr(answer or reason, "server_message", None) or str(reason)).split())[:200]
    if status == 401:
        return f"{hub} does not know the token (HTTP 401): {LOG_IN}, with one that is not revoked"
    if status == 403:
        return f"{hub} does not let this token write there (HTTP 403: {said}): {LOG_IN}, with a token that may"
    if isinstance(answer, RevisionNotFoundError):
        return f"{hub} has the repository, but no such branch; name one that is there"
    if status == 404:
        return f"{hub} has no such repository, or hides it from this token (HTTP 404); check the name and the token"
    if status in (400, 413, 422):
        return f"{hub} does not take it (HTTP {status}: {said})"
    if status is not None or is_of_the_network(reason) or is_offline_mode():
        shown = f"HTTP {status}" if status else type(reason).__name__
        return f"{hub} cannot be reached or is out of order ({shown}); try again later{_mirror()}"
    if is_no_hubs_answer(reason):
        return f"{hub} answers, but not as a Hub does (a login page of the network?); try again later{_mirror()}"
    return f"{hub}: {type(reason).__name__}: {said}"


def causes(reason: BaseException | None) -> Iterator[BaseException]:
    """`reason`, and the errors that led to it."""
    seen = set()
    while reason is not None and id(reason) not in seen:
        seen.add(id(reason))
        yield reason
        reason = reason.__cause__ or reason.__context__


def http_error(reason: BaseException) -> HfHubHTTPError | None:
    """The answer of the Hub that led to `reason`."""
    found = (e for e in causes(reason) if isinstance(e, HfHubHTTPError) and e.response is not None)
    return next(found, None)


def is_of_the_network(reason: BaseException) -> bool:
    """Whether a request came to no answer; the Hub library's client is httpx in some versions and httpx2 in others."""
    kinds = [kind for error in causes(reason) for kind in type(error).__mro__]
    own = [kind.__name__ for kind in kinds if kind.__module__.split(".")[0] in ("httpx", "httpx2")]
    return "TransportError" in own or ConnectionError in kinds or TimeoutError in kinds


def is_no_hubs_answer(reason: BaseException) -> bool:
    """Whether something answered that is no Hub: with what is no JSON, or holds other things."""
    return any(isinstance(error, (JSONDecodeError, KeyError, TypeError)) for error in causes(reason)) or (
        isinstance(reason, ValueError) and ("alformed" in str(reason) or "improperly formatted" in str(reason))
    )


def _mirror() -> str:
    return " (the address is that of HF_ENDPOINT)" if os.environ.get("HF_ENDPOINT") else ""
