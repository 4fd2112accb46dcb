"""Every score equals a direct call of scikit-learn or scipy on random rows; undefined scores are left out."""

import socket
import subprocess
import sys

import evaluate
import numpy as np
import pytest
from scipy.special import expit, softmax
from scipy.stats import pearsonr, spearmanr
from sklearn import metrics as sk

from hf_kit.errors import UserError
from hf_kit.metrics import compute, decide, per_class_report, to_probabilities
from hf_kit.metrics.multi_label import MultiLabelMetrics
from hf_kit.metrics.regression import RegressionMetrics
from hf_kit.metrics.single_label import SingleLabelMetrics

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"


def single_label_rows(num_labels: int, missing: int | None = None, seed: int = 0):
    """Logits [n, c] and labels [n]; label `missing` occurs neither in the rows nor in the predictions."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(200, num_labels)).astype(np.float32)
    present = [i for i in range(num_labels) if i != missing]
    if missing is not None:
        logits[:, missing] = -20
    return logits, rng.choice(present, size=200)


def multi_label_rows(num_labels: int = 5, seed: int = 0):
    """Logits and 0/1 labels [n, c]; label 3 never occurs, label 4 always does, the first rows have no label else."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(150, num_labels)).astype(np.float32)
    labels = (rng.random((150, num_labels)) < 0.3).astype(np.float32)
    labels[:10] = 0
    labels[:, 3:4], labels[:, 4:5] = 0, 1
    return logits, labels


@pytest.mark.parametrize(("num_labels", "missing"), [(2, None), (2, 1), (4, None), (4, 2)])
def test_single_label_scores_equal_scikit_learn(num_labels, missing):
    logits, labels = single_label_rows(num_labels, missing)
    probabilities = softmax(logits.astype(np.float64), axis=1)
    ids = logits.argmax(axis=1)
    expected = {"accuracy": sk.accuracy_score(labels, ids), "matthews_correlation": sk.matthews_corrcoef(labels, ids)}
    for average in ("macro", "micro", "weighted"):
        options = {"labels": range(num_labels), "average": average, "zero_division": 0}
        expected[f"f1_{average}"] = sk.f1_score(labels, ids, **options)
        expected[f"precision_{average}"] = sk.precision_score(labels, ids, **options)
        expected[f"recall_{average}"] = sk.recall_score(labels, ids, **options)
    if missing is None and num_labels == 2:
        expected["roc_auc"] = sk.roc_auc_score(labels, probabilities[:, 1])
    elif missing is None:
        expected["roc_auc"] = sk.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")

    scores = compute(SINGLE, logits, labels, num_labels)

    assert scores == pytest.approx(expected, abs=1e-12)
    assert all(type(value) is float for value in scores.values())


@pytest.mark.filterwarnings("error")
def test_rows_of_one_label_only_are_scored_without_warnings():
    scores = compute(SINGLE, np.eye(2)[[1, 1]], np.array([1, 1]), 2)
    assert (scores["accuracy"], scores["matthews_correlation"], scores["f1_macro"]) == (1.0, 0.0, 0.5)
    assert "roc_auc" not in scores


def test_macro_average_counts_a_label_that_is_missing_from_the_rows():
    perfect = np.eye(3)[[0, 1, 0, 1]] * 10
    assert compute(SINGLE, perfect, np.array([0, 1, 0, 1]), 3)["f1_macro"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("thresholds", [0.5, [0.3, 0.5, 0.6, 0.9, 0.2]])
def test_multi_label_scores_equal_scikit_learn(thresholds):
    logits, labels = multi_label_rows()
    probabilities = expit(logits.astype(np.float64))
    answers, truth = (probabilities >= np.asarray(thresholds)).astype(int), labels.astype(int)
    expected = {"subset_accuracy": sk.accuracy_score(truth, answers)}
    for average in ("macro", "micro", "samples"):
        options = {"average": average, "zero_division": 0}
        expected[f"f1_{average}"] = sk.f1_score(truth, answers, **options)
        expected[f"precision_{average}"] = sk.precision_score(truth, answers, **options)
        expected[f"recall_{average}"] = sk.recall_score(truth, answers, **options)
    expected["roc_auc"] = sk.roc_auc_score(truth[:, :3], probabilities[:, :3], average="macro")

    assert compute(MULTI, logits, labels, 5, thresholds) == pytest.approx(expected, abs=1e-12)


def test_multi_label_with_a_single_label_scores_that_label_and_not_its_absence():
    logits, labels = multi_label_rows(num_labels=1)
    scores = compute(MULTI, logits, labels, 1)
    assert scores["f1_macro"] == pytest.approx(sk.f1_score(labels[:, 0], logits[:, 0] >= 0))
    assert scores["roc_auc"] == pytest.approx(sk.roc_auc_score(labels[:, 0], logits[:, 0]))


def test_multi_label_roc_auc_is_left_out_when_no_label_has_both_values():
    scores = compute(MULTI, np.zeros((4, 2)), np.tile([0.0, 1.0], (4, 1)), 2)
    assert "roc_auc" not in scores
    assert scores["f1_macro"] == 0.5  # a probability that equals the threshold counts as predicted


def test_regression_scores_equal_scipy_and_scikit_learn():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=80).astype(np.float32)
    values = truth + rng.normal(size=80).astype(np.float32)
    expected = {
        "pearson": pearsonr(values.astype(float), truth.astype(float)).statistic,
        "spearmanr": spearmanr(values, truth).statistic,
        "mae": sk.mean_absolute_error(truth.astype(float), values),
        "mse": sk.mean_squared_error(truth.astype(float), values),
        "r2": sk.r2_score(truth.astype(float), values),
    }
    assert compute(REGRESSION, values[:, None], truth[:, None], 1) == pytest.approx(expected, abs=1e-6)
    assert compute(REGRESSION, values, truth, 1) == pytest.approx(expected, abs=1e-6)


