"""Scores of translations equal direct calls of sacrebleu, with the tokens that the target language needs."""

import socket
import subprocess
import sys

import evaluate
import pytest
from sacrebleu.metrics import BLEU, CHRF, TER

import hf_kit.metrics.translation as translation
from hf_kit.errors import UserError
from hf_kit.metrics.translation import TranslationMetrics, bleu_tokenizer

CHINESE = ["我喜欢吃苹果。", "他向那位女士问好。", "", "A股今天上涨了3.5%，真好！"]
CHINESE_ANSWERS = ["我喜欢苹果。", "", "多出来的", "今天A股涨了3.5%，好！"]
ENGLISH = ["I like to eat apples.", "He said hello to the woman.", "", "It's 3.5% up today, isn't it?"]
ENGLISH_ANSWERS = ["I like apples.", "", "too much", "Today it's up 3.5%, is it not?"]


@pytest.mark.parametrize("code", ["zh", "zh_CN", "zho_Hans", "ZH-TW", "cmn_Hant", None, "en", "en_XX", "deu_Latn"])
def test_scores_and_signatures_equal_sacrebleus(code):
    chinese = code is not None and code.lower()[:2] in ("zh", "cm")
    references, answers = (CHINESE, CHINESE_ANSWERS) if chinese else (ENGLISH, ENGLISH_ANSWERS)
    scorers = {
        "bleu": BLEU(tokenize="zh" if chinese else "13a"),
        "chrf": CHRF(),
        "ter": TER(normalized=chinese, asian_support=chinese),
    }
    metric = TranslationMetrics(code)

    before = metric.signatures()
    scores = metric.compute(predictions=answers, references=references)

    assert scores == {name: scorer.corpus_score(answers, [references]).score for name, scorer in scorers.items()}
    assert all(type(value) is float for value in scores.values()) and min(scores.values()) > 5
    assert before == metric.signatures() == {name: str(s.get_signature()) for name, s in scorers.items()}
    assert metric.sentence_scores(answers, references) == [
        CHRF().sentence_score(a, [r]).score for a, r in zip(answers, references, strict=True)
    ]


def test_chinese_is_scored_in_characters_and_not_in_sentences():
    one_off = ["我喜欢吃苹菓。"]
    scores = TranslationMetrics("zh").compute(predictions=one_off, references=CHINESE[:1])
    assert scores["ter"] == pytest.approx(100 / 7) and scores["bleu"] > 40
    assert TranslationMetrics("en").compute(predictions=one_off, references=CHINESE[:1])["ter"] == 100


def test_the_same_texts_score_100_and_empty_answers_0():
    for code, references in (("zh", CHINESE), ("en", ENGLISH)):
        metric = TranslationMetrics(code)
        assert metric.compute(predictions=references, references=references) == pytest.approx(
            {"bleu": 100, "chrf": 100, "ter": 0}
        )
        assert metric.compute(predictions=[""] * 4, references=references) == {"bleu": 0, "chrf": 0, "ter": 100}
        assert metric.compute(predictions=[""], references=[""]) == {"bleu": 0, "chrf": 0, "ter": 0}


@pytest.mark.parametrize(
    ("code", "installed", "expected"),
    [
        ("ja", True, "ja-mecab"),
        ("ja_XX", False, "char"),
        ("jpn_Jpan", True, "ja-mecab"),
        ("ko", False, "char"),
        ("kor_Hang", True, "ko-mecab"),
        ("th", True, "char"),
        ("khm_Khmr", False, "char"),
        ("my_MM", True, "char"),
        ("lao_Laoo", True, "char"),
        ("yue_Hant", False, "zh"),
        ("ms", True, "13a"),
        ("", True, "13a"),
        (None, True, "13a"),
    ],
)
def test_the_tokenizer_of_a_language(monkeypatch, code, installed, expected):
    monkeypatch.setattr(translation.importlib.util, "find_spec", lambda name: object() if installed else None)
    assert bleu_tokenizer(code) == expected


def test_every_language_without_its_packages_can_be_scored(monkeypatch):
    monkeypatch.setattr(translation.importlib.util, "find_spec", lambda name: None)
    for code, text in (("ja", "これはペンです。"), ("ko", "나는 학교에 갑니다."), ("th", "ฉันรักเธอ")):
        metric = TranslationMetrics(code)
        assert metric.compute(predictions=[text], references=[text])["bleu"] == pytest.approx(100)
        assert "tok:char" in metric.signatures()["bleu"]
        assert ("asian:yes" in metric.signatures()["ter"]) is (code != "th")


def test_no_rows_and_lists_of_two_lengths_are_errors():
    with pytest.raises(UserError, match="no rows to score"):
        TranslationMetrics("zh").compute(predictions=[], references=[])
    with pytest.raises(ValueError):
        TranslationMetrics("zh").compute(predictions=["a"], references=["a", "b"])


def test_texts_that_look_tokenized_are_scored_in_silence(caplog):
    TranslationMetrics("en").compute(predictions=["a b ."] * 200, references=["a b ."] * 200)
    assert not caplog.records


def test_translation_scores_combine_with_others_and_need_no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a metric opened a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    both = evaluate.combine({"zh": TranslationMetrics("zh"), "en": TranslationMetrics("en")})
    for start in (0, 2):
        both.add_batch(predictions=CHINESE_ANSWERS[start : start + 2], references=CHINESE[start : start + 2])
    scores = both.compute()
    assert scores["zh_chrf"] == scores["en_chrf"] and scores["zh_bleu"] > scores["en_bleu"]


def test_importing_the_metrics_does_not_import_sacrebleu():
    code = "import sys, hf_kit.metrics, hf_kit.metrics.translation; print('sacrebleu' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
