"""From a model's logits to named scores: one plain function per question, with no network and no files.

`compute` is what `Trainer(compute_metrics=...)` and the baselines call, so that every score in a result table was made
by the same code. The scores themselves are `evaluate.Metric` subclasses in this folder (`single_label`, `multi_label`,
`regression`, `translation`), which can also be used alone or in `evaluate.combine([...])`. Different from
`evaluate.load("f1")`: nothing is downloaded, macro averages run over all labels of the mapping, and a score that is
undefined for these rows is left out instead of being reported as 0 or NaN.

Importing this module is cheap; `evaluate`, scikit-learn and scipy are imported at the first call.
Notation: n rows, c labels. `problem_type` is that of transformers' configurations.
"""

from collections.abc import Sequence

import numpy as np

from hf_kit.errors import UserError


def to_probabilities(problem_type: str, logits: np.ndarray) -> np.ndarray:
    """Softmax over labels (single-label) or a sigmoid of each label (multi-label), in float64; [n, c] -> [n, c].

    For regression the values themselves, [n] or [n, 1] -> [n]. Log-probabilities are valid logits, -inf included.
    """
    from scipy.special import expit, softmax

    logits = np.asarray(logits, dtype=np.float64)
    if problem_type == "single_label_classification":
        return softmax(logits, axis=-1)
    if problem_type == "multi_label_classification":
        return expit(logits)
    if problem_type == "regression":
        return logits.reshape(len(logits))  # [n]
    raise ValueError(f"no such problem_type: {problem_type!r}")


def decide(problem_type: str, probabilities: np.ndarray, thresholds: float | Sequence[float] = 0.5) -> np.ndarray:
    """The answer that goes with each row of `to_probabilities`.

    Single-label: the id of the most probable label, [n, c] -> [n]. Multi-label: 1 where the probability reaches the
    threshold (one for all labels or one per label, [c]), [n, c] -> [n, c]. Regression: the values, [n].
    """
    if problem_type == "single_label_classification":
        return probabilities.argmax(axis=-1)  # [n]
    if problem_type == "multi_label_classification":
        return (probabilities >= np.asarray(thresholds)).astype(np.int64)
    return probabilities


def compute(
    problem_type: str,
    logits: np.ndarray,
    labels: np.ndarray,
    num_labels: int,
    thresholds: float | Sequence[float] = 0.5,
) -> dict[str, float]:
    """All scores of a problem type.

    Args:
        problem_type: single_label_classification, multi_label_classification or regression.
        logits: [n, c] raw outputs or log-probabilities; [n] or [n, 1] for regression.
        labels: [n] label ids; [n, c] of 0 and 1 for multi-label; [n] or [n, 1] numbers for regression.
        num_labels: c, the size of the label mapping, which may be more than the labels seen in these rows.
        thresholds: multi-label only, see `decide`.

    Returns:
        Score name to value; see the class of the problem type for the names.

    Raises:
        UserError: there are no rows, or an output is not a number (a run that diverged).
    """
    if len(labels) == 0:
        raise UserError("there are no rows to score: the split is empty; give one with at least one row")
    scores = to_probabilities(problem_type, logits)  # [n, c], or [n] for regression
    broken = int(np.isnan(scores.reshape(len(scores), -1)).any(axis=1).sum())
    if broken:
        raise UserError(
            f"the model's output is not a number for {broken} of {len(scores)} rows: training has diverged; "
            "lower learning_rate, set max_grad_norm, or train in fp32"
        )
    labels = np.asarray(labels)
    if problem_type == "single_label_classification":
        from hf_kit.metrics.single_label import SingleLabelMetrics

        metric = SingleLabelMetrics(num_labels)
    elif problem_type == "multi_label_classification":
        from hf_kit.metrics.multi_label import MultiLabelMetrics

        metric = MultiLabelMetrics(thresholds)
    else:
        from hf_kit.metrics.regression import RegressionMetrics

        metric = RegressionMetrics()
        labels = labels.reshape(len(scores))  # [n]
    return metric.compute(predictions=scores, references=labels)


def per_class_report(
    problem_type: str,
    logits: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    thresholds: float | Sequence[float] = 0.5,
) -> list[tuple[str, float, float, float, int]]:
    """One row (name, precision, recall, f1, support) per label, in the order of `names`; arguments as for `compute`.

    Support is the number of rows that truly have the label. A label that is never predicted has precision 0, one that
    never occurs has recall 0.
    """
    answers = decide(problem_type, to_probabilities(problem_type, logits), thresholds)
    truth = np.asarray(labels).astype(np.int64)
    if problem_type == "single_label_classification":
        every_label = np.eye(len(names), dtype=np.int64)
        answers, truth = every_label[answers], every_label[truth]  # [n, c]
    columns = precision_recall_f1(truth, answers, axis=0)  # three of [c]
    support = truth.sum(axis=0)  # [c]
    return [(name, *(float(column[i]) for column in columns), int(support[i])) for i, name in enumerate(names)]


def precision_recall_f1(
    truth: np.ndarray, answers: np.ndarray, axis: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F1 of two [n, c] matrices of 0 and 1, counted along `axis`; 0 where nothing is counted.

    axis=0 gives one value per label, axis=1 one per row, None one for the whole matrix. Equal to scikit-learn's
    `precision_recall_fscore_support(zero_division=0)`, which takes a matrix of one column for a binary problem and
    would score its negatives as the label.
    """
    hits = (truth & answers).sum(axis=axis, dtype=np.float64)
    predicted, true = answers.sum(axis=axis), truth.sum(axis=axis)
    return (
        _divide(hits, predicted),
        _divide(hits, true),
        _divide(2 * hits, predicted + true),
    )


def _divide(counts: np.ndarray, totals: np.ndarray) -> np.ndarray:
    return np.divide(counts, totals, out=np.zeros_like(counts), where=np.asarray(totals) > 0)
