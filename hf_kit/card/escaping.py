"""Text from the data (labels, examples, names of files) made harmless in Markdown, HTML, tables and formulas.

Characters that mean something become HTML entities, which CommonMark never reads as structure
(spec.commonmark.org/0.31.2/#entity-and-numeric-character-references) and HTML shows as they are.
"""

import re
import unicodedata

# `$` begins a formula on the Hub; a bare address or `@name` would become a link.
SPECIAL = re.compile(r"[&<>|`*\[\]\\~$@\"]|(?<![^\W_])_|_(?![^\W_])|(?<=:)//|(?i:(?<=www)\.)")
# What begins a heading, a list or a rule where it stands first.
FIRST = re.compile(r"^(?:[#+=-]|\d+(?=[.)](?: |$)))")
JOINERS = "\u200c\u200d"  # of emoji, and of scripts that are written joined


def cleaned(text: str) -> str:
    """One line of what can be read: no control characters, no marks that turn the direction of what follows."""
    text = " ".join(text.encode("utf-8", "replace").decode().split())
    return "".join(c for c in text if c in JOINERS or unicodedata.category(c) not in ("Cc", "Cf", "Co", "Cs"))


def shortened(text: str, most: int) -> str:
    """At most `most` characters, the last of them an ellipsis where something is missing."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"


def shown(text: str, most: int = 60) -> str:
    """`text` as it can stand anywhere within a line of Markdown, in a table's cell too; `(empty)` where nothing is."""
    return FIRST.sub(_entities, SPECIAL.sub(_entities, shortened(cleaned(text) or "(empty)", most)))


def _entities(match: re.Match) -> str:
    return "".join(f"&#{ord(character)};" for character in match[0])
