"""The baselines of translation: the source as it is, and the translation of the most similar training sentence."""

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity

import hf_kit.translation_baselines as translation_baselines
from hf_kit.baselines import tfidf_vectorizer
from hf_kit.errors import UserError
from hf_kit.metrics.translation import TranslationMetrics
from hf_kit.translation_baselines import nearest_rows

EN = ["May I come in?", "We aren't afraid of death.", "The apple is red.", "The apple is red.", "He said hello."]
ZH = ["我可以进来吗？", "我们不怕死。", "苹果是红色的。", "这个苹果红。", "他问了好。"]


def test_scores_are_those_of_the_source_and_of_the_nearest_sentences_translation():
    sources = {"validation": ["They aren't afraid of death."], "test": ["The red apple is good.", "GPT-4"]}
    targets = {"validation": ["他们不怕死。"], "test": ["红苹果好。", "GPT-4"]}
    scores = translation_baselines.translation_baselines(EN, ZH, sources, targets, "zh")

    metric = TranslationMetrics("zh")
    of_source = {s: metric.compute(predictions=sources[s], references=targets[s]) for s in sources}
    nearest = {"validation": [ZH[1]], "test": [ZH[2], ZH[0]]}
    of_nearest = {s: metric.compute(predictions=nearest[s], references=targets[s]) for s in sources}
    assert scores == {"copy_source": of_source, "nearest_training_sentence": of_nearest}
    assert scores["nearest_training_sentence"]["validation"]["bleu"] > 50 > of_source["validation"]["bleu"]


def random_texts(letters: list[str], between: str, rows: int, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [between.join(rng.choice(letters, size=rng.integers(1, 5))) for _ in range(rows)]


@pytest.mark.parametrize(
    ("letters", "between"),
    [(["red", "apple", "good", "hello", "man", "I"], " "), (list("我们不怕死苹果红好"), "")],
)
@pytest.mark.parametrize("most_cells", [1, 250, 10**9])
def test_the_nearest_row_is_the_first_of_the_greatest_cosine_in_chunks_of_any_size(
    monkeypatch, letters, between, most_cells
):
    monkeypatch.setattr(translation_baselines, "MOST_CELLS", most_cells)
    train, test = random_texts(letters, between, 120, 0), random_texts(letters, between, 30, 1)
    vectorizer = tfidf_vectorizer(train)
    alike = cosine_similarity(vectorizer.fit_transform(train), vectorizer.transform(test))  # [n, m]

    rows = nearest_rows(train, {"test": test, "again": test[:7]})

    assert len(rows["test"]) == 30 and rows["again"].tolist() == rows["test"][:7].tolist()
    for column, row in zip(alike.T, rows["test"], strict=True):
        assert column[row] == pytest.approx(column.max(), abs=1e-12)
        assert row == train.index(train[row])


def test_a_text_that_is_like_none_gets_the_first_row():
    assert nearest_rows(EN, {"test": ["", "zzz", "hello"]})["test"].tolist() == [0, 0, 4]


def test_a_split_without_rows_is_an_error():
    with pytest.raises(UserError, match="no rows to score"):
        translation_baselines.translation_baselines(EN, ZH, {"test": []}, {"test": []}, "zh")
