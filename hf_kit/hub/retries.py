"""Another try, where the Hub or the way there failed for the moment.

huggingface_hub repeats some requests by itself (downloads, and the pieces of an upload); creating a repository, a
commit and the questions before them it asks once.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from hf_kit import console
from hf_kit.hub_errors import http_error, is_no_hubs_answer, is_of_the_network

T = TypeVar("T")
# Seconds before the second try, the third, and so on.
WAITS = (1, 2, 4, 8)
MOMENTARY = {408, 409, 412, 425, 429, 500, 502, 503, 504}
LONGEST = 60  # seconds that a server may ask to wait


def retrying(ask: Callable[[], T]) -> T:
    """What `ask` gives, tried again after errors that may pass.

    Raises:
        Exception: the last try's; one that will not pass at once.
    """
    for wait in (*WAITS, None):
        try:
            return ask()
        except Exception as reason:
            pause = _pause(reason, wait)
            if pause is None:
                raise
            console.say(f"  the Hub did not do it ({_short(reason)}); again in {pause:g} s")
            time.sleep(pause)
    raise AssertionError  # the last try returns or raises


def _pause(reason: Exception, wait: float | None) -> float | None:
    """Seconds until the next try; None: no other."""
    if wait is None:
        return None
    answer = http_error(reason)
    if answer:
        if answer.response.status_code not in MOMENTARY:
            return None
        asked = answer.response.headers.get("Retry-After", "")
        return min(max(wait, float(asked)), LONGEST) if asked.isdecimal() else wait
    return wait if is_of_the_network(reason) or is_no_hubs_answer(reason) else None


def _short(reason: Exception) -> str:
    answer = http_error(reason)
    return f"HTTP {answer.response.status_code}" if answer else type(reason).__name__
