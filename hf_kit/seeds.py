"""One experiment with several seeds: mean and standard deviation, and the best run kept.

A single run's score holds luck (Reimers and Gurevych 2017, Reporting score distributions makes a difference,
aclanthology.org/D17-1035): order of the rows, fresh weights, dropout. The best of n runs is a choice, so its own score
flatters; the mean is what another training would get.
"""

import copy
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hf_kit import console
from hf_kit.arguments import Arguments
from hf_kit.run_folder import RESULTS, read_json

Results = dict[str, Any]


def train_each(arguments: Arguments, folder: Path, train_one: Callable[[Arguments, Path], Results]) -> Results:
    """Train once per seed in `folder/seed-<n>` and keep the best in `folder`.

    Seeds are `--seed` and the `--num_seeds - 1` numbers after it. One that is finished is not trained again. Baselines
    depend on no seed and are scored with the first one. Of the other seeds, results and figures stay.

    Args:
        train_one: trains with these arguments into this folder and gives the results.

    Returns:
        The best run's results with `seeds` beside them: every run's scores, their mean and standard deviation. Whole
        on the main process only.
    """
    training = arguments.training
    runs: dict[int, Results] = {}
    for number, seed in enumerate(range(training.seed, training.seed + training.num_seeds), 1):
        console.heading(f"Seed {seed} ({number} of {training.num_seeds})")
        own = folder / f"seed-{seed}"
        results = read_json(own / RESULTS)
        if results is None:
            one = copy.copy(arguments)
            one.training = copy.copy(training)
            one.training.seed, one.training.output_dir = seed, str(own)
            one.training.baselines = training.baselines and number == 1
            results = train_one(one, own)
        else:
            console.say("finished before")
        runs[seed] = results
    if not console.is_main_process():
        return runs[training.seed]
    combined = combine(runs, training.metric_for_best_model, training.greater_is_better)
    _keep(combined["seed"], list(runs), folder)
    return combined


def combine(runs: dict[int, Results], metric: str, greater_is_better: bool) -> Results:
    """The best run's results, and under `seeds` what all runs say together.

    The best is that of the best validation score; one whose score is undefined (a correlation of constant answers) is
    not it. Where no seed has the score, without validation rows say, nothing may choose (test rows must not), and the
    first seed is kept.
    """
    scores = {seed: run["validation"][metric] for seed, run in runs.items() if metric in run.get("validation", {})}
    chosen_by = f"validation {metric}" if scores else None
    best = (max if greater_is_better else min)(scores, key=scores.get) if scores else next(iter(runs))
    kept = [part for part in ("validation", "test", "clean", "training") if part in runs[best]]
    combined = dict(runs[best]) | {
        "seeds": {
            "best": best,
            "chosen_by": chosen_by,
            "runs": {str(s): {k: run[k] for k in kept} for s, run in runs.items()},
            **_mean_and_sd(list(runs.values())),
        }
    }
    if "clean" in combined:  # the rows are the same with every seed
        cleans = [run["clean"] for run in runs.values()]
        combined["clean"] = _first_baselines(cleans) | combined["clean"] | {"seeds": _mean_and_sd(cleans)}
    return combined | _first_baselines(list(runs.values()))


def _mean_and_sd(runs: list[Results]) -> dict[str, dict]:
    """`{"mean": {split: {metric: value}}, "sd": ...}` of the scores that all runs have."""
    mean, sd = {}, {}
    for split in [split for split in ("validation", "test") if split in runs[0]]:
        names = [name for name in runs[0][split] if all(name in run[split] for run in runs)]
        values = {name: [run[split][name] for run in runs] for name in names}
        mean[split] = {name: statistics.fmean(v) for name, v in values.items()}
        sd[split] = {name: statistics.stdev(v) for name, v in values.items()}
    return {"mean": mean, "sd": sd}


def _first_baselines(runs: list[Results]) -> Results:
    """The baselines of the run that has them; they depend on no seed."""
    return next(({"baselines": run["baselines"]} for run in runs if "baselines" in run), {})


def _keep(best: int, seeds: list[int], folder: Path) -> None:
    """Move the best run's files up into `folder`; of the others only results and figures stay."""
    for seed in seeds:
        for path in (folder / f"seed-{seed}").iterdir():
            if seed == best and path.name != RESULTS:
                path.replace(folder / path.name)
            elif path.name not in (RESULTS, "figures"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
