"""What the model was trained on, and what the checks found in it."""

from hf_kit.card.escaping import shown
from hf_kit.card.examples import examples
from hf_kit.card.facts import Facts
from hf_kit.card.markdown import joined, listed, table

# What is counted: its name on the card ({}: what is read), the count, and the whole that it is a share of.
COUNTED = (
    ("rows without a label", "unlabelled", "rows"),
    ("{}s that cannot be read, left out", "skipped", "rows"),
    ("empty texts", "empty", "rows"),
    ("repeated {}s", "repeated", "rows"),
    ("{}s with two different labels", "two_labels", "rows"),
    ("{}s that are also in train", "in_train", "rows"),
    ("{}s that are also in validation", "in_validation", "rows"),
    ("cut texts", "cut", "read"),
    ("unknown tokens", "unknown", "tokens"),
)


def training_data(facts: Facts) -> str | None:
    if not facts.checks:
        return None
    return joined("## Training data", _splits(facts), _checks_table(facts), _examples(facts))


def _splits(facts: Facts) -> str:
    taken = [split for split in ("validation", "test") if split in facts.checks and facts.held_out(split)]
    said = []
    if taken:
        how = "at random" if facts.translates else "by label"
        said.append(
            f"The {listed(taken)} rows were taken from the training rows {how}, equal {facts.noun}s kept together."
        )
    if facts.setting("drop_leaks"):
        said.append(f"Training rows whose {facts.noun} is also in validation or test were left out.")
    return " ".join(said)


def _checks_table(facts: Facts) -> str:
    splits = facts.checks
    rows = [["rows", *(f"{split['rows']:,}" for split in splits.values())]]
    ranges = [split.get("label_range") for split in splits.values()]
    if any(ranges):
        rows.append(["labels from, to", *("{:g}, {:g}".format(*r) if r else "" for r in ranges)])
    clean = []
    for named, count, whole in COUNTED:
        if count == "two_labels" and facts.translates:
            continue
        name = named.format(facts.noun)
        counts = [split.get(count) for split in splits.values()]
        if any(counts):
            rows.append([name, *(_share(split.get(count), split.get(whole)) for split in splits.values())])
        elif any(value is not None for value in counts) and count not in ("unlabelled", "skipped", "cut", "unknown"):
            clean.append(name)
    for reason, name in _left_out(facts).items():
        counts = [(split.get("dropped") or {}).get(reason) for split in splits.values()]
        if any(counts):
            shares = zip(counts, splits.values(), strict=True)
            rows.append([name, *(_share(count, split["rows"]) for count, split in shares)])
    none = f"Looked for and not found: {listed(clean)}." if clean else None
    return joined(table(["", *splits], rows), none)


def _left_out(facts: Facts) -> dict[str, str]:
    """Why pairs are not trained on, as the checks and as the card name it."""
    if not facts.translates:
        return {}
    state, ratio = facts.run["state"], facts.setting("max_length_ratio")
    return {
        "empty": "left out: a side is empty",
        "source too long": f"left out: source above {state['max_source_length']:,} tokens",
        "target too long": f"left out: translation above {state['max_target_length']:,} tokens",
        "length ratio": f"left out: one side more than {ratio or 0:g} times the other",
    }


def _share(count: int | None, whole: int | None) -> str:
    if count is None:
        return ""
    return f"{count:,} ({count / whole:.1%})" if count and whole else f"{count:,}"


def _examples(facts: Facts) -> str | None:
    found = examples(facts)
    if not found:
        return None
    columns = ["text", "second text"][: len(found[0][0])]
    labelled = all(label is not None for _, label in found)
    answer, said = ("what it writes", ", and what it makes of them") if facts.translates else ("label", "")
    rows = [[*texts.values(), *([label] if labelled else [])] for texts, label in found]
    rows = [[shown(cell, 200) for cell in row] for row in rows]
    shape = table(columns + [answer] * labelled, rows, left=range(len(columns) + 1))
    return f"Some validation rows{said}:\n\n{shape}"
