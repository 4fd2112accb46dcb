"""The results of a run as tables on the terminal, as JSON for programs and as pictures."""

from pathlib import Path
from typing import Any

from hf_kit import console
from hf_kit.run_folder import RESULTS, read_json

# The columns on the terminal, in this order, as far as the task has them; every score is in results.json.
HEADLINE = (
    "accuracy subset_accuracy f1_macro f1_micro matthews_correlation roc_auc pearson spearmanr mae r2 loss".split()
)
# Micro-averaged F1 of a single label is its accuracy once more.
SAME = {"f1_micro": "accuracy"}


def scores_table(results: dict[str, Any]) -> None:
    """The model's scores beside the baselines', a row each, per split; below each its scores on the clean rows."""
    clean = results.get("clean", {})
    for split in ("validation", "test"):
        if split not in results:
            continue
        systems = {}
        for name, scores in {"this model": results, **results.get("baselines", {})}.items():
            own = clean if scores is results else clean.get("baselines", {}).get(name, {})
            if split in scores:
                systems[name] = scores[split]
            if split in own:
                systems[f"{name}, {clean['rows'][split]:,} clean rows"] = own[split]
        there = {m for scores in systems.values() for m in scores}
        metrics = [m for m in HEADLINE if m in there and SAME.get(m) not in there]
        rows = [[name, *(scores.get(m) for m in metrics)] for name, scores in systems.items()]
        console.table([split, *(m.replace("matthews_correlation", "mcc") for m in metrics)], rows)


def verdict(results: dict[str, Any], metric: str, greater_is_better: bool) -> None:
    """Say plainly if a simple model did as well or better; on the clean rows alone where there are others."""
    split = "test" if "test" in results else "validation"
    where = split
    if split in results.get("clean", {}):
        results = results["clean"]
        where = f"{split}, {results['rows'][split]:,} clean rows,"
    ours = results.get(split, {}).get(metric)
    if ours is None:
        return
    sign = 1 if greater_is_better else -1
    for name, scores in results.get("baselines", {}).items():
        theirs = scores.get(split, {}).get(metric)
        if theirs is not None and sign * theirs >= sign * ours:
            console.warn(
                f"the baseline {name} is as good or better here: {where} {metric} {theirs:.4f} against {ours:.4f}"
            )


def details_table(columns: list[str], rows: list, split: str) -> None:
    """The finer table of one split (per class); long ones are cut on the terminal and whole in results.json."""
    if not rows:
        return
    shown = rows[:30]
    console.table(columns, shown, title=f"{split}, per {columns[0]}")
    if len(rows) > len(shown):
        console.say(f"... and {len(rows) - len(shown)} more in {RESULTS}")


def show_finished(folder: Path) -> dict[str, Any]:
    """Print the results of a finished run folder and return them."""
    results = read_json(folder / RESULTS)
    scores_table(results)
    return results
