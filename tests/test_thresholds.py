"""Thresholds of several labels: tuned on validation rows, saved with the model, used by every command."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny import FAMILIES, reviews
from transformers import AutoConfig

from hf_kit.cli import main
from hf_kit.metrics import decide, precision_recall_f1
from hf_kit.metrics.thresholds import FEWEST, tune_thresholds


def brute_force(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """The best F1 that any threshold gives, one label."""
    best = 0.0
    for threshold in np.unique(probabilities):
        answers = (probabilities >= threshold).astype(int)
        best = max(best, float(precision_recall_f1(truth[:, None], answers[:, None], 0)[2][0]))
    return best


def test_each_label_gets_its_best_f1():
    rng = np.random.default_rng(0)
    truth = (rng.random((400, 5)) < [0.5, 0.3, 0.2, 0.1, 0.06]).astype(int)
    probabilities = np.clip(0.1 * truth + 0.12 * rng.random((400, 5)).round(2), 0, 1)  # many ties, all below one half
    thresholds = tune_thresholds(probabilities, truth)
    found = precision_recall_f1(truth, decide("multi_label_classification", probabilities, thresholds), 0)[2]
    assert found == pytest.approx([brute_force(probabilities[:, i], truth[:, i]) for i in range(5)])
    assert (decide("multi_label_classification", probabilities, 0.5) == 0).all()


def test_a_rare_label_shares_the_common_threshold():
    rng = np.random.default_rng(1)
    truth = (rng.random((300, 3)) < 0.4).astype(int)
    truth[:, 2] = 0
    truth[: FEWEST - 1, 2] = 1
    probabilities = np.where(truth == 1, 0.35, 0.1) + 0.1 * rng.random((300, 3))
    probabilities[: FEWEST - 1, 2] = 0.9  # alone it would settle far higher
    thresholds = tune_thresholds(probabilities, truth)
    assert 0.15 < thresholds[2] < 0.4


def test_thresholds_are_saved_with_the_model_and_used_by_every_command(capsys):
    texts = [text for text, _ in reviews(300)]
    rows = [
        {"text": t, "labels": [w for w in ("lovely", "the", "rude") if w in t.split()]} for t in texts
    ]  # rare, common and rare
    Path("multi.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = (
        "--model_type=hf_kit_lstm",
        f"--config_overrides={json.dumps(FAMILIES['hf_kit_lstm'])}",
        "--vocab_size=200",
        "--disable_tqdm=True",
        "--num_train_epochs=4",
        "--learning_rate=1e-2",
    )
    assert main(["train", *flags, "--train_file=multi.jsonl", "--output_dir=out"]) == 0
    assert "thresholds tuned on the validation rows" in capsys.readouterr().out
    thresholds = AutoConfig.from_pretrained("out").decision_thresholds
    assert len(thresholds) == 3 and all(0 < t < 1 for t in thresholds)
    results = json.loads(Path("out/results.json").read_text())
    assert main(["predict", "out", *texts[:40], "--json"]) == 0
    for line in capsys.readouterr().out.splitlines():
        answer = json.loads(line)
        expected = [n for (n, p), t in zip(answer["scores"].items(), thresholds, strict=True) if p >= t]
        assert answer["labels"] == expected
    # Scored again elsewhere, at the same thresholds: half of them differ from 0.5 by far.
    Path("again.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["evaluate", "out", "--test_file=again.jsonl", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    config = json.loads(Path("out/config.json").read_text())
    config["decision_thresholds"] = [0.999] * 3
    Path("out/config.json").write_text(json.dumps(config))
    assert main(["evaluate", "out", "--test_file=again.jsonl", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"]["f1_macro"] < scores["f1_macro"]
    assert results["validation"]["f1_macro"] > 0


def test_without_validation_rows_the_test_rows_tune_nothing(capsys):
    rows = [{"text": t, "labels": [w for w in ("lovely", "rude") if w in t.split()]} for t, _ in reviews(200)]
    Path("train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:120]))
    Path("test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[120:]))
    model = ("--model_type=hf_kit_lstm", f"--config_overrides={json.dumps(FAMILIES['hf_kit_lstm'])}")
    flags = ("--vocab_size=200", "--disable_tqdm=True", "--num_train_epochs=1", "--baselines=False")
    files = ("--train_file=train.jsonl", "--test_file=test.jsonl", "--validation_split_percentage=0")
    assert main(["train", *model, *flags, *files, "--output_dir=out"]) == 0
    results = json.loads(Path("out/results.json").read_text())
    per_label = [row[3] for row in results["details"]["rows"]]
    assert results["test"]["f1_macro"] == pytest.approx(np.mean(per_label))
    assert AutoConfig.from_pretrained("out").decision_thresholds == [0.5, 0.5]
    # As a model from before there were thresholds.
    config = json.loads(Path("out/config.json").read_text())
    del config["decision_thresholds"]
    Path("out/config.json").write_text(json.dumps(config))
    capsys.readouterr()
    assert main(["evaluate", "out", "--test_file=test.jsonl", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"]["f1_macro"] == results["test"]["f1_macro"]


def test_thresholds_of_a_checkpoint_are_not_those_of_what_it_learns_next(tmp_path):
    rows = [{"text": t, "labels": [w for w in ("lovely", "the", "rude") if w in t.split()]} for t, _ in reviews(120)]
    Path("multi.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("single.jsonl").write_text("".join(json.dumps({"text": t, "label": n}) + "\n" for t, n in reviews(120)))
    model = ("--model_type=hf_kit_lstm", f"--config_overrides={json.dumps(FAMILIES['hf_kit_lstm'])}")
    flags = ("--disable_tqdm=True", "--num_train_epochs=1", "--baselines=False")
    assert main(["train", *model, *flags, "--train_file=multi.jsonl", "--output_dir=multi"]) == 0
    assert main(["train", "--model_name_or_path=multi", *flags, "--train_file=single.jsonl", "--output_dir=one"]) == 0
    assert "decision_thresholds" not in json.loads(Path("one/config.json").read_text())


def test_skewed_classes_are_chosen_by_macro_f1_and_one_answer_for_all_is_a_warning(capsys):
    good = [(text, label) for text, label in reviews(200) if label == "good"]
    bad = [(text, label) for text, label in reviews(200) if label == "bad"][:24]
    lines = [json.dumps({"text": text, "label": label}) for text, label in good + bad]
    Path("skewed.jsonl").write_text("\n".join(lines))
    flags = (
        "--model_type=hf_kit_lstm",
        f"--config_overrides={json.dumps(FAMILIES['hf_kit_lstm'])}",
        "--vocab_size=200",
        "--disable_tqdm=True",
        "--num_train_epochs=4",
        "--learning_rate=1e-2",
        "--max_length=3",  # little to see: the frequent class is the best guess
        "--baselines=False",
    )
    assert main(["train", *flags, "--train_file=skewed.jsonl", "--output_dir=out"]) == 0
    printed = capsys.readouterr()
    assert "skewed classes" in printed.out and "f1_macro" in printed.out
    assert "rows are predicted `good`" in printed.err and "--class_weights balanced" in printed.err
    assert main(["evaluate", "out", "--test_file=skewed.jsonl"]) == 0
    assert "rows are predicted `good`" in capsys.readouterr().err
    asked = ("--metric_for_best_model=accuracy", "--output_dir=asked")
    assert main(["train", *flags, "--train_file=skewed.jsonl", *asked]) == 0
    assert "metric_for_best_model         accuracy" in capsys.readouterr().out
