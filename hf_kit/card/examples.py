"""A few short validation rows to show: of different labels and scripts, none that looks personal.

Beside a row of a translator stands what it writes, held to the same rule: it may have learned a row by heart.
"""

import re
from typing import Any

from hf_kit.card.escaping import cleaned
from hf_kit.card.facts import MULTI, REGRESSION, Facts
from hf_kit.card.personal import looks_personal

MOST, LONGEST = 4, 140  # examples, characters of one
HAN = re.compile("[\u3400-\u9fff]")


def examples(facts: Facts) -> list[tuple[dict[str, str], str | None]]:
    """At most four rows: their texts, on one line each, and the name of their true label where it is known.

    Of a translator the text that it writes.
    """
    groups: dict[tuple, list] = {}
    for row in facts.rows:
        texts = row.get("inputs", {})
        if not texts or not all(isinstance(text, str) for text in texts.values()):
            return []  # images, say
        texts = {name: cleaned(text) for name, text in texts.items()}
        if not all(_fit(text) for text in texts.values()):
            continue
        label = _label(row.get("label"), facts)
        han = bool(HAN.search(" ".join(texts.values())))
        answer = label
        if facts.translates:
            answer = cleaned(row["written"]["text"])
            if len(answer) > LONGEST or looks_personal(answer):
                continue
        groups.setdefault((label, han), []).append((texts, answer))
    chosen = []
    while groups and len(chosen) < MOST:  # one of each group in turn
        for key in list(groups):
            chosen.append(groups[key].pop(0))
            if not groups[key]:
                del groups[key]
    return chosen[:MOST]


def _fit(text: str) -> bool:
    return len(text) <= LONGEST and len(re.findall(r"[^\W\d_]", text)) >= 3 and not looks_personal(text)


def _label(value: Any, facts: Facts) -> str | None:
    if facts.problem == REGRESSION:
        return f"{value:g}" if isinstance(value, (int, float)) else None
    if facts.problem == MULTI:
        return ", ".join(value) if isinstance(value, list) and all(isinstance(v, str) for v in value) else None
    if isinstance(value, int) and 0 <= value < len(facts.labels):
        return facts.labels[value]
    return value if isinstance(value, str) else None
