"""Runs that are killed end as the one that nobody killed, and the command would see it if they did not."""

import json

import pytest
from tiny import FAMILIES, reviews, write_csv

from hf_kit import chaos as module
from hf_kit.chaos import Survivor, chaos
from hf_kit.cli import main
from hf_kit.errors import UserError

BERT = ["--model_type=bert", f"--config_overrides={json.dumps(FAMILIES['bert'])}"]
LSTM = ["--model_type=hf_kit_lstm", f"--config_overrides={json.dumps(FAMILIES['hf_kit_lstm'])}"]
FLAGS = ["--vocab_size=200", "--train_file=reviews.csv", "--max_steps=20"]


@pytest.fixture(autouse=True)
def rows(tmp_path):
    write_csv(tmp_path / "reviews.csv", reviews(160))


def test_five_kills_and_the_same_end(capsys):
    assert main(["chaos", *LSTM, *FLAGS, "--kills=5", "--json"]) == 0
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["identical"] and sum(run["kills"] for run in found["runs"]) == 5
    assert "5 kills" in printed.err and "all ended as if nobody had" in printed.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "kills"),
    [(LSTM, 12), (BERT, 6), (["--model_name_or_path=base", "--use_peft"], 6)],
    ids=["lstm", "bert", "lora"],
)
def test_many_kills(model, kills):
    if "--use_peft" in model:
        assert main(["train", *BERT, *FLAGS, "--baselines=False", "--output_dir=base"]) == 0
    survivors = chaos([*model, *FLAGS, "--early_stopping_patience=3"], kills=kills)
    assert all(s.identical for s in survivors) and sum(s.kills for s in survivors) == kills
    assert sum(s.in_a_save for s in survivors) > 0


def test_a_run_that_ends_otherwise_is_seen(monkeypatch, capsys):
    ending, seeds = module._Run.ending, iter(range(9))
    # As if the second run had other weights.
    monkeypatch.setattr(module._Run, "ending", lambda self: ending(self) | {"weights": next(seeds)})
    assert main(["chaos", *LSTM, *FLAGS, "--kills=1"]) == 1
    assert "1 ended otherwise" in capsys.readouterr().out


def test_a_run_that_fails_by_itself_is_shown():
    with pytest.raises(UserError, match=r"(?s)the run failed.*no such file.*nowhere\.csv|nowhere\.csv.*no such file"):
        chaos([*LSTM, *FLAGS, "--train_file=nowhere.csv"], kills=1)


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--output_dir=x"], "--output_dir"), (["--kills=0"], "--kills is 0"), (["--learning_rat=1"], "`learning_rate`")],
)
def test_a_mistake_is_said_at_once(words, said, capsys):
    assert main(["chaos", *LSTM, *FLAGS, *words]) == 1
    assert said in capsys.readouterr().err


def test_the_table_counts(capsys):
    module.show([Survivor(3, 2, [5, 10], 1, True), Survivor(1, 0, [], 0, False)])
    out = capsys.readouterr().out
    assert "4 kills, 2 of them inside a save, in 2 run(s): 1 ended otherwise" in out and "5, 10" in out
