"""Texts that had better not be shown to the world: those that look as if they held something of a person.

Patterns find addresses, numbers and keys; they do not find names. So the examples of a card are few and short.
"""

import re

from hf_kit.redaction import redact

PERSONAL = re.compile(
    r"""[@＠]                                   # a mail address, a user's name
    | https?: | www\. | \w\.(?:com|org|net|edu|gov|info|io|co|cn|uk|de|fr|me|ly|tv|app|dev)\b  # an address in the web
    | \d{5,}                                    # an account, a postal code, a short number
    | (?:\d[\s().+/\-–·]*){7,}                  # a telephone number, a date of birth
    | (?=[\w+/=-]*\d)(?=[\w+/=-]*[A-Za-z])[\w+/=-]{16,} | [A-Za-z0-9+/=_-]{32,}                # a key
    | (?:/[\w.-]+){2,} | [A-Za-z]:\\ | \\\\\w    # a path
    """,
    re.VERBOSE | re.IGNORECASE,
)


def looks_personal(text: str) -> bool:
    """Whether it holds what looks like a mail or web address, a telephone or other long number, a key or a path."""
    return bool(PERSONAL.search(text)) or redact(text) != text