def test_undefined_regression_scores_are_left_out():
    truth = np.array([1.0, 2.0, 4.0])
    assert set(compute(REGRESSION, np.full((3, 1), 2.0), truth, 1)) == {"mae", "mse", "r2"}
    assert set(compute(REGRESSION, truth, np.full(3, 2.0), 1)) == {"mae", "mse"}
    assert compute(REGRESSION, truth[:1], truth[:1], 1) == {"mae": 0.0, "mse": 0.0}


def test_log_probabilities_with_minus_infinity_are_valid_logits():
    with np.errstate(divide="ignore"):
        logits = np.log([[1.0, 0.0], [0.25, 0.75]])
    assert to_probabilities(SINGLE, logits) == pytest.approx(np.array([[1.0, 0.0], [0.25, 0.75]]))
    assert compute(SINGLE, logits, np.array([0, 1]), 2)["roc_auc"] == 1.0


def test_outputs_that_are_not_numbers_and_empty_splits_are_user_errors():
    logits, labels = single_label_rows(3)
    logits[7, 1] = np.nan
    with pytest.raises(UserError, match="1 of 200 rows: training has diverged"):
        compute(SINGLE, logits, labels, 3)
    with pytest.raises(UserError, match="no rows to score"):
        compute(SINGLE, logits[:0], labels[:0], 3)
    with pytest.raises(ValueError, match="no such problem_type: 'ranking'"):
        to_probabilities("ranking", logits)


def test_per_class_report_equals_scikit_learn_row_by_row():
    for problem_type, (logits, labels), num_labels in (
        (SINGLE, single_label_rows(4, missing=2), 4),
        (MULTI, multi_label_rows(), 5),
    ):
        names = [f"name {i}" for i in range(num_labels)]
        answers = decide(problem_type, to_probabilities(problem_type, logits))
        columns = sk.precision_recall_fscore_support(
            labels.astype(int), answers, labels=range(num_labels), zero_division=0
        )
        report = per_class_report(problem_type, logits, labels, names)
        assert [row[0] for row in report] == names
        assert np.array([row[1:] for row in report]) == pytest.approx(np.array(columns).T, abs=1e-12)
        assert type(report[0][4]) is int


def test_per_class_report_uses_the_thresholds():
    logits, labels = multi_label_rows()
    names = list("abcde")
    assert per_class_report(MULTI, logits, labels, names, [1.1] * 5)[0][3] == 0.0
    assert per_class_report(MULTI, logits, labels, names)[0][3] > 0.0


def test_metrics_combine_with_others_and_use_neither_network_nor_files(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise AssertionError("a metric opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", str(tmp_path / "cache"))
    logits, labels = single_label_rows(3)
    both = evaluate.combine({"a": SingleLabelMetrics(3), "b": SingleLabelMetrics(3)})
    for start in range(0, 200, 50):
        both.add_batch(predictions=softmax(logits, axis=1)[start : start + 50], references=labels[start : start + 50])
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    scores = both.compute()
    assert scores["a_accuracy"] == scores["b_accuracy"] == sk.accuracy_score(labels, logits.argmax(axis=1))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]

    probabilities, truth = np.array([[0.9, 0.2], [0.1, 0.7]]), np.array([[1, 0], [0, 1]])
    assert evaluate.combine([MultiLabelMetrics()]).compute(predictions=probabilities, references=truth)["roc_auc"] == 1
    assert evaluate.combine([RegressionMetrics()]).compute(predictions=[1.0, 2.0], references=[1.0, 3.0])["mae"] == 0.5


def test_label_ids_as_predictions_give_every_score_but_roc_auc():
    logits, labels = single_label_rows(3)
    metric = SingleLabelMetrics(3)
    from_ids = metric.compute(predictions=logits.argmax(axis=1), references=labels)
    from_probabilities = metric.compute(predictions=softmax(logits, axis=1), references=labels)
    assert from_probabilities.pop("roc_auc") > 0
    assert from_ids == from_probabilities


def test_importing_the_package_does_not_import_slow_libraries():
    code = "import sys, hf_kit.metrics; print(sorted({'evaluate', 'sklearn', 'scipy', 'datasets'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
