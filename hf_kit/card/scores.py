"""The scores of a run as a card names them: which ones, under what names, and who has the better one."""

import math
from dataclasses import dataclass
from typing import Any

from hf_kit.card.facts import Facts
from hf_kit.report import HEADLINE, SAME

# A score's name on the card, and the Hub's id of its metric (huggingface.co/metrics).
METRICS = {
    "accuracy": ("accuracy", "accuracy"),
    "subset_accuracy": ("exact match of all labels", "accuracy"),
    "f1_macro": ("macro F1", "f1"),
    "f1_micro": ("micro F1", "f1"),
    "f1_weighted": ("weighted F1", "f1"),
    "matthews_correlation": ("MCC", "matthews_correlation"),
    "roc_auc": ("ROC AUC", "roc_auc"),
    "pearson": ("Pearson correlation", "pearsonr"),
    "spearmanr": ("Spearman correlation", "spearmanr"),
    "mae": ("mean absolute error", "mae"),
    "mse": ("mean squared error", "mse"),
    "r2": ("R²", "r_squared"),
    "bleu": ("BLEU", "sacrebleu"),
    "chrf": ("chrF", "chrf"),
    "ter": ("TER", "ter"),
}
PERCENT = {"bleu", "chrf", "ter"}  # from 0 to 100, as sacrebleu gives them
BASELINES = {
    "majority": "majority class",
    "tfidf_logistic_regression": "TF-IDF + logistic regression",
    "mean": "mean of the training labels",
    "tfidf_ridge": "TF-IDF + ridge regression",
    "copy_source": "the source as it is",
    "nearest_training_sentence": "translation of the nearest training sentence",
}


def metric_name(metric: str) -> str:
    return METRICS.get(metric, (metric.replace("_", " "),))[0]


def baseline_name(name: str) -> str:
    return BASELINES.get(name, name.replace("_", " "))


def headline(scores: dict[str, float], first: str | None) -> list[str]:
    """The scores worth a column, the one that chose the model first; losses compare with no baseline."""
    names = [m for m in HEADLINE if m in scores and SAME.get(m) not in scores and m != "loss"]
    names = [first] * (first in scores and first not in names) + names
    return sorted((m for m in names if math.isfinite(scores[m])), key=lambda m: m != first)


def better(facts: Facts, metric: str, one: float, other: float) -> bool:
    """Whether the score `one` is better than `other`, or as good."""
    if metric == facts.metric and facts.setting("greater_is_better") is not None:
        greater = facts.setting("greater_is_better")
    else:
        greater = metric not in facts.task.lower_is_better
    return one >= other if greater else one <= other


@dataclass
class Verdict:
    """This model beside the baselines, by the score that chose it.

    Attributes:
        ours: of several seeds the mean; `sd` is None for one.
        rows: scored; the clean ones where some texts are in train as well.
        baselines: name to score.
        winners: the baselines that are as good or better, best first.
    """

    metric: str
    ours: float
    sd: float | None
    rows: int
    clean: bool
    baselines: dict[str, float]
    winners: list[str]


def verdict(facts: Facts) -> Verdict | None:
    """On the clean rows where not all are; None where nothing was scored by that metric."""
    split, metric, results = facts.split, facts.metric, facts.results
    if split is None:
        return None
    clean = split in results.get("clean", {})
    scope = results["clean"] if clean else results
    seeds = scope.get("seeds", {})
    ours = seeds.get("mean", scope).get(split, {}).get(metric)
    if ours is None:
        return None
    theirs = {
        name: own[split][metric] for name, own in scope.get("baselines", {}).items() if metric in own.get(split, {})
    }
    winners = [name for name, score in theirs.items() if better(facts, metric, score, ours)]
    return Verdict(
        metric=metric,
        ours=ours,
        sd=seeds.get("sd", {}).get(split, {}).get(metric),
        rows=number_of_rows(facts, split, clean=clean),
        clean=clean,
        baselines=theirs,
        winners=sorted(winners, key=lambda name: theirs[name], reverse=metric not in facts.task.lower_is_better),
    )


def number_of_rows(facts: Facts, split: str, *, clean: bool = False) -> int:
    return facts.results["clean"]["rows"][split] if clean else facts.checks[split]["rows"]


def score(metric: str, value: float) -> str:
    """Three places of a score, one of a percentage."""
    return f"{value:.1f}" if metric in PERCENT else number(float(value))


def number(value: Any) -> str:
    """Three places of a score, a count whole, nothing of nothing."""
    if isinstance(value, float):
        return f"{value:.3f}".replace("-0.000", "0.000")
    return f"{value:,}" if isinstance(value, int) else ""
