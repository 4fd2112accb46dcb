"""The baselines are scikit-learn's models on n-grams that suit the language, scored like the model itself."""

import warnings

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from sklearn.multiclass import OneVsRestClassifier

from hf_kit import baselines
from hf_kit.baselines import mixed_ngrams, text_baselines, tfidf_vectorizer, unspaced_share

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
GOOD, BAD = "good great fine warm tasty".split(), "bad awful cold rude stale".split()


def reviews(rows: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Texts of six words, and in how many of the six the reviewer was pleased."""
    rng = np.random.default_rng(seed)
    pleased = rng.integers(0, 7, rows)
    texts = [" ".join([*rng.choice(GOOD, n), *rng.choice(BAD, 6 - n)]) for n in pleased]
    return texts, pleased


TRAIN, TRAIN_PLEASED = reviews(60, seed=0)
TEST, TEST_PLEASED = reviews(80, seed=1)


def tfidf(train=TRAIN, test=TEST):
    vectorizer = TfidfVectorizer(ngram_range=(1, 2))
    return vectorizer.fit_transform(train), vectorizer.transform(test)


def test_single_label_baselines_equal_scikit_learn_on_every_split():
    train, test = np.minimum(TRAIN_PLEASED // 2, 2), np.minimum(TEST_PLEASED // 2, 2)
    train[:12] = np.random.default_rng(2).integers(0, 3, 12)  # noise, so that no score is perfect
    features, rows = tfidf()
    model = LogisticRegression(C=10, max_iter=2000).fit(features, train)

    scores = text_baselines(
        SINGLE, TRAIN, train, {"validation": TRAIN, "test": TEST}, {"validation": train, "test": test}, 3
    )

    assert set(scores) == {"majority", "tfidf_logistic_regression"}
    linear, majority = scores["tfidf_logistic_regression"], scores["majority"]
    assert linear["validation"]["accuracy"] == accuracy_score(train, model.predict(features))
    assert 0.5 < linear["test"]["accuracy"] == accuracy_score(test, model.predict(rows)) < 1
    assert linear["test"]["roc_auc"] == pytest.approx(
        roc_auc_score(test, model.predict_proba(rows), multi_class="ovr"), abs=1e-9
    )
    assert majority["test"]["accuracy"] == np.mean(test == np.bincount(train).argmax())
    assert majority["test"]["roc_auc"] == 0.5


def test_a_label_without_training_rows_is_never_predicted_and_still_counted():
    train, test = (TRAIN_PLEASED > 3) * 2, TEST_PLEASED % 4  # ids 0 and 2 of a mapping of four labels
    scores = text_baselines(SINGLE, TRAIN, train, {"test": TEST}, {"test": test}, 4)
    features, rows = tfidf()
    answers = LogisticRegression(C=10, max_iter=2000).fit(features, train).predict(rows)
    assert scores["tfidf_logistic_regression"]["test"]["accuracy"] == accuracy_score(test, answers)
    assert scores["tfidf_logistic_regression"]["test"]["f1_macro"] == pytest.approx(
        f1_score(test, answers, labels=range(4), average="macro", zero_division=0)
    )
    assert scores["majority"]["test"]["accuracy"] == np.mean(test == np.bincount(train).argmax())
    assert scores["majority"]["test"]["roc_auc"] == 0.5


def test_training_rows_of_one_label_only_make_both_baselines_the_majority():
    scores = text_baselines(SINGLE, TRAIN, np.ones(60, dtype=int), {"test": TEST}, {"test": TEST_PLEASED > 3}, 2)
    assert scores["tfidf_logistic_regression"] == scores["majority"]
    assert scores["majority"]["test"]["accuracy"] == np.mean(TEST_PLEASED > 3)


def pleased_labels(pleased: np.ndarray) -> np.ndarray:
    return np.stack([pleased > 1, pleased > 4, pleased > -1, pleased > 9], axis=1).astype(np.float32)


def test_multi_label_baselines_are_the_frequent_value_and_one_model_per_label():
    train, test = pleased_labels(TRAIN_PLEASED), pleased_labels(TEST_PLEASED)
    scores = text_baselines(MULTI, TRAIN, train, {"test": TEST}, {"test": test}, 4)
    features, rows = tfidf()
    model = OneVsRestClassifier(LogisticRegression(C=10, max_iter=2000)).fit(features, train[:, :2].astype(int))
    answers = np.concatenate([model.predict(rows), np.tile([1, 0], (80, 1))], axis=1)

    linear, majority = scores["tfidf_logistic_regression"]["test"], scores["majority"]["test"]
    assert linear["f1_macro"] == pytest.approx(f1_score(test, answers, average="macro", zero_division=0))
    assert linear["roc_auc"] == pytest.approx(roc_auc_score(test[:, :2], model.predict_proba(rows)), abs=1e-9)
    assert majority["subset_accuracy"] == np.mean((test == [1, 0, 1, 0]).all(axis=1))


def test_multi_label_baselines_of_a_single_label():
    train, test = pleased_labels(TRAIN_PLEASED)[:, 1:2], pleased_labels(TEST_PLEASED)[:, 1:2]
    scores = text_baselines(MULTI, TRAIN, train, {"test": TEST}, {"test": test}, 1)
    assert scores["tfidf_logistic_regression"]["test"]["subset_accuracy"] > scores["majority"]["test"]["f1_macro"] == 0


def test_regression_baselines_equal_the_mean_and_scikit_learns_ridge():
    train, test = TRAIN_PLEASED.astype(np.float32), TEST_PLEASED.astype(np.float32)
    scores = text_baselines(REGRESSION, TRAIN, train, {"test": TEST}, {"test": test}, 1)
    features, rows = tfidf()
    answers = Ridge().fit(features, train).predict(rows)
    assert scores["tfidf_ridge"]["test"]["pearson"] == pytest.approx(np.corrcoef(answers, test)[0, 1], abs=1e-6)
    assert scores["mean"]["test"]["mae"] == pytest.approx(np.abs(test - train.mean()).mean(), abs=1e-6)
    assert "pearson" not in scores["mean"]["test"]


CHINESE = ["房间很干净，服务也好", "早餐太差，不会再来！"]


def test_the_ngrams_suit_the_language():
    assert tfidf_vectorizer(TRAIN).get_params()["ngram_range"] == (1, 2)
    assert tfidf_vectorizer(["a taste of 鼎 and of many other wonderful things"]).get_params()["analyzer"] == "word"
    chinese = tfidf_vectorizer([*CHINESE, "有wifi吗", "房间没有网络，非常不方便" * 10])
    assert (chinese.get_params()["analyzer"], chinese.get_params()["ngram_range"]) == ("char", (1, 3))
    assert tfidf_vectorizer([*CHINESE, "the room was clean"]).get_params()["analyzer"] is mixed_ngrams


def test_texts_without_words_are_cut_into_characters():
    scores = text_baselines(SINGLE, ["a +", "b -"], np.array([0, 1]), {"test": ["+", "-"]}, {"test": [0, 1]}, 2)
    assert scores["tfidf_logistic_regression"]["test"]["accuracy"] == 1.0


def test_unspaced_share_counts_letters_only_and_samples_all_over_the_rows():
    assert unspaced_share(["好 a, 12!"]) == 0.5
    assert unspaced_share(["123"]) == 0.0
    assert unspaced_share(["ab"] * 5000 + ["好坏"] * 5000) == pytest.approx(0.5, abs=0.01)


def test_mixed_ngrams_are_words_outside_and_characters_inside_chinese():
    assert mixed_ngrams("Buy 手机壳 a New-phone") == [
        *("buy", "new", "phone"),
        *("buy new", "new phone"),
        *("手", "机", "壳", "手机", "机壳", "手机壳"),
    ]
    assert mixed_ngrams("iPhone手机") == ["iphone", "手", "机", "手机"]


def test_no_convergence_is_said_once_in_plain_words(monkeypatch, capsys):
    monkeypatch.setattr(baselines, "MAX_ITER", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text_baselines(SINGLE, TRAIN, TRAIN_PLEASED, {"test": TEST}, {"test": TEST_PLEASED}, 7)
    assert "did not converge in 1 iterations" in capsys.readouterr().err
