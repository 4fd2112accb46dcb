"""The probability from which on a label is given, one per label, chosen on validation rows.

With rare labels a multi-label model is right to stay below one half almost always; read at 0.5 it answers nothing. The
threshold of each label is the one of greatest F1 on the validation rows ("SCut", Yang 2001, A study of thresholding
strategies for text categorization, doi:10.1145/383952.383975). A label with few validation rows would learn its
threshold from their noise (Fan and Lin 2007, A study on threshold selection for multi-label classification): it gets
the one threshold that is best for all labels together.
"""

import numpy as np

from hf_kit.metrics import precision_recall_f1

# Validation rows below which a label has no threshold of its own.
FEWEST = 10
# What the common threshold is looked for among.
GRID = np.round(np.arange(0.02, 0.99, 0.02), 2)


def tune_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> list[float]:
    """One threshold per label, `[c]`, each above 0 and below 1.

    Args:
        probabilities: [n, c].
        labels: [n, c] of 0 and 1.
    """
    truth = np.asarray(labels).astype(np.int64)
    macro = np.array([precision_recall_f1(truth, (probabilities >= t).astype(np.int64), 0)[2].mean() for t in GRID])
    equal = GRID[macro == macro.max()]
    common = float(equal[len(equal) // 2])  # in the middle, as far from the probabilities on both sides as can be
    return [
        _best_threshold(probabilities[:, i], truth[:, i]) if truth[:, i].sum() >= FEWEST else common
        for i in range(truth.shape[1])
    ]


def _best_threshold(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """The threshold of greatest F1 for one label: [n], [n] -> in the middle between two neighbouring probabilities."""
    order = np.argsort(-probabilities, kind="stable")
    ranked, hits = probabilities[order], np.cumsum(truth[order])  # [n], hits among the first k + 1 rows
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + truth.sum())
    below = np.append(ranked[1:], 0.0)
    f1[ranked == below] = -1.0  # no threshold parts rows of equal probability
    best = int(np.argmax(f1))
    return float(np.clip((ranked[best] + below[best]) / 2, 1e-6, 1 - 1e-6))
