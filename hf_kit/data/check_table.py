"""The data checks as one short table, and what to do about what is found."""

from hf_kit import console
from hf_kit.data.checks import DataChecks, SplitChecks

MOST_LABELS = 12  # with more, the rarest and the most frequent stand for all
MANY_UNKNOWN = 0.05
MANY_CUT = 0.1

# A number and the whole that it is a share of.
Cell = tuple[int | None, int | None]


def show_checks(checks: DataChecks) -> None:
    """Print the table, then a warning for each kind of fault that there is."""
    columns, rows = table_of(checks)
    console.table(columns, rows)
    read = checks.splits["train"].read
    if read is not None and read < checks.splits["train"].rows:
        console.say(f"  tokens of train: those of its first {read:,} rows (--shuffle_buffer_size)")
    for warning in warnings_of(checks):
        console.warn(warning)


def table_of(checks: DataChecks) -> tuple[list[str], list[list[str]]]:
    """Column names (the splits) and one row per check."""
    splits, noun = checks.splits, checks.noun
    lines: list[tuple[str, list[Cell]]] = [("rows", [(split.rows, None) for split in splits.values()])]
    names = _labels_shown(splits["train"])
    for title, name in names:
        lines.append((title, [(s.labels[name], s.rows) if s.labels else (None, None) for s in splits.values()]))
    counted = [
        ("no label at all", "unlabelled", "rows"),
        ("empty text", "empty", "rows"),
        (f"{noun} repeated", "repeated", "rows"),
        (f"same {noun}, two labels", "two_labels", "rows"),
        (f"{noun} also in train", "in_train", "rows"),
        (f"{noun} also in validation", "in_validation", "rows"),
        ("not readable, left out", "skipped", None),
        (f"cut at {checks.max_length} tokens", "cut", "read"),
        ("tokens cut off", "lost", "whole"),
        ("unknown tokens", "unknown", "tokens"),
    ]
    for title, count, whole in counted:
        cells = [(getattr(split, count), whole and getattr(split, whole)) for split in splits.values()]
        if any(number is not None for number, _ in cells) and (count != "unlabelled" or any(n for n, _ in cells)):
            lines.append((title, cells))
    for reason in splits["train"].dropped or {}:
        lines.append((f"not trained on: {reason}", [((s.dropped or {}).get(reason), s.rows) for s in splits.values()]))
    texts = [_aligned([cells[i] for _, cells in lines]) for i in range(len(splits))]
    rows = [[title, *(column[i] for column in texts)] for i, (title, _) in enumerate(lines)]
    if splits["train"].label_range:
        ranges = [split.label_range for split in splits.values()]
        rows.insert(1, ["label, least to most", *("{:g} to {:g}".format(*r) if r else "" for r in ranges)])
    return ["", *splits], rows


def _labels_shown(train: SplitChecks) -> list[tuple[str, str]]:
    """Title and name of each label that has a row in the table; none for regression."""
    counts = train.labels or {}
    if len(counts) <= MOST_LABELS:
        return [(f"label {_short(name)}", name) for name in counts]
    least, most = (choose(counts, key=counts.get) for choose in (min, max))
    return [
        (f"{len(counts)} labels; rarest: {_short(least)}", least),
        (f"most frequent: {_short(most)}", most),
    ]


def _short(text: str, width: int = 30) -> str:
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 3] + "..."


def _aligned(cells: list[Cell]) -> list[str]:
    """Numbers in one column and their shares in another."""
    counts = ["" if count is None else f"{count:,}" for count, _ in cells]
    shares = [f"{count / whole:.1%}" if count and whole else "" for count, whole in cells]
    wide, share_wide = max(map(len, counts)), max(map(len, shares))
    return [f"{count:>{wide}}  {share:>{share_wide}}" for count, share in zip(counts, shares, strict=True)]


def warnings_of(checks: DataChecks) -> list[str]:
    """A sentence for each kind of fault, with what to do; the numbers that stand in the table are not repeated."""
    splits, noun = checks.splits, checks.noun
    found = []
    leaks = [
        f"{split.in_train:,} of {split.rows:,} {name} rows"
        for name, split in splits.items()
        if split.in_train and split.scored  # else there is no score to flatter
    ]
    if leaks:
        found.append(
            f"the {noun}s of {_list(leaks)} are also in train, which may flatter the score; the score on the clean "
            f"rows will stand beside it. --drop_leaks leaves these {noun}s out of train"
        )
    torn = [name for name, split in splits.items() if split.two_labels]
    if torn:
        example = f" ({checks.example})" if checks.example else ""
        found.append(f"the same {noun} has two labels in {_list(torn)}{example}; settle on one of them")
    for group in checks.similar_labels:
        named = _list([f"`{name}` ({splits['train'].labels[name]:,} rows)" for name in group])
        found.append(f"the labels {named} are different classes, but differ in case or spaces only; write them as one")
    empty = [name for name, split in splits.items() if split.empty]
    if empty:
        found.append(f"rows without a text in {_list(empty)}: they say nothing about their label; remove them")
    long = [name for name, split in splits.items() if (split.cut or 0) > MANY_CUT * (split.read or 0)]
    if long:
        found.append(
            f"more than {MANY_CUT:.0%} of the texts in {_list(long)} are longer than {checks.max_length} tokens and "
            "are cut: see --max_length and --truncation_side; `hf-kit evaluate` and `predict` read all with --windows"
        )
    strange = [name for name, split in splits.items() if (split.unknown or 0) > MANY_UNKNOWN * (split.tokens or 0)]
    if strange:
        found.append(
            f"the tokenizer does not know more than {MANY_UNKNOWN:.0%} of the tokens in {_list(strange)}: take a "
            "checkpoint of the data's language; for a fresh model, raise --vocab_size or choose another "
            "--tokenizer_type"
        )
    return found


def _list(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]
