"""The scores in detail: per label, and as pictures."""

from hf_kit.card.escaping import shown
from hf_kit.card.facts import MULTI, Facts
from hf_kit.card.markdown import LONG, folded, joined, table
from hf_kit.card.scores import metric_name, number, score

PICTURES = {
    "confusion_matrix": "Confusion matrix",
    "predicted_against_true": "Predicted against true numbers",
    "score_by_length": "Quality by length of the source",
    "learning_curves": "Learning curves",
}


def evaluation(facts: Facts) -> str | None:
    parts = (_seeds(facts), _signatures(facts), _per_label(facts), _pictures(sorted(facts.figures, key=_place)))
    parts = joined(*parts)
    return f"## Evaluation\n\n{parts}" if parts else None


def _per_label(facts: Facts) -> str | None:
    details = facts.results.get("details")
    if not details:
        return None
    columns, rows = list(details["columns"]), [list(row) for row in details["rows"]]
    trained_on = facts.checks.get("train", {}).get("labels") or {}
    thresholds = facts.config.get("decision_thresholds") if facts.problem == MULTI else None
    if columns[-1] == "rows":
        columns[-1] = f"{details['split']} rows"
    if trained_on:
        columns.append("training rows")
        rows = [[*row, trained_on.get(row[0])] for row in rows]
    if isinstance(thresholds, list) and len(thresholds) == len(rows):
        columns.append("threshold")
        rows = [[*row, float(threshold)] for row, threshold in zip(rows, thresholds, strict=True)]
    cells = [[shown(str(row[0])), *map(number, row[1:])] for row in rows]
    if _numbered(facts):  # as in the confusion matrix
        columns = ["", *columns]
        cells = [[str(i), *row] for i, row in enumerate(cells)]
    shape = table(columns, cells, left=(0, 1) if _numbered(facts) else (0,))
    return folded(f"Scores of the {len(rows):,} labels", shape) if len(rows) > LONG else shape


def _numbered(facts: Facts) -> bool:
    """Whether the confusion matrix may name its classes by their places."""
    drawn = any("confusion_matrix" in path for path in facts.figures)
    return drawn and (len(facts.labels) > LONG or not all(n.isascii() and len(n) < 30 for n in facts.labels))


def _place(path: str) -> tuple[int, str]:
    stem = path.rpartition("/")[2].removesuffix(".png")
    return (list(PICTURES).index(stem) if stem in PICTURES else len(PICTURES), path)


def _pictures(paths: list[str]) -> str:
    """Two side by side, which makes each as small as half a page."""
    stems = [path.rpartition("/")[2].removesuffix(".png") for path in paths]
    names = [PICTURES.get(stem) or shown(stem.replace("_", " ")) for stem in stems]
    images = [f"![{name}](<{path}>)" for name, path in zip(names, paths, strict=True)]
    return joined(*(table(names[i : i + 2], [images[i : i + 2]], left=range(2)) for i in range(0, len(paths), 2)))


def _seeds(facts: Facts) -> str | None:
    seeds = facts.results.get("seeds")
    if not seeds:
        return None
    split, metric = facts.split, facts.metric
    scores = [
        f"seed {seed} {score(metric, run[split][metric])}"
        for seed, run in seeds["runs"].items()
        if metric in run.get(split, {})
    ]
    kept = f"the best by {seeds['chosen_by'].replace('_', ' ')}" if seeds["chosen_by"] else "the first"
    return (
        f"Trained {len(seeds['runs'])} times, with other random numbers only: {', '.join(scores)}. Kept is seed "
        f"{seeds['best']}, {kept}."
    )


def _signatures(facts: Facts) -> str | None:
    """Without them no score of translations can be held against another one (Post 2018, aclanthology.org/W18-6319)."""
    signatures = facts.results.get("signatures")
    if not signatures:
        return None
    lower = facts.task.lower_is_better
    rows = [
        [metric_name(name), "lower" if name in lower else "higher", shown(signature, 200)]
        for name, signature in signatures.items()
    ]
    return joined(
        "The scores are sacrebleu's, from 0 to 100 (TER may pass it). Only those of the same signature compare:",
        table(["score", "better", "signature"], rows, left=(0, 1, 2)),
    )
