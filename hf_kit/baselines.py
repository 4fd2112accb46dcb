"""Simple models on the same rows: what a score must beat before it means anything.

Two for each problem type: the answer that ignores the input, and a linear model on TF-IDF counts (Wang and Manning,
"Baselines and Bigrams", ACL 2012, https://aclanthology.org/P12-2018, is the classic case for n-grams). Settings are
scikit-learn's defaults except C=10, which suits short texts, and are not tuned on the data. Every score comes from
`hf_kit.metrics.compute`, as the model's does. Different from scikit-learn's word tokens: text without spaces
between words is cut into characters.
"""

import re
import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_kit import console, metrics
from hf_kit.metrics.thresholds import tune_thresholds

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer

Scores = dict[str, dict[str, dict[str, float]]]

# Scripts that put no space between words: Japanese kana, and Chinese characters with their extensions.
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
MAX_ITER = 2000
MOST_IMAGES = 10_000  # that the pixels' linear model learns from: more take minutes and change little


def text_baselines(
    problem_type: str,
    train_texts: list[str],
    train_labels: np.ndarray,
    eval_texts: dict[str, list[str]],
    eval_labels: dict[str, np.ndarray],
    num_labels: int,
) -> Scores:
    """Fit the baselines on the training rows and score them on every split of `eval_texts`.

    Args:
        problem_type: single_label_classification, multi_label_classification or regression.
        train_texts: n texts; of pairs, the two joined.
        train_labels: [n] label ids, [n, c] of 0 and 1 for multi-label, [n] numbers for regression.
        eval_texts, eval_labels: split name to its texts and labels, as for training.
        num_labels: c, the size of the label mapping.

    Returns:
        Baseline name to split name to scores. `majority` gives every row the most frequent label (multi-label: each
        label its most frequent value), `tfidf_logistic_regression` is one multinomial model (multi-label: one binary
        model per label); for regression `mean` and `tfidf_ridge`.
    """
    fits = {
        "single_label_classification": {"majority": _majority, "tfidf_logistic_regression": _logistic_regression},
        "multi_label_classification": {"majority": _majority_per_label, "tfidf_logistic_regression": _one_vs_rest},
        "regression": {"mean": _mean, "tfidf_ridge": _ridge},
    }[problem_type]
    vectorizer = tfidf_vectorizer(train_texts)
    features = vectorizer.fit_transform(train_texts)  # [n, v]
    eval_features = {split: vectorizer.transform(texts) for split, texts in eval_texts.items()}
    return _scores(problem_type, fits, features, train_labels, eval_features, eval_labels, num_labels)


def image_baselines(
    problem_type: str,
    train_pixels: np.ndarray,
    train_labels: np.ndarray,
    eval_pixels: dict[str, np.ndarray],
    eval_labels: dict[str, np.ndarray],
    num_labels: int,
) -> Scores:
    """As `text_baselines`, of small grey pixels `[n, p]`: `pixels_logistic_regression`, `pixels_ridge`."""
    fits = {
        "single_label_classification": {"majority": _majority, "pixels_logistic_regression": _logistic_regression},
        "multi_label_classification": {"majority": _majority_per_label, "pixels_logistic_regression": _one_vs_rest},
        "regression": {"mean": _mean, "pixels_ridge": _ridge},
    }[problem_type]
    return _scores(problem_type, fits, train_pixels, train_labels, eval_pixels, eval_labels, num_labels)


def _scores(
    problem_type: str,
    fits: dict[str, Callable],
    features: Any,
    train_labels: np.ndarray,
    eval_features: dict[str, Any],
    eval_labels: dict[str, np.ndarray],
    num_labels: int,
) -> Scores:
    labels = np.asarray(train_labels)
    logits_of = {name: fit(features, labels, num_labels) for name, fit in fits.items()}
    scores: Scores = {}
    for name, logits in logits_of.items():
        outputs = {split: logits(eval_features[split]) for split in eval_features}
        thresholds: float | list[float] = 0.5
        if problem_type == "multi_label_classification" and "validation" in outputs:
            # Read as the model beside it is: at thresholds tuned on the validation rows.
            probabilities = metrics.to_probabilities(problem_type, outputs["validation"])
            thresholds = tune_thresholds(probabilities, eval_labels["validation"])
        scores[name] = {
            split: metrics.compute(problem_type, outputs[split], eval_labels[split], num_labels, thresholds)
            for split in eval_features
        }
    return scores


