"""One run from flags to folder: what it writes, and what a second run does."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny import FAMILIES, reviews, sentence, write_csv

from hf_kit.cli import main
from hf_kit.trainer import KitTrainer

LSTM = ("--model_type=hf_kit_lstm", f"--config_overrides={json.dumps(FAMILIES['hf_kit_lstm'])}")
QUICK = ("--vocab_size=200", "--disable_tqdm=True", "--num_train_epochs=3")


@pytest.fixture
def csv_file(tmp_path):
    return write_csv(tmp_path / "reviews.csv", reviews(120))


def run(*flags: str) -> int:
    return main(["train", *LSTM, *QUICK, *flags])


def test_the_run_folder_holds_what_it_promises(csv_file, capsys):
    assert run("--train_file=reviews.csv", "--output_dir=out", "--seed=5") == 0
    out = Path("out")
    results = json.loads((out / "results.json").read_text())
    assert results["seed"] == 5
    assert set(results["baselines"]) == {"majority", "tfidf_logistic_regression"}
    for scores in (results["test"], results["validation"], results["baselines"]["majority"]["test"]):
        assert {"accuracy", "f1_macro", "matthews_correlation"} <= set(scores)
    facts = json.loads((out / "run.json").read_text())
    assert facts["task"] == "text_classification"
    assert facts["state"]["labels"]["names"] == ["bad", "good"]
    assert facts["state"]["columns"] == {"text": "text", "text_pair": None, "label": "label"}
    for name in results["figures"]:
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    assert {"confusion_matrix.png", "learning_curves.png"} <= {p.name for p in (out / "figures").iterdir()}
    names = {p.name for p in out.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "modeling_lstm.py", "recipe.yaml"} <= names
    assert not list(out.rglob("training_args.bin"))
    printed = capsys.readouterr().out
    assert "command line" in printed and "family: hf_kit_lstm" in printed and "accuracy" in printed


def test_the_written_recipe_reruns_the_experiment(csv_file):
    assert run("--train_file=reviews.csv", "--output_dir=first", "--learning_rate=3e-3") == 0
    recipe = yaml.safe_load(Path("first/recipe.yaml").read_text())
    assert recipe["learning_rate"] == 3e-3 and recipe["lr_scheduler_type"] == "linear"
    assert main(["train", "first/recipe.yaml", "--output_dir=second", "--disable_tqdm=True"]) == 0
    one, two = (json.loads(Path(f"{name}/run.json").read_text())["fingerprint"] for name in ("first", "second"))
    assert one == two
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            load_file("first/model.safetensors").values(), load_file("second/model.safetensors").values(), strict=True
        )
    )


def test_a_finished_run_is_shown_and_not_repeated(csv_file, capsys):
    flags = ("--train_file=reviews.csv", "--output_dir=out")
    assert run(*flags) == 0
    weights, written = Path("out/model.safetensors"), Path("out/model.safetensors").stat().st_mtime_ns
    capsys.readouterr()
    assert run(*flags, "--logging_steps=5") == 0
    assert "finished" in capsys.readouterr().out
    assert weights.stat().st_mtime_ns == written


@pytest.mark.parametrize("change", ["--learning_rate=9e-4", "--seed=9", "--train_file=other.csv"])
def test_another_run_in_the_folder_is_an_error_and_nothing_is_touched(csv_file, tmp_path, capsys, change):
    write_csv(tmp_path / "other.csv", reviews(100, seed=7))
    assert run("--train_file=reviews.csv", "--output_dir=out", "--baselines=False") == 0
    before = {p: p.stat().st_mtime_ns for p in Path("out").rglob("*")}
    flags = [change] if change.startswith("--train_file") else ["--train_file=reviews.csv", change]
    assert run(*flags, "--output_dir=out", "--baselines=False") == 1
    error = capsys.readouterr().err
    assert "another run" in error
    assert ("train rows" if "train_file" in change else change[2:].split("=")[0]) in error
    assert {p: p.stat().st_mtime_ns for p in Path("out").rglob("*")} == before


def test_a_folder_with_other_files_is_left_alone(csv_file, capsys):
    Path("out").mkdir()
    Path("out/thesis.txt").write_text("mine")
    assert run("--train_file=reviews.csv", "--output_dir=out") == 1
    assert "other files" in capsys.readouterr().err
    assert [p.name for p in Path("out").iterdir()] == ["thesis.txt"]


def test_without_a_folder_each_experiment_gets_its_own(csv_file):
    assert run("--train_file=reviews.csv", "--baselines=False") == 0
    assert run("--train_file=reviews.csv", "--baselines=False", "--seed=1") == 0
    assert len(list(Path("runs").glob("hf_kit_lstm-reviews-*"))) == 2


def test_a_folder_of_transformers_own_name_is_nobodys_business(csv_file, tmp_path):
    (tmp_path / "trainer_output").mkdir()
    (tmp_path / "trainer_output" / "mine.txt").touch()
    assert run("--train_file=reviews.csv", "--num_train_epochs=1", "--baselines=False") == 0


def test_early_stopping_stops_and_keeps_the_best(csv_file):
    flags = ("--train_file=reviews.csv", "--baselines=False", "--early_stopping_patience=1", "--learning_rate=1e-9")
    assert main(["train", *LSTM, "--vocab_size=200", "--disable_tqdm=True", *flags, "--output_dir=out"]) == 0
    training = json.loads(Path("out/results.json").read_text())["training"]
    assert training["epochs"] < 10 and training["best_step"] < training["steps"]


def rows_with_lists(count: int = 90) -> list[dict]:
    rng = np.random.default_rng(0)
    rows = []
    for text, label in reviews(count):
        rows.append({"text": text, "labels": [label] + (["long"] if len(text.split()) > 9 else [])})
        rng.shuffle(rows[-1]["labels"])
    return rows


def write_jsonl(path: str, rows: list[dict]) -> None:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_several_labels(capsys):
    write_jsonl("multi.jsonl", rows_with_lists())
    assert run("--train_file=multi.jsonl", "--output_dir=out", "--class_weights=balanced") == 0
    results = json.loads(Path("out/results.json").read_text())
    assert {"subset_accuracy", "f1_macro", "f1_micro"} <= set(results["test"])
    capsys.readouterr()
    assert main(["predict", "out", "a lovely film", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert set(answer["scores"]) == {"good", "bad", "long"} and isinstance(answer["labels"], list)


def test_pairs_and_regression(capsys):
    import random

    rng = random.Random(0)
    rows = [
        {"text": t, "text2": sentence(["lovely"], rng), "score": round(len(t.split()) / 3, 2)} for t, _ in reviews(90)
    ]
    write_jsonl("pairs.jsonl", rows)
    assert run("--train_file=pairs.jsonl", "--output_dir=out") == 0
    results = json.loads(Path("out/results.json").read_text())
    assert {"pearson", "spearmanr", "mae"} <= set(results["test"])
    assert set(results["baselines"]) == {"mean", "tfidf_ridge"}
    capsys.readouterr()
    assert main(["predict", "out", "a lovely film", "--text_pair", "a great film", "--json"]) == 0
    assert isinstance(json.loads(capsys.readouterr().out)["score"], float)
    assert main(["predict", "out", "a lovely film"]) == 1
    assert "pair" in capsys.readouterr().err


def test_an_unlabelled_test_set_is_predicted_not_scored(csv_file, tmp_path):
    write_csv(tmp_path / "blind.csv", [(text,) for text, _ in reviews(9, seed=3)], header=("text",))
    assert run("--train_file=reviews.csv", "--test_file=blind.csv", "--output_dir=out", "--baselines=False") == 0
    results = json.loads(Path("out/results.json").read_text())
    assert "test" not in results and "validation" in results
    lines = Path("out/predictions_test.jsonl").read_text().splitlines()
    assert len(lines) == 9 and set(json.loads(lines[0])) == {"label", "score", "scores"}


def test_predict_reads_files_and_keeps_the_order(csv_file, tmp_path, capsys, monkeypatch):
    assert run("--train_file=reviews.csv", "--output_dir=out", "--baselines=False") == 0
    texts = [text for text, _ in reviews(30, seed=4)]
    write_csv(tmp_path / "new.csv", [(text,) for text in texts], header=("text",))
    Path("new.txt").write_text("\n".join(texts))
    capsys.readouterr()
    printed = []
    for flags in (["--file=new.csv"], ["--file=new.txt"], texts):
        assert main(["predict", "out", *flags, "--json"]) == 0
        printed.append(capsys.readouterr().out)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(texts).encode())))
    assert main(["predict", "out", "--json"]) == 0
    assert {capsys.readouterr().out} == set(printed)
    answers = [json.loads(line) for line in printed[0].splitlines()]
    assert [answer["text"] for answer in answers] == texts
    for answer in answers[:4]:  # alone, a text gets what it got among the others
        assert main(["predict", "out", answer["text"], "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["score"] == pytest.approx(answer["score"], abs=1e-5)
    assert main(["predict", "out", "one line"]) == 0
    label, score, text = capsys.readouterr().out.rstrip("\n").split("\t")
    assert label in ("good", "bad") and 0 <= float(score) <= 1 and text == "one line"


def test_evaluating_the_runs_own_test_rows_gives_its_own_scores(csv_file, tmp_path, capsys):
    write_csv(tmp_path / "test.csv", reviews(40, seed=2))
    assert run("--train_file=reviews.csv", "--test_file=test.csv", "--output_dir=out", "--baselines=False") == 0
    capsys.readouterr()
    assert main(["evaluate", "out", "--test_file=test.csv", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert scores == pytest.approx(json.loads(Path("out/results.json").read_text())["test"], abs=1e-6)


def test_mistakes_with_finished_runs(csv_file, capsys):
    assert main(["predict", "nowhere/here/run", "x"]) == 1
    assert "nowhere/here/run" in capsys.readouterr().err
    assert main(["evaluate"]) == 1
    Path("half").mkdir()
    assert main(["predict", "half", "x"]) == 1
    assert "run.json" in capsys.readouterr().err
    assert main(["prediict", "half", "x"]) == 1
    assert "`predict`" in capsys.readouterr().err


def test_five_lines_of_a_notebook(csv_file):
    import hf_kit

    finished = hf_kit.train(
        "text_classification/lstm.yaml",
        train_file="reviews.csv",
        config_overrides=FAMILIES["hf_kit_lstm"],
        num_train_epochs=1,
        disable_tqdm=True,
        baselines=False,
    )
    assert 0 <= finished.results["test"]["accuracy"] <= 1
    assert finished.predict(["a lovely film"])[0]["label"] in ("good", "bad")
    assert hf_kit.load(str(finished.folder)).evaluate(test_file="reviews.csv")["rows"] == 120
    with pytest.raises(hf_kit.UserError):
        hf_kit.train("text_classification/lstm.yaml", learning_rat=1)


def test_tensorboard_gets_the_curves(csv_file):
    assert run("--train_file=reviews.csv", "--output_dir=out", "--baselines=False", "--report_to=tensorboard") == 0
    assert list(Path("out").rglob("events.out.tfevents*"))


def test_lora_mistakes_are_said_before_any_work(csv_file, capsys):
    assert run("--train_file=reviews.csv", "--use_peft", "--output_dir=out") == 1
    assert "fresh model" in capsys.readouterr().err
    assert not Path("out").exists()
    assert run("--train_file=reviews.csv", "--output_dir=base", "--baselines=False") == 0
    for flag in ("--use_dora", "--lora_dropout=0.1"):
        flags = ("--model_name_or_path=base", "--train_file=reviews.csv", "--use_peft", flag, "--output_dir=out")
        assert main(["train", *flags, *QUICK]) == 1
        assert flag[2:].split("=")[0] in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_score_that_does_not_exist_is_said_before_training(csv_file, capsys):
    assert run("--train_file=reviews.csv", "--metric_for_best_model=f1", "--output_dir=out") == 1
    error = capsys.readouterr().err
    assert "metric_for_best_model f1" in error and "f1_macro" in error
    assert not Path("out").exists()


def test_another_score_chooses_the_model(csv_file):
    flags = ("--train_file=reviews.csv", "--baselines=False", "--output_dir=out")
    assert run(*flags, "--metric_for_best_model=loss") == 0
    state = json.loads(next(Path("out").glob("checkpoint-*/trainer_state.json")).read_text())
    losses = [entry["eval_loss"] for entry in state["log_history"] if "eval_loss" in entry]
    assert state["best_metric"] == min(losses)


def test_no_validation_rows_no_choice(csv_file):
    flags = ("--validation_split_percentage=0", "--test_split_percentage=20", "--baselines=False")
    assert run("--train_file=reviews.csv", *flags, "--output_dir=out") == 0
    results = json.loads(Path("out/results.json").read_text())
    assert "test" in results and "validation" not in results
    assert main(["train", "out/recipe.yaml", "--output_dir=out"]) == 0  # the same run


def test_a_tokenizer_counts_by_its_contents(csv_file, tmp_path, capsys):
    flags = ("--train_file=reviews.csv", "--num_train_epochs=1", "--baselines=False")
    assert run(*flags, "--output_dir=first") == 0
    (tmp_path / "mine").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "mine" / name).write_bytes((tmp_path / "first" / name).read_bytes())
    assert run(*flags, "--tokenizer_name=mine", "--output_dir=out") == 0
    (tmp_path / "mine").rename("elsewhere")
    assert run(*flags, "--tokenizer_name=elsewhere", "--output_dir=out") == 0
    changed = json.loads(Path("elsewhere/tokenizer.json").read_text())
    changed["normalizer"]["lowercase"] = False
    Path("elsewhere/tokenizer.json").write_text(json.dumps(changed))
    capsys.readouterr()
    assert run(*flags, "--tokenizer_name=elsewhere", "--output_dir=out") == 1
    assert "another run (tokenizer_name" in capsys.readouterr().err


def test_the_same_rows_under_another_path_are_the_same_run(csv_file, capsys):
    assert run("--train_file=reviews.csv", "--output_dir=out", "--baselines=False") == 0
    Path("elsewhere").mkdir()
    Path("reviews.csv").rename("elsewhere/mine.csv")
    capsys.readouterr()
    assert run("--train_file=elsewhere/mine.csv", "--output_dir=out", "--baselines=False") == 0
    assert "finished" in capsys.readouterr().out


def test_accumulated_batches_train_the_same_model(csv_file):
    # In float32: in bf16 the sums of four small batches are rounded otherwise than those of one.
    flags = ("--train_file=reviews.csv", "--baselines=False", "--num_train_epochs=2", "--bf16=False")
    assert run(*flags, "--per_device_train_batch_size=16", "--output_dir=one") == 0
    assert run(*flags, "--per_device_train_batch_size=4", "--gradient_accumulation_steps=4", "--output_dir=four") == 0
    one, four = load_file("one/model.safetensors"), load_file("four/model.safetensors")
    assert max((one[name] - four[name]).abs().max() for name in one) < 1e-4


def test_a_score_undefined_in_an_epoch_does_not_end_the_run(tmp_path, capsys):
    rows = [{"text": text, "score": len(text) / 7} for text, _ in reviews(60)]
    write_jsonl("train.jsonl", rows)
    write_jsonl("same.jsonl", [row | {"score": 2.5} for row in rows[:10]])
    assert run("--train_file=train.jsonl", "--validation_file=same.jsonl", "--output_dir=out", "--baselines=False") == 0
    assert "pearson is undefined" in capsys.readouterr().err


def test_the_loss_of_a_split_does_not_depend_on_the_batch_size(csv_file):
    flags = ("--train_file=reviews.csv", "--baselines=False", '--class_weights={"good": 9}')
    losses = []
    for size in (2, 64):
        assert run(*flags, f"--per_device_eval_batch_size={size}", f"--output_dir=out{size}") == 0
        losses.append(json.loads(Path(f"out{size}/results.json").read_text())["test"]["loss"])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_evaluate_gives_the_runs_own_loss_with_smoothing_and_reads_other_columns(csv_file, tmp_path, capsys):
    import hf_kit

    write_csv(tmp_path / "test.csv", reviews(40, seed=2))
    write_csv(tmp_path / "named.csv", reviews(40, seed=2), header=("body", "mood"))
    flags = ("--train_file=reviews.csv", "--test_file=test.csv", "--label_smoothing_factor=0.4", "--baselines=False")
    assert run(*flags, "--output_dir=out") == 0
    finished = hf_kit.load("out")
    scored = finished.evaluate(test_file="named.csv", text_column="body", label_column="mood")
    assert scored["scores"] == pytest.approx(finished.results["test"], abs=1e-6)
    assert main(["evaluate", "out", "--test_file=test.csv", "--max_length=3"]) == 1
    assert "max_length" in capsys.readouterr().err


def test_standard_input_that_is_not_utf8_is_one_error(csv_file, monkeypatch, capsys):
    assert run("--train_file=reviews.csv", "--output_dir=out", "--baselines=False") == 0
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"fine\ncaf\xe9\n")))
    assert main(["predict", "out"]) == 1
    assert "line 2" in capsys.readouterr().err


def test_rows_cut_to_a_few_name_the_labels_that_are_gone(tmp_path, capsys):
    write_csv(tmp_path / "skewed.csv", reviews(100) + [(text, "rare") for text, _ in reviews(12, seed=9)])
    flags = ("--train_file=skewed.csv", "--max_train_samples=2", "--baselines=False", "--output_dir=out")
    assert run(*flags) == 0
    assert "no row with the label" in capsys.readouterr().out


def test_a_hidden_test_set_with_a_column_called_labels_is_predicted(csv_file):
    write_jsonl("multi.jsonl", rows_with_lists())
    write_jsonl("hidden.jsonl", [{"text": text, "labels": None} for text, _ in reviews(9, seed=3)])
    assert run("--train_file=multi.jsonl", "--test_file=hidden.jsonl", "--output_dir=out", "--baselines=False") == 0
    assert "test" not in json.loads(Path("out/results.json").read_text())
    assert len(Path("out/predictions_test.jsonl").read_text().splitlines()) == 9


def test_a_folder_of_splits_is_trained_on_and_evaluated(tmp_path, capsys):
    folder = tmp_path / "mine"
    folder.mkdir()
    write_csv(folder / "train.csv", reviews(80))
    write_csv(folder / "test.csv", reviews(20, seed=1))
    assert run("--dataset_name=mine", "--output_dir=out", "--baselines=False") == 0
    capsys.readouterr()
    assert main(["evaluate", "out", "--dataset_name=mine", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert scores == pytest.approx(json.loads(Path("out/results.json").read_text())["test"], abs=1e-6)


@pytest.fixture
def leaky_files(tmp_path):
    """100 training rows; 12 of the 40 test rows are among them, in other letters."""
    train, fresh = reviews(100), [row for row in reviews(60, seed=2) if row not in reviews(100)][:28]
    write_csv(tmp_path / "train.csv", train)
    write_csv(tmp_path / "test.csv", [(f" {text.upper()}", label) for text, label in train[:12]] + fresh)
    write_csv(tmp_path / "clean.csv", fresh)
    return ("--train_file=train.csv", "--test_file=test.csv", "--validation_split_percentage=0")


def test_rows_that_train_has_not_are_scored_alone_as_well(leaky_files, capsys):
    assert run(*leaky_files, "--output_dir=out") == 0
    printed = capsys.readouterr()
    assert printed.out.index("text also in train") < printed.out.index("Training")
    assert "12 of 40 test rows" in printed.err and "28 clean rows" in printed.out
    results = json.loads(Path("out/results.json").read_text())
    checks = results["data_checks"]["splits"]
    assert (checks["train"]["rows"], checks["test"]["rows"], checks["test"]["in_train"]) == (100, 40, 12)
    assert checks["train"]["labels"] == {"bad": 50, "good": 50} and checks["train"]["tokens"] > 500
    assert results["clean"]["rows"] == {"test": 28}
    assert set(results["clean"]["baselines"]) == set(results["baselines"]) == {"majority", "tfidf_logistic_regression"}
    assert set(results["baselines"]["majority"]) == {"test"}
    goods = sum("good" in line for line in Path("clean.csv").read_text().splitlines())
    assert results["clean"]["baselines"]["majority"]["test"]["accuracy"] in (goods / 28, 1 - goods / 28)
    for file, scores in (("clean.csv", results["clean"]["test"]), ("test.csv", results["test"])):
        assert main(["evaluate", "out", f"--test_file={file}", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["scores"] == pytest.approx(scores, abs=1e-6)
    assert run(*leaky_files, "--output_dir=out") == 0
    assert "28 clean rows" in capsys.readouterr().out


def test_without_the_leaks_there_is_one_score(leaky_files, capsys):
    assert run(*leaky_files, "--drop_leaks", "--output_dir=out") == 0
    printed = capsys.readouterr()
    assert "12 of 100 training rows left out" in printed.out and "also in train" not in printed.err
    results = json.loads(Path("out/results.json").read_text())
    assert results["data_checks"]["splits"]["train"]["rows"] == 88
    assert results["data_checks"]["splits"]["test"]["in_train"] == 0 and "clean" not in results
    assert "drop_leaks: true" in Path("out/recipe.yaml").read_text()


def test_a_trial_is_checked_on_the_rows_that_it_uses(leaky_files, tmp_path):
    write_csv(tmp_path / "train.csv", [(text, label) for text, label in reviews(100) for _ in range(2)])
    flags = (*leaky_files, "--max_train_samples=60", "--max_eval_samples=30", "--baselines=False")
    assert run(*flags, "--output_dir=out") == 0
    found = json.loads(Path("out/results.json").read_text())
    train, test = (found["data_checks"]["splits"][name] for name in ("train", "test"))
    assert (train["rows"], test["rows"]) == (60, 30) and 0 < train["repeated"] < 30
    assert 0 < test["in_train"] < 12 and found["clean"]["rows"]["test"] == 30 - test["in_train"]
    assert "baselines" not in found["clean"]


def test_odd_labels_are_said_before_training(tmp_path, capsys):
    rows = reviews(60) + [(text, "Good ") for text, _ in reviews(20, seed=3)] + [(reviews(60)[0][0], "bad")] * 2
    write_csv(tmp_path / "odd.csv", rows)
    assert run("--train_file=odd.csv", "--output_dir=out", "--baselines=False", "--max_length=4") == 0
    warned = capsys.readouterr().err
    assert "`Good`" in warned and "`good`" in warned and "write them as one" in warned
    assert "same text has two labels" in warned and "is good and bad" in warned
    assert "longer than 4 tokens" in warned
    assert json.loads(Path("out/results.json").read_text())["data_checks"]["similar_labels"] == [["Good", "good"]]


def test_several_seeds_have_a_mean_on_the_clean_rows_as_well(leaky_files, capsys):
    assert run(*leaky_files, "--num_seeds=2", "--seed=3", "--num_train_epochs=1", "--output_dir=out") == 0
    printed = capsys.readouterr()
    results = json.loads(Path("out/results.json").read_text())
    runs = [results["seeds"]["runs"][seed]["clean"]["test"]["accuracy"] for seed in ("3", "4")]
    assert results["clean"]["seeds"]["mean"]["test"]["accuracy"] == pytest.approx(sum(runs) / 2)
    assert printed.out.count("28 clean rows") == 3  # the mean's and two baselines'
    assert results["data_checks"]["splits"]["test"]["in_train"] == 12
    assert set(results["clean"]["baselines"]) == {"majority", "tfidf_logistic_regression"}


def test_tiny_numbers_are_zero_while_training_and_not_after(csv_file, monkeypatch):
    def tiny():
        return (torch.tensor([1e-20]) * torch.tensor([1e-20])).item()

    def note(trainer, *args, **kwargs):
        during.append(tiny())
        return step(trainer, *args, **kwargs)

    during, step = [], KitTrainer.training_step
    monkeypatch.setattr(KitTrainer, "training_step", note)
    assert tiny() > 0
    assert run("--train_file=reviews.csv", "--output_dir=out", "--max_steps=2") == 0
    assert during == [0, 0]
    assert tiny() > 0
