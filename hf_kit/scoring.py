"""Scores of a trained model and of the baselines on the same rows, with their figures."""

from pathlib import Path
from typing import Any

import numpy as np

from hf_kit import console, report, run_folder
from hf_kit.arguments import Arguments
from hf_kit.data import clean_rows
from hf_kit.tasks.task import Prepared, Task
from hf_kit.trainer import KitTrainer

# What Trainer reports beside the scores.
NOT_SCORES = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time")


def score(
    trainer: KitTrainer,
    task: Task,
    prepared: Prepared,
    inputs: dict[str, Any],
    arguments: Arguments,
    folder: Path,
) -> dict[str, Any]:
    """Scores of every labelled split, the baselines on the same rows, figures; predictions of an unlabelled test.

    Where inputs of a split are also in train, its other rows are scored alone as well, in the same form under `clean`,
    with their number in `clean["rows"]`; `clean` is absent where there are no such inputs.
    """
    training = arguments.training
    results: dict[str, Any] = {"seed": training.seed}
    figures = folder / "figures"
    rows = {name: split for name, split in prepared.splits().items() if name != "train"}
    labelled = {name: split for name, split in rows.items() if "labels" in split.column_names}
    final = "test" if "test" in labelled else "validation"
    masks = {name: clean_rows(prepared.keys, name) for name in labelled}  # [n] each
    clean = {name: np.flatnonzero(mask) for name, mask in masks.items() if mask.any() and not mask.all()}
    if clean:
        results["clean"] = {"rows": {name: len(own) for name, own in clean.items()}}
    if "validation" not in rows:
        task.tune_decision(None, None)
        task.configure(trainer.model.config)
    for name in rows:  # validation first: how outputs become answers is settled there, for all that follows
        output = trainer.predict(inputs[name], metric_key_prefix=name)
        if name == "validation":
            for note in task.tune_decision(output.predictions, output.label_ids):
                console.say(note)
            task.configure(trainer.model.config)
        if not console.is_main_process():
            continue
        if name not in labelled:
            path = folder / f"predictions_{name}.jsonl"
            run_folder.write_lines(path, task.decode(output.predictions))
            console.say(f"{name}: no labels; {len(rows[name]):,} predictions in {path}")
            continue
        results[name] = plain_scores(output.metrics, name)
        if name in clean:
            results["clean"][name] = trainer.scores_of(output, clean[name])
        for doubt in task.doubts(output.predictions, output.label_ids, name):
            console.warn(doubt)
        if name == final:
            figures.mkdir(exist_ok=True)
            columns, details = task.details(output.predictions, output.label_ids)
            if training.num_seeds == 1:  # of several runs one table is enough
                report.details_table(columns, details, name)
            if details:
                results["details"] = {"split": name, "columns": columns, "rows": details}
            samples = task.samples(output.predictions, output.label_ids, rows[name])
            if samples:
                run_folder.write_lines(folder / f"samples_{name}.jsonl", samples)
                report.samples(samples, name, folder / f"samples_{name}.jsonl")
            drawn = task.figures(output.predictions, output.label_ids, figures, rows[name], trainer.processing_class)
            results["figures"] = [str(path.relative_to(folder)) for path in drawn]
    if labelled and (signatures := task.signatures()):
        results["signatures"] = signatures
    if console.is_main_process():
        from hf_kit.figures import learning_curves_figure

        if trainer.state.log_history:
            figures.mkdir(exist_ok=True)
            learning_curves_figure(
                trainer.state.log_history,
                figures / "learning_curves.png",
                training.metric_for_best_model,
                training.greater_is_better,
            )
            results.setdefault("figures", []).append("figures/learning_curves.png")
        if training.baselines and labelled:
            console.say("baselines on the same rows ...")
            kept = {f"clean {name}": labelled[name].select(own) for name, own in clean.items()}
            scores = task.baselines(prepared.train, labelled | kept)
            results["baselines"] = {name: {part: own[part] for part in labelled} for name, own in scores.items()}
            if clean:
                results["clean"]["baselines"] = {
                    name: {part: own[f"clean {part}"] for part in clean} for name, own in scores.items()
                }
    return results


def plain_scores(metrics: dict[str, float], prefix: str) -> dict[str, float]:
    """Trainer's `<prefix>_<metric>` without the prefix and without its timings."""
    scores = {name.removeprefix(f"{prefix}_"): value for name, value in metrics.items()}
    return {name: value for name, value in scores.items() if name not in NOT_SCORES}
