"""Why a model, a tokenizer or a run that is no folder here does not come from the Hub either, in one sentence."""

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
    errors = []
    while reason is not None and reason not in errors:
        errors.append(reason)
        reason = reason.__cause__ or reason.__context__
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
