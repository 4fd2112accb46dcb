"""Translations without a model: what a score must beat before it means anything.

The source itself, which is right where names and numbers are all there is, and the translation of the training
sentence that is most like the source, which is what a memory of translations offers and what a model that has only
learnt its training rows by heart would give. Every score comes from `hf_kit.metrics.translation`, as the model's does.
"""

import numpy as np

from hf_kit.baselines import Scores, tfidf_vectorizer
from hf_kit.metrics.translation import TranslationMetrics

MOST_CELLS = 4_000_000  # of the table of likenesses that is held at a time


def translation_baselines(
    train_sources: list[str],
    train_targets: list[str],
    eval_sources: dict[str, list[str]],
    eval_targets: dict[str, list[str]],
    target_lang: str | None,
) -> Scores:
    """Score both baselines on every split of `eval_sources`.

    Args:
        train_sources, train_targets: n texts and their translations.
        eval_sources, eval_targets: split name to its texts and their translations.
        target_lang: the language of the translations, as for `TranslationMetrics`.

    Returns:
        Baseline name to split name to `bleu`, `chrf` and `ter`: `copy_source` and `nearest_training_sentence`.

    Raises:
        UserError: a split has no rows.
    """
    nearest = nearest_rows(train_sources, eval_sources)
    answers = {
        "copy_source": eval_sources,
        "nearest_training_sentence": {split: [train_targets[row] for row in rows] for split, rows in nearest.items()},
    }
    metric = TranslationMetrics(target_lang)
    return {
        name: {split: metric.compute(predictions=texts, references=eval_targets[split]) for split, texts in of.items()}
        for name, of in answers.items()
    }


def nearest_rows(train_texts: list[str], eval_texts: dict[str, list[str]]) -> dict[str, np.ndarray]:
    """Split name to [m] rows of `train_texts`: the most alike by the cosine of TF-IDF counts, of several the first.

    The n-grams are those of `tfidf_vectorizer`. A text that shares none with any training text gets the first row.
    """
    vectorizer = tfidf_vectorizer(train_texts)
    features = vectorizer.fit_transform(train_texts).T.tocsr()  # [v, n]
    step = max(1, MOST_CELLS // len(train_texts))  # texts at a time
    nearest = {}
    for split, texts in eval_texts.items():
        rows = [
            (vectorizer.transform(texts[start : start + step]) @ features).toarray().argmax(axis=1)  # [step]
            for start in range(0, len(texts), step)
        ]
        nearest[split] = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)  # [m]
    return nearest
