"""The largest batch that fits is found once, and the model that is trained stays the same one."""

import functools
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import FAMILIES, reviews, write_csv

from hf_kit.cli import main
from hf_kit.errors import UserError
from hf_kit.flag_checks import check_flags
from hf_kit.launch_environment import read_launch_environment
from hf_kit.models.lstm.modeling_lstm import LstmForSequenceClassification as Model
from hf_kit.parsing import parse_arguments

FLAGS = [
    "--model_type=hf_kit_lstm",
    f"--config_overrides={json.dumps(FAMILIES['hf_kit_lstm'] | {'classifier_dropout': 0.0})}",
    "--vocab_size=200",
    "--num_train_epochs=2",
    "--train_file=reviews.csv",
    "--disable_tqdm",
    "--baselines=False",
    "--bf16=False",
    "--per_device_train_batch_size=24",
]


@pytest.fixture(autouse=True)
def rows(tmp_path):
    write_csv(tmp_path / "reviews.csv", reviews(160))


def make_small(monkeypatch) -> list[int]:
    """Training passes over more than 7 rows run out of memory; the sizes that were tried."""
    forward, tried = Model.forward, []

    @functools.wraps(forward)
    def limited(self, input_ids=None, **kwargs):
        if self.training:
            tried.append(len(input_ids))
            if len(input_ids) > 7:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate more than there is")
        return forward(self, input_ids=input_ids, **kwargs)

    monkeypatch.setattr(Model, "forward", limited)
    return tried


@pytest.fixture
def small_device(monkeypatch):
    return make_small(monkeypatch)


def test_what_does_not_fit_is_accumulated_and_trains_the_same_model(monkeypatch, capsys):
    assert main(["train", *FLAGS, "--output_dir=plain"]) == 0
    small_device = make_small(monkeypatch)
    assert main(["train", *FLAGS, "--auto_find_batch_size", "--output_dir=found"]) == 0
    assert "6 rows per device fit, so 4 batches are accumulated" in capsys.readouterr().out
    assert small_device[:4] == [24, 12, 8, 6]  # each divides the batch; then training
    assert max(small_device[4:]) == 6
    assert json.loads(Path("found/run.json").read_text())["batch"] == {
        "per_device_train_batch_size": 6,
        "gradient_accumulation_steps": 4,
    }
    found, plain = load_file("found/model.safetensors"), load_file("plain/model.safetensors")
    assert max((found[name] - plain[name]).abs().max() for name in plain) < 1e-4


def test_a_batch_that_fits_changes_nothing(monkeypatch):
    dropout = f"--config_overrides={json.dumps(FAMILIES['hf_kit_lstm'] | {'classifier_dropout': 0.5})}"
    assert main(["train", *FLAGS, dropout, "--auto_find_batch_size", "--output_dir=found"]) == 0
    assert main(["train", *FLAGS, dropout, "--output_dir=plain"]) == 0
    found, plain = load_file("found/model.safetensors"), load_file("plain/model.safetensors")
    assert all(torch.equal(found[name], plain[name]) for name in plain)


def test_a_run_that_goes_on_does_not_look_again(small_device, monkeypatch):
    from hf_kit.progress import EvaluationLines

    class Cut(Exception):
        pass

    def cut(self, args, state, control, **kwargs):
        raise Cut

    with monkeypatch.context() as patched:
        patched.setattr(EvaluationLines, "on_epoch_begin", cut)
        with pytest.raises(Cut):
            main(["train", *FLAGS, "--auto_find_batch_size", "--output_dir=out", "--debug"])
    small_device.clear()
    assert main(["train", *FLAGS, "--auto_find_batch_size", "--output_dir=out"]) == 0
    assert max(small_device) == 6


def test_not_even_one_row(monkeypatch, capsys):
    @functools.wraps(Model.forward)
    def full(self, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate more than there is")

    monkeypatch.setattr(Model, "forward", full)
    assert main(["train", *FLAGS, "--auto_find_batch_size", "--output_dir=out"]) == 1
    error = capsys.readouterr().err
    assert "not even one row" in error and "--max_length" in error and "Traceback" not in error


def test_other_errors_stay_what_they_are(monkeypatch, capsys):
    @functools.wraps(Model.forward)
    def broken(self, **kwargs):
        raise RuntimeError("something else")

    monkeypatch.setattr(Model, "forward", broken)
    assert main(["train", *FLAGS, "--auto_find_batch_size", "--output_dir=out"]) == 1
    assert "something else" in capsys.readouterr().err


def test_tokens_and_rows_exclude_each_other(capsys):
    assert main(["train", *FLAGS, "--auto_find_batch_size", "--max_tokens_per_batch=100", "--output_dir=out"]) == 1
    assert "leave one of them out" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("kind", ["FSDP", "DEEPSPEED"])
def test_what_a_launch_takes_apart_is_not_tried(monkeypatch, kind):
    arguments = parse_arguments([*FLAGS, "--auto_find_batch_size", "--output_dir=out"])
    monkeypatch.setenv(f"ACCELERATE_USE_{kind}", "true")
    arguments.launched = read_launch_environment()
    with pytest.raises(UserError, match="--auto_find_batch_size: not for a model that FSDP or DeepSpeed takes apart"):
        check_flags(arguments)
