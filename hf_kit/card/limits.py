"""What the model's score does not say, and where it is weak: each point follows from the run's facts."""

import math

from hf_kit.card.escaping import shown
from hf_kit.card.facts import SINGLE, Facts
from hf_kit.card.markdown import listed
from hf_kit.card.names import language_name, translation_phrase
from hf_kit.card.scores import metric_name, number, number_of_rows, verdict

FEW_ROWS, FEW_OF_A_LABEL = 2000, 20
# Below some hundred thousand pairs older methods translate better (Koehn and Knowles 2017, arXiv:1706.03872).
FEW_PAIRS = 200_000
SKEWED = 3  # times as many rows of the largest label as of the smallest
WEAK = 0.5  # F1
MANY_UNKNOWN = 0.05
MOST_NAMED = 5


def limits(facts: Facts) -> str:
    own = _translations if facts.translates else _labels
    points = [point for find in (_score, _rows, own, _texts) for point in find(facts)]
    points.append(
        f"Nobody has looked at how it treats groups of people, or at what it does with {facts.task.noun}s made to "
        "mislead it."
    )
    return "## Limits\n\n" + "\n".join(f"- {point}" for point in points)


def _score(facts: Facts) -> list[str]:
    found, split = verdict(facts), facts.split
    points = []
    if found and found.winners:
        points.append(f"A plain baseline is as good or better in {metric_name(found.metric)} (see the table above).")
    if split == "validation":
        points.append("There were no test rows: those that chose the model also gave its score, which flatters it.")
    if split and facts.held_out(split):
        points.append(
            f"The {split} rows are a part of the same data as the training rows. On rows from elsewhere expect less."
        )
    elif split:
        points.append(f"The {split} rows come with the training rows. On rows from elsewhere expect less.")
    if "seeds" in facts.results and facts.results["seeds"]["chosen_by"]:
        points.append("It is the best of several trainings; the mean of the seeds is what another one would get.")
    accuracy = facts.results.get(split, {}).get("accuracy")
    if accuracy is not None and facts.problem == SINGLE:
        rows = number_of_rows(facts, split)
        # Half of the 95 % interval of a share, by the normal approximation.
        half = 1.96 * math.sqrt(accuracy * (1 - accuracy) / rows)
        if half >= 0.005:
            points.append(
                f"{rows:,} {split} rows are a sample: chance alone moves an accuracy of {number(accuracy)} by "
                f"± {half:.2f} (95 % of the time)."
            )
    return points


def _rows(facts: Facts) -> list[str]:
    train, split = facts.checks.get("train", {}), facts.checks.get(facts.split or "", {})
    points = []
    used = train.get("rows", 0) - sum((train.get("dropped") or {}).values())
    if facts.translates and not facts.base and used < FEW_PAIRS:
        points.append(f"{used:,} training pairs are few for a translator that is trained from nothing.")
    elif train and used < FEW_ROWS:
        points.append(f"{used:,} training rows are few.")
    if split.get("in_train"):
        points.append(
            f"{split['in_train']:,} of the {split['rows']:,} {facts.split} {facts.noun}s are also in train, which "
            "flatters the score on all rows; that on the clean rows stands beside it."
        )
    if train.get("two_labels"):
        points.append(f"In {train['two_labels']:,} training rows the same {facts.noun} has two different labels.")
    return points


def _labels(facts: Facts) -> list[str]:
    counts = facts.checks.get("train", {}).get("labels") or {}
    points = []
    if counts:
        rarest, largest = min(counts, key=counts.get), max(counts, key=counts.get)
        if counts[largest] >= SKEWED * max(1, counts[rarest]):
            points.append(
                f"The labels are unevenly spread, from {counts[rarest]:,} training rows (*{shown(rarest)}*) to "
                f"{counts[largest]:,} (*{shown(largest)}*): accuracy says little of the rare ones."
            )
    details = facts.results.get("details", {})
    if {"f1", "rows"} <= set(details.get("columns", [])):
        f1, rows = details["columns"].index("f1"), details["columns"].index("rows")
        weak = sorted((row for row in details["rows"] if row[rows] and row[f1] < WEAK), key=lambda row: row[f1])
        if weak:
            named = [f"*{shown(str(row[0]), 40)}* ({number(float(row[f1]))})" for row in weak[:MOST_NAMED]]
            more = [f"{len(weak) - MOST_NAMED:,} more"] if len(weak) > MOST_NAMED else []
            points.append(f"Weak, with an F1 below {WEAK}: {listed(named + more)}.")
        few = [row for row in details["rows"] if row[rows] < FEW_OF_A_LABEL]
        if few:
            points.append(
                f"{len(few):,} of {len(details['rows']):,} labels have fewer than {FEW_OF_A_LABEL} {details['split']} "
                "rows: their own scores mean little."
            )
    return points


def _translations(facts: Facts) -> list[str]:
    """What holds of every translator that learned from pairs, with this one's numbers."""
    train, state = facts.checks.get("train", {}), facts.run["state"]
    points = [
        "What it does not know it invents: a name, a number or a rare word may come out wrong in a sentence that reads "
        "well, and nothing in the answer says so. Have a person check what matters.",
        "The scores compare words and letters with one translation each: a good one in other words scores low, and a "
        "wrong number costs little.",
    ]
    seen = ""
    if train.get("read"):
        seen = f"; the texts that it was trained on have {train['tokens'] / train['read']:.0f} on average"
    points.append(
        f"It reads {state['max_source_length']:,} tokens of a text and writes {state['max_target_length']:,} at the "
        f"most{seen}. Give it a long text sentence by sentence."
    )
    others = "; what its base knows of others was not scored" if facts.base else ""
    points.append(f"It was trained to translate {translation_phrase(facts)} only, not back{others}.")
    return points


def _texts(facts: Facts) -> list[str]:
    train, points = facts.checks.get("train", {}), []
    if train.get("cut") and not facts.translates:  # which is trained on none
        points.append(
            f"{train['cut'] / train['read']:.1%} of the training texts were longer than "
            f"{facts.run['state']['max_length']:,} tokens and were cut; of longer texts it has seen a part."
        )
    if train.get("tokens") and (train.get("unknown") or 0) > MANY_UNKNOWN * train["tokens"]:
        points.append(f"{train['unknown'] / train['tokens']:.1%} of the training tokens are unknown to its tokenizer.")
    languages = facts.origin.get("languages", [])
    if languages and not facts.translates:
        points.append(f"It was trained on {listed([language_name(code) for code in languages])} only.")
    return points
