"""The few shapes of Markdown that a card is made of; what goes into cells has been escaped."""

import re
from collections.abc import Sequence

LONG = 20  # rows; a longer table is folded


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """Columns of numbers, aligned to the right, but for those whose places are in `left`."""
    rule = ["---" if i in left else "--:" for i in range(len(columns))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (columns, rule, *rows))


def fenced(code: str, language: str = "") -> str:
    """A block of code, in a fence longer than any within it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
    return f"{fence}{language}\n{code.rstrip()}\n{fence}"


def folded(title: str, body: str) -> str:
    return f"<details>\n<summary>{title}</summary>\n\n{body}\n\n</details>"


def listed(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def joined(*blocks: str | None) -> str:
    """Those that say something, a blank line between them."""
    return "\n\n".join(block for block in blocks if block)
