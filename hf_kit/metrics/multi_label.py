"""Scores of a classifier that gives every row any number of labels."""

from collections.abc import Sequence

import evaluate
import numpy as np
from datasets import Features, List, Value

from hf_kit.metrics import decide, precision_recall_f1


class MultiLabelMetrics(evaluate.Metric):
    """`subset_accuracy`, `f1_macro`, `precision_macro`, `recall_macro` (also `_micro`, `_samples`) and `roc_auc`,
    equal to scikit-learn's.

    `compute(predictions=, references=)` takes probabilities [n, c] and 0/1 references [n, c]. A label is predicted
    where its probability reaches its threshold: `thresholds` is one for all labels, or one per label [c]. Where
    nothing is counted a score is 0, as with `zero_division=0`; so a row without labels that is rightly given none
    counts as 0 in the `_samples` averages, and as right in `subset_accuracy`. `roc_auc` is the mean over the labels
    that both occur and are absent in the rows, and left out if there is none. F1 of each label:
    `hf_kit.metrics.per_class_report`.
    """

    def __init__(self, thresholds: float | Sequence[float] = 0.5):
        self.thresholds = thresholds
        # In memory: the default writes an Arrow file into a cache folder that all processes share.
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        columns = {"predictions": List(Value("float64")), "references": List(Value("int64"))}
        return evaluate.MetricInfo(description=type(self).__doc__, citation="", features=Features(columns))

    def _compute(self, predictions: list, references: list) -> dict[str, float]:
        from sklearn.metrics import roc_auc_score

        probabilities, truth = np.array(predictions), np.array(references)
        answers = decide("multi_label_classification", probabilities, self.thresholds)  # [n, c]
        scores = {"subset_accuracy": (answers == truth).all(axis=1).mean()}
        for average, axis in (("macro", 0), ("micro", None), ("samples", 1)):
            precision, recall, f1 = (np.mean(values) for values in precision_recall_f1(truth, answers, axis))
            scores |= {f"f1_{average}": f1, f"precision_{average}": precision, f"recall_{average}": recall}
        both_values = np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0))
        if len(both_values):
            scores["roc_auc"] = np.mean([roc_auc_score(truth[:, i], probabilities[:, i]) for i in both_values])
        return {name: float(value) for name, value in scores.items()}
