"""What a classifier's outputs mean: the labels it answers, the scores of its answers, and what is odd about them.

Outputs are logits `[n, c]` (regression `[n, 1]`); labels are ids `[n]`, `[n, c]` of 0 and 1 for several labels, or
numbers `[n]`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from hf_kit import metrics
from hf_kit.data import LabelMapping
from hf_kit.metrics.thresholds import tune_thresholds

MULTI = "multi_label_classification"
SINGLE = "single_label_classification"
# The field of the model's configuration that keeps the thresholds.
CONFIG_FIELD = "decision_thresholds"


@dataclass
class Answers:
    """How outputs are read under one label mapping.

    Attributes:
        thresholds: for several labels the probability from which on each is answered, `[c]`; None until they are tuned.
    """

    mapping: LabelMapping
    thresholds: list[float] | None = None

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """As `metrics.decide`, at the tuned thresholds or one half."""
        return metrics.decide(self.mapping.problem_type, probabilities, self.thresholds or 0.5)

    def decode(self, outputs: np.ndarray) -> list[dict[str, Any]]:
        """Single label: `{"label", "score", "scores"}`; several: `{"labels", "scores"}`; regression: `{"score"}`."""
        names, problem = self.mapping.names, self.mapping.problem_type
        probabilities = metrics.to_probabilities(problem, outputs)  # [n, c]; regression: [n]
        decided = self.decide(probabilities)
        if problem == "regression":
            return [{"score": float(value)} for value in decided]
        answers = []
        for row, chosen in zip(probabilities, decided, strict=True):
            scores = {name: float(p) for name, p in zip(names, row, strict=True)}
            if problem == MULTI:
                answers.append({"labels": [n for n, c in zip(names, chosen, strict=True) if c], "scores": scores})
            else:
                answers.append({"label": names[chosen], "score": float(row[chosen]), "scores": scores})
        return answers

    def most_likely(self, output: np.ndarray) -> dict[str, Any]:
        """The label of the largest output of one row, `[1, c]`, and its score, as transformers' pipeline gives them."""
        values = metrics.to_probabilities(self.mapping.problem_type, output).reshape(-1)
        label = None if self.mapping.problem_type == "regression" else self.mapping.names[int(values.argmax())]
        return {"label": label, "score": float(values.max())}

    def scores(self, outputs: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """All scores; several labels are read at the best thresholds for these very rows until they are tuned."""
        thresholds = self.thresholds
        if thresholds is None and self.mapping.problem_type == MULTI:
            thresholds = tune_thresholds(metrics.to_probabilities(MULTI, outputs), labels)
        return metrics.compute(self.mapping.problem_type, outputs, labels, self.mapping.num_labels, thresholds or 0.5)

    def score_names(self) -> set[str]:
        """What `scores` may give."""
        # Made-up rows on which every score is defined.
        count, problem = self.mapping.num_labels, self.mapping.problem_type
        labels = {
            SINGLE: np.arange(count),
            MULTI: np.concatenate([np.eye(count), 1 - np.eye(count)]),
            "regression": np.arange(3.0),
        }[problem]
        outputs = np.eye(count) if problem == SINGLE else labels * 2.0 - 1
        return set(metrics.compute(problem, outputs, labels, count))

    def per_class(self, outputs: np.ndarray, labels: np.ndarray) -> list[tuple[str, float, float, float, int]]:
        """As `metrics.per_class_report`; none for regression."""
        problem = self.mapping.problem_type
        if problem == "regression":
            return []
        return metrics.per_class_report(problem, outputs, labels, self.mapping.names, self.thresholds or 0.5)

    def tune(self, outputs: np.ndarray | None, labels: np.ndarray | None) -> list[str]:
        """Settle the thresholds of several labels on these rows (the validation set's); notes for the user.

        Without rows they are one half: the rows that give the final score may not choose them.
        """
        if self.mapping.problem_type != MULTI:
            return []
        if outputs is None:
            self.thresholds = [0.5] * self.mapping.num_labels
            return []
        half = metrics.compute(MULTI, outputs, labels, self.mapping.num_labels, 0.5)["f1_macro"]
        self.thresholds = tune_thresholds(metrics.to_probabilities(MULTI, outputs), labels)
        tuned = self.scores(outputs, labels)["f1_macro"]
        return [
            f"thresholds tuned on the validation rows: {min(self.thresholds):.2f} to {max(self.thresholds):.2f}; "
            f"macro-F1 there {tuned:.4f}, at 0.5 {half:.4f}"
        ]

    def doubts(self, outputs: np.ndarray, labels: np.ndarray, name: str, noun: str = "text") -> list[str]:
        """One answer for all rows of split `name`, although they differ: a score such as accuracy can hide it.

        Args:
            noun: what one input is called.
        """
        problem = self.mapping.problem_type
        if problem == "regression" or len(np.unique(labels, axis=0)) == 1:
            return []
        answers = np.unique(self.decide(metrics.to_probabilities(problem, outputs)), axis=0)
        if len(answers) > 1:
            return []
        if problem == SINGLE:
            given = f"`{self.mapping.names[int(answers[0])]}`"
        else:
            names = [f"`{n}`" for n, chosen in zip(self.mapping.names, answers[0], strict=True) if chosen]
            given = ", ".join(names) or "no label"
        return [
            f"{name}: all {len(labels):,} rows are predicted {given}, whatever their {noun}: try another "
            "--learning_rate, more --num_train_epochs, or --class_weights balanced"
        ]
