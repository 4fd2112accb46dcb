"""The results of a run as tables on the terminal, as JSON for programs and as pictures."""

from pathlib import Path
from typing import Any

import numpy as np

from hf_kit import console
from hf_kit.run_folder import RESULTS, read_json

# The columns on the terminal, in this order, as far as the task has them; every score is in results.json.
HEADLINE = (
    "accuracy subset_accuracy f1_macro f1_micro matthews_correlation roc_auc pearson spearmanr mae r2 "
    "bleu chrf ter loss"
).split()
# Micro-averaged F1 of a single label is its accuracy once more.
SAME = {"f1_micro": "accuracy"}
SAMPLES_SHOWN, MOST_CHARACTERS = 5, 200


def scores_table(results: dict[str, Any]) -> None:
    """The model's scores beside the baselines', a row each, per split; below each its scores on the clean rows."""
    for split in ("validation", "test"):
        if split not in results:
            continue
        systems = _systems(results, split, {"this model": results})
        there = {m for _, scores in systems for m in scores}
        metrics = [m for m in HEADLINE if m in there and SAME.get(m) not in there]
        rows = [[name, *(scores.get(m) for m in metrics)] for name, scores in systems]
        console.table([split, *(m.replace("matthews_correlation", "mcc") for m in metrics)], rows)


def _systems(results: dict[str, Any], split: str, model: dict[str, dict]) -> list[tuple[str, dict]]:
    """Names and scores on `split`: `model` (its name and results, or nothing) and the baselines, each before the same
    on the clean rows."""
    clean = results.get("clean", {})
    on_clean = dict.fromkeys(model, clean) | clean.get("baselines", {})
    systems = []
    for name, scores in (model | results.get("baselines", {})).items():
        if split in scores:
            systems.append((name, scores[split]))
        if split in on_clean.get(name, {}):
            systems.append((_clean_title(clean, split), on_clean[name][split]))
    return systems


def _clean_title(clean: dict[str, Any], split: str) -> str:
    return f"  {clean['rows'][split]:,} clean rows"


def seeds_table(results: dict[str, Any]) -> None:
    """The scores of every seed, their mean and standard deviation, the baselines; and which run was kept."""
    seeds, clean = results["seeds"], results.get("clean", {})
    for split in seeds["mean"]:
        mean, sd = seeds["mean"][split], seeds["sd"][split]
        metrics = [m for m in HEADLINE if m in mean and SAME.get(m) not in mean]
        rows = [[f"seed {seed}", *(run[split].get(m) for m in metrics)] for seed, run in seeds["runs"].items()]
        rows.append([f"mean ± sd of {len(seeds['runs'])}", *(f"{mean[m]:.3f} ± {sd[m]:.3f}" for m in metrics)])
        if split in clean:
            mean, sd = clean["seeds"]["mean"][split], clean["seeds"]["sd"][split]
            cells = [f"{mean[m]:.3f} ± {sd[m]:.3f}" if m in mean else None for m in metrics]
            rows.append([_clean_title(clean, split), *cells])
        rows += [[name, *(scores.get(m) for m in metrics)] for name, scores in _systems(results, split, {})]
        console.table([split, *(m.replace("matthews_correlation", "mcc") for m in metrics)], rows)
    number, best = len(seeds["runs"]), seeds["best"]
    if seeds["chosen_by"]:
        console.say(
            f"Kept: seed {best}, the best of {number} by {seeds['chosen_by']}. Its own score is that of a chosen run; "
            "the mean is what another training would get."
        )
    else:
        scored = "validation" in seeds["runs"][str(best)]
        why = (
            "the score that chooses is undefined for all of them"
            if scored
            else "without validation rows nothing may choose"
        )
        console.say(f"Kept: seed {best}, the first of {number}: {why}.")


def verdict(results: dict[str, Any], metric: str, greater_is_better: bool) -> None:
    """Say plainly if a simple model did as well or better: on the clean rows if not all are, in the mean of seeds."""
    split = "test" if "test" in results else "validation"
    where = split
    if split in results.get("clean", {}):
        results = results["clean"]
        where = f"{split}, {results['rows'][split]:,} clean rows,"
    ours = results.get("seeds", {}).get("mean", results).get(split, {}).get(metric)
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


def samples(samples: list[dict[str, Any]], split: str, path: Path) -> None:
    """A few of them, from the best to the worst, each on lines of its own: tables would cut texts."""
    console.say(f"{split}: {len(samples)} samples from the best to the worst in {path}; of these:")
    chosen = np.unique(np.linspace(0, len(samples) - 1, SAMPLES_SHOWN).astype(int))
    for sample in (samples[i] for i in chosen):
        for name, value in sample.items():
            text = f"{value:.1f}" if isinstance(value, float) else " ".join(str(value).split())
            console.say(f"  {name:>11}  {text[:MOST_CHARACTERS]}")
        console.say("")


def show_finished(folder: Path) -> dict[str, Any]:
    """Print the results of a finished run folder and return them."""
    results = read_json(folder / RESULTS)
    (seeds_table if "seeds" in results else scores_table)(results)
    return results
