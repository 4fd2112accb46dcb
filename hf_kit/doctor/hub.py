"""The Hub: can it be reached, and is there a token? Nothing of the token is read out, sent or printed."""

import os
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from hf_kit.doctor.finding import OK, WARNING, Finding, in_one_line

TIMEOUT = 3.0  # seconds, to connect and to answer


def reachability() -> list[Finding]:
    """Ask the endpoint for one model, with the Hub library's own client: its proxies and certificates count too."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        found = f"offline, as HF_HUB_OFFLINE asks: local files and the cache only ({_endpoint()} not tried)"
        return [Finding("hub", OK, found, values={"endpoint": _endpoint(), "offline": True, "reachable": None})]
    try:
        answer = get_session().get(f"{constants.ENDPOINT}/api/models", params={"limit": 1}, timeout=TIMEOUT)
        answer.raise_for_status()
        # A login page of a network answers too, but not with a list of models.
        if not isinstance(answer.json(), list):
            raise ValueError("it answers, but not as a Hub does")
    except Exception as reason:
        return [unreachable(reason)]
    values = {"endpoint": _endpoint(), "offline": False, "reachable": True}
    return [Finding("hub", OK, f"{_endpoint()} answers", values=values)]


def unreachable(reason: Exception) -> Finding:
    """The row of a Hub that does not answer."""
    from huggingface_hub import constants

    commands = [
        "export HF_HUB_OFFLINE=1  # without a network: nothing waits for one",
        "export HTTPS_PROXY=http://HOST:PORT  # behind a proxy",
    ]
    if os.environ.get("HF_ENDPOINT"):
        commands.append("unset HF_ENDPOINT  # back to huggingface.co")
    login = urlsplit(constants.ENDPOINT).netloc.rpartition("@")[0]
    why = in_one_line(reason).replace(f"{login}@", "") if login else in_one_line(reason)
    advice = f"{why}; local models and data train all the same"
    values = {"endpoint": _endpoint(), "offline": False, "reachable": False}
    return Finding("hub", WARNING, f"{_endpoint()} cannot be reached", advice, tuple(commands), values)


def token() -> list[Finding]:
    """Where a token is set, if one is."""
    from huggingface_hub import constants

    # Not `huggingface_hub.get_token()`: it may go to the network to refresh one.
    variable = next((v for v in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN") if os.environ.get(v, "").strip()), None)
    file = Path(constants.HF_TOKEN_PATH)
    if variable:
        found = f"set in {variable}"
    elif file.is_file() and file.stat().st_size:
        found = "saved by `hf auth login`"
    else:
        found = "none; `hf auth login` sets one, needed only to push and for private or gated models"
        return [Finding("token", OK, found, values={"set": False})]
    return [Finding("token", OK, found, values={"set": True})]


def _endpoint() -> str:
    """The Hub's address without the name and password that it may hold."""
    from huggingface_hub import constants

    parts = urlsplit(constants.ENDPOINT)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