def tfidf_vectorizer(texts: list[str]) -> "TfidfVectorizer":
    """The n-grams that suit the language of `texts`, found from the share of Chinese and Japanese among the letters.

    Below 5 %: words, 1 to 2. Above 95 %: characters, 1 to 3. Between (a mixed corpus): both, each on the part of the
    text it suits, in one vocabulary. Texts that hold no word of two letters or digits are cut into characters.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    share = unspaced_share(texts)
    if share > 0.95 or not any(re.search(r"\w\w", text) for text in texts):
        return TfidfVectorizer(analyzer="char", ngram_range=(1, 3))
    if share < 0.05:
        return TfidfVectorizer(ngram_range=(1, 2))
    return TfidfVectorizer(analyzer=mixed_ngrams)


def unspaced_share(texts: list[str]) -> float:
    """Chinese and Japanese characters as a share (0 to 1) of all letters, in about 2,000 texts from all the rows."""
    sample = "".join(texts[:: max(1, len(texts) // 2000)])
    letters = len(re.findall(r"[^\W\d_]", sample))
    return len(re.findall(f"[{UNSPACED}]", sample)) / max(1, letters)


def mixed_ngrams(text: str) -> list[str]:
    """Word 1- to 2-grams outside, character 1- to 3-grams inside the runs of text without spaces; in lower case."""
    text = text.lower()
    words = re.findall(rf"[^\W{UNSPACED}]{{2,}}", text)
    pairs = [f"{first} {second}" for first, second in pairwise(words)]
    runs = re.findall(f"[{UNSPACED}]+", text)
    characters = [run[i : i + n] for run in runs for n in (1, 2, 3) for i in range(len(run) - n + 1)]
    return words + pairs + characters


# A fitted baseline: from features [n, v] to what `metrics.compute` takes as logits.
Logits = Callable[["csr_matrix"], np.ndarray]


def _majority(features: "csr_matrix", labels: np.ndarray, num_labels: int) -> Logits:
    with np.errstate(divide="ignore"):  # a label without rows: log 0 = -inf, a probability of 0
        log_frequency = np.log(np.bincount(labels, minlength=num_labels) / len(labels))  # [c]
    return lambda rows: np.tile(log_frequency, (rows.shape[0], 1))  # [n, c]


def _majority_per_label(features: "csr_matrix", labels: np.ndarray, num_labels: int) -> Logits:
    frequency = labels.mean(axis=0, dtype=np.float64)  # [c]
    with np.errstate(divide="ignore"):
        log_odds = np.log(frequency) - np.log1p(-frequency)  # [c]
    return lambda rows: np.tile(log_odds, (rows.shape[0], 1))  # [n, c]


def _mean(features: "csr_matrix", labels: np.ndarray, num_labels: int) -> Logits:
    return lambda rows: np.full(rows.shape[0], labels.mean(dtype=np.float64))  # [n]


def _logistic_regression(features: "csr_matrix", labels: np.ndarray, num_labels: int) -> Logits:
    if len(np.unique(labels)) == 1:
        return _majority(features, labels, num_labels)
    model = _fitted(features, labels)

    def logits(rows: "csr_matrix") -> np.ndarray:
        out = np.full((rows.shape[0], num_labels), -np.inf)  # [n, c]; stays so for labels without training rows
        out[:, model.classes_] = model.predict_log_proba(rows)
        return out

    return logits


def _one_vs_rest(features: "csr_matrix", labels: np.ndarray, num_labels: int) -> Logits:
    # Not OneVsRestClassifier: it takes a single label, [n, 1], for a problem of two classes.
    columns = []
    for i in range(num_labels):
        column = labels[:, i : i + 1]  # [n, 1]
        if len(np.unique(column)) == 1:
            columns.append(_majority_per_label(features, column, 1))
        else:
            columns.append(_fitted(features, column[:, 0]).decision_function)
    return lambda rows: np.column_stack([column(rows) for column in columns])  # [n, c]


def _ridge(features: "csr_matrix", labels: np.ndarray, num_labels: int) -> Logits:
    from sklearn.linear_model import Ridge

    return Ridge().fit(features, labels).predict


def _fitted(features: "csr_matrix", labels: np.ndarray) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        # Status 1, too few iterations, is said below in plainer words and on one process only.
        warnings.filterwarnings("ignore", message="lbfgs failed to converge.*status=1", category=ConvergenceWarning)
        model = LogisticRegression(C=10, max_iter=MAX_ITER).fit(features, labels)
    if model.n_iter_.max() >= MAX_ITER:
        console.warn(f"the linear baseline did not converge in {MAX_ITER} iterations: its scores may be too low")
    return model
