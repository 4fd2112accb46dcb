"""Several seeds: mean and deviation, one table, the best run kept and said to be the best of n."""

import json
import statistics
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import FAMILIES, reviews, write_csv

from hf_kit.cli import main
from hf_kit.seeds import combine

FLAGS = (
    "--model_type=hf_kit_lstm",
    f"--config_overrides={json.dumps(FAMILIES['hf_kit_lstm'])}",
    "--vocab_size=200",
    "--disable_tqdm=True",
    "--num_train_epochs=2",
    "--train_file=reviews.csv",
    "--test_split_percentage=30",
)


@pytest.fixture(autouse=True)
def rows(tmp_path):
    write_csv(tmp_path / "reviews.csv", reviews(120))


def test_three_seeds_are_three_runs_and_the_best_is_kept(capsys):
    assert main(["train", *FLAGS, "--num_seeds=3", "--seed=5", "--output_dir=out"]) == 0
    printed = capsys.readouterr().out
    assert "mean ± sd of 3" in printed and "the best of 3 by validation accuracy" in printed
    results = json.loads(Path("out/results.json").read_text())
    seeds = results["seeds"]
    assert list(seeds["runs"]) == ["5", "6", "7"]
    losses = [run["test"]["loss"] for run in seeds["runs"].values()]
    assert len(set(losses)) == 3
    assert seeds["mean"]["test"]["loss"] == pytest.approx(statistics.fmean(losses))
    assert seeds["sd"]["test"]["loss"] == pytest.approx(statistics.stdev(losses))
    best = max(seeds["runs"].values(), key=lambda run: run["validation"]["accuracy"])
    assert results["test"] == seeds["runs"][str(results["seed"])]["test"] == best["test"]
    assert set(results["baselines"]) == {"majority", "tfidf_logistic_regression"}
    # The kept model is that seed's own, as if it had been trained alone; of the others the results stay.
    assert len(list(Path("out").rglob("model.safetensors"))) == 1 + len(list(Path("out").glob("checkpoint-*")))
    assert len(list(Path("out").glob("seed-*/results.json"))) == 3
    kept = str(results["seed"])
    assert main(["train", *FLAGS, f"--seed={kept}", "--output_dir=alone"]) == 0
    one, alone = load_file("out/model.safetensors"), load_file("alone/model.safetensors")
    assert all(torch.equal(one[name], alone[name]) for name in alone)
    capsys.readouterr()
    assert main(["train", *FLAGS, "--num_seeds=3", "--seed=5", "--output_dir=out"]) == 0
    assert "finished" in (printed := capsys.readouterr().out) and "mean ± sd of 3" in printed
    assert main(["predict", "out", "a lovely film"]) == 0


def test_a_seed_that_is_finished_is_not_trained_again(monkeypatch, capsys):
    import hf_kit.run

    real, trained = hf_kit.run.train_model, []

    def cut(arguments, *rest):
        trained.append(arguments.training.seed)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return real(arguments, *rest)

    monkeypatch.setattr(hf_kit.run, "train_model", cut)
    assert main(["train", *FLAGS, "--num_seeds=2", "--output_dir=out"]) == 130
    assert not Path("out/results.json").exists()
    assert main(["train", *FLAGS, "--num_seeds=2", "--output_dir=out"]) == 0
    assert trained == [42, 43, 43]
    assert len(json.loads(Path("out/results.json").read_text())["seeds"]["runs"]) == 2


def made_up(scores: dict[int, float], split: str = "validation") -> dict[int, dict]:
    return {
        seed: {split: {"mae": score}, "test": {"mae": 1 - score}, "training": {"seconds": 1}, "seed": seed}
        for seed, score in scores.items()
    }


def test_less_is_better_where_it_is():
    runs = made_up({1: 0.4, 2: 0.3, 3: 0.5})
    assert combine(runs, "mae", greater_is_better=False)["seed"] == 2
    assert combine(runs, "mae", greater_is_better=True)["seed"] == 3


def test_test_rows_never_choose():
    combined = combine(made_up({1: 0.4, 2: 0.3}, split="test"), "mae", greater_is_better=False)
    assert combined["seed"] == 1 and combined["seeds"]["chosen_by"] is None


def test_a_checkpoint_of_one_model_cannot_be_continued_by_several(capsys):
    assert main(["train", *FLAGS, "--num_seeds=2", "--resume_from_checkpoint=x"]) == 1
    assert "--num_seeds" in capsys.readouterr().err


def test_a_seed_whose_score_is_undefined_is_not_the_best():
    runs = made_up({1: 0.5, 2: 0.3, 3: 0.4})
    del runs[2]["validation"]["mae"]
    assert combine(runs, "mae", greater_is_better=False)["seeds"]["best"] == 3


def test_the_batch_that_fits_is_found_once_for_all_seeds(capsys):
    flags = [*FLAGS, "--num_seeds=2", "--auto_find_batch_size", "--output_dir=out"]
    assert main(["train", *flags]) == 0
    assert capsys.readouterr().out.count("rows per device fit") == 1
    assert json.loads(Path("out/run.json").read_text())["batch"]["gradient_accumulation_steps"] == 1
    assert main(["predict", "out", "a lovely film"]) == 0
    assert main(["train", *flags]) == 0
    assert "finished" in capsys.readouterr().out
