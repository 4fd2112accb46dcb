"""Scores of a classifier that gives every row exactly one label."""

import evaluate
import numpy as np
from datasets import Features, List, Value


class SingleLabelMetrics(evaluate.Metric):
    """`accuracy`, `f1_macro`, `precision_macro`, `recall_macro` (also `_micro`, `_weighted`), `matthews_correlation`
    and `roc_auc`, equal to scikit-learn's.

    `compute(predictions=, references=)` takes label ids [n] as references, and as predictions either probabilities
    [n, c] or label ids [n], as other metrics in an `evaluate.combine([...])` expect; ids give no `roc_auc`. Averages
    run over all `num_labels` labels: one that is neither predicted nor present counts as 0. `roc_auc` is that of
    label 1 for two labels, else the macro average of one label against the rest; it is undefined, and left out, when
    a label is missing from the rows.
    """

    def __init__(self, num_labels: int):
        self.num_labels = num_labels
        # In memory: the default writes an Arrow file into a cache folder that all processes share.
        super().__init__(keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        references = Value("int64")
        return evaluate.MetricInfo(
            description=type(self).__doc__,
            citation="",
            features=[
                Features({"predictions": List(Value("float64")), "references": references}),
                Features({"predictions": Value("int64"), "references": references}),
            ],
        )

    def _compute(self, predictions: list, references: list[int]) -> dict[str, float]:
        from sklearn.metrics import accuracy_score, matthews_corrcoef, precision_recall_fscore_support, roc_auc_score

        predictions, references = np.array(predictions), np.array(references)
        ids = predictions.argmax(axis=1) if predictions.ndim == 2 else predictions  # [n]
        every_label = range(self.num_labels)
        scores = {"accuracy": accuracy_score(references, ids)}
        for average in ("macro", "micro", "weighted"):
            precision, recall, f1, _ = precision_recall_fscore_support(
                references, ids, labels=every_label, average=average, zero_division=0
            )
            scores |= {f"f1_{average}": f1, f"precision_{average}": precision, f"recall_{average}": recall}
        # With one label in all the rows scikit-learn answers 0 as well, and warns about a shape that nobody asked for.
        one_label_only = len(np.union1d(references, ids)) == 1
        scores["matthews_correlation"] = 0.0 if one_label_only else matthews_corrcoef(references, ids)
        if predictions.ndim == 2 and len(np.unique(references)) == self.num_labels:
            if self.num_labels == 2:
                scores["roc_auc"] = roc_auc_score(references, predictions[:, 1])
            else:
                scores["roc_auc"] = roc_auc_score(references, predictions, multi_class="ovr", labels=every_label)
        return {name: float(value) for name, value in scores.items()}
