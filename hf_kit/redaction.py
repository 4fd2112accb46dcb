"""Tokens and passwords taken out of what is said: messages, logs, tracebacks.

A token belongs in the environment, but users paste one into a flag or an address, and libraries put the address of a
request, with the password of a Hub's mirror in it, into their errors and warnings.
"""

import logging
import os
import re

TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")
HIDDEN = "***"
SHORTEST = 8  # of a token's value; a shorter one would be found in ordinary words
_PATTERNS = (
    (re.compile(r"\bhf_[A-Za-z0-9]{16,}"), HIDDEN),
    (re.compile(r"(?<=://)[^/\s'\"]*@"), f"{HIDDEN}@"),  # name:password@ of an address
    (re.compile(r"(?i)(?<=[?&])((?:access_)?token=)[^&\s'\"]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)\b(authorization\W{1,5}(?:(?:bearer|basic) +)?)[^\s'\"]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)\b(bearer +)[\w.~+/=-]{16,}"), rf"\1{HIDDEN}"),
)


def redact(text: str) -> str:
    """`text` without tokens and passwords, the tokens of the environment among them."""
    for name in TOKEN_VARIABLES:
        value = os.environ.get(name, "").strip()
        if len(value) >= SHORTEST:
            text = text.replace(value, HIDDEN)
    for pattern, shown in _PATTERNS:
        text = pattern.sub(shown, text)
    return text


def redact_exception(error: BaseException | None) -> None:
    """Do so in the words of `error` and of those that led to it, for a traceback that will be printed."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        error.args = tuple(redact(word) if isinstance(word, str) else word for word in error.args)
        error = error.__cause__ or error.__context__


def redact_logs() -> None:
    """Do so in all that is logged from now on, by whatever library."""
    make = logging.getLogRecordFactory()
    if getattr(make, "redacts", False):
        return

    def make_redacted(*args, **kwargs) -> logging.LogRecord:
        record = make(*args, **kwargs)
        try:
            said = record.getMessage()
        except Exception:
            return record  # a library's own mistake in its words, which `logging` reports
        shown = redact(said)
        if shown != said:
            record.msg, record.args = shown, ()
        return record

    make_redacted.redacts = True
    logging.setLogRecordFactory(make_redacted)
