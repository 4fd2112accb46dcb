"""A loss that is no number stops the run before the step, names it and the rows, and leaves the checkpoints good."""

import functools
import json
from pathlib import Path

import pytest
import torch
from ranks import Ranks
from safetensors.torch import load_file
from test_trainer import SINGLE, make_rows, make_task, make_trainer
from tiny import FAMILIES, reviews, write_csv

from hf_kit.cli import main
from hf_kit.divergence import check_weights
from hf_kit.errors import UserError
from hf_kit.models.lstm.modeling_lstm import LstmForSequenceClassification

LONG = "the long story of a hotel and a film " * 4


def run(*flags: str) -> int:
    return main(
        [
            "train",
            "--model_type=hf_kit_lstm",
            f"--config_overrides={json.dumps(FAMILIES['hf_kit_lstm'])}",
            "--train_file=reviews.csv",
            "--vocab_size=200",
            "--disable_tqdm",
            "--baselines=False",
            "--bf16=False",
            "--output_dir=out",
            *flags,
        ]
    )


@pytest.fixture
def long_texts_give_no_number(monkeypatch):
    """A model that a text of more than 30 tokens breaks."""
    forward = LstmForSequenceClassification.forward

    @functools.wraps(forward)  # Trainer reads the names of its inputs off the signature
    def broken(self, attention_mask=None, **kwargs):
        outputs = forward(self, attention_mask=attention_mask, **kwargs)
        outputs["logits"] = outputs["logits"].masked_fill(attention_mask.sum(1, keepdim=True) > 30, float("nan"))
        return outputs

    monkeypatch.setattr(LstmForSequenceClassification, "forward", broken)


def step_in(error: str) -> int:
    return int(error.split("step ")[1].split(":")[0])


@pytest.mark.parametrize("batch", [(8, 1), (2, 4)], ids=["one batch a step", "four batches a step"])
def test_the_run_stops_before_the_step_names_the_row_and_keeps_the_checkpoint(
    tmp_path, capsys, long_texts_give_no_number, batch
):
    rows = reviews(60)
    rows[33] = (LONG, "good")
    write_csv(tmp_path / "reviews.csv", rows)
    write_csv(tmp_path / "dev.csv", reviews(10, seed=5))
    flags = [f"--per_device_train_batch_size={batch[0]}", f"--gradient_accumulation_steps={batch[1]}"]
    assert run("--validation_file=dev.csv", "--eval_strategy=steps", "--eval_steps=1", *flags) == 1
    error = capsys.readouterr().err
    step = step_in(error)
    assert step > 1, "the seed puts the long text into the first step: choose another row"
    assert "the loss is nan, so the step was not taken. Rows in it, counted among those trained on: row 34" in error
    assert f'row 34 ("{LONG[:30]}' in error
    assert error.count('("') == 1, "other rows have a finite loss"
    assert f"The last good checkpoint is out/checkpoint-{step - 1}" in error and "--learning_rate (now 0.001)" in error
    assert all(w.isfinite().all() for w in load_file(f"out/checkpoint-{step - 1}/model.safetensors").values())
    assert not Path(f"out/checkpoint-{step}").exists() and not Path("out/results.json").exists()


def test_a_learning_rate_beyond_all_numbers_stops_at_once(tmp_path, capsys):
    write_csv(tmp_path / "reviews.csv", reviews(60))
    assert run("--learning_rate=1e38", "--per_device_train_batch_size=8") == 1
    error = capsys.readouterr().err
    assert step_in(error) == 2 and "and 3 more" in error and "No checkpoint was saved before it" in error
    assert not list(Path("out").glob("checkpoint-*"))


@pytest.mark.parametrize("saving", ["steps", "no"])
def test_weights_that_overflow_are_never_saved(tmp_path, capsys, saving):
    write_csv(tmp_path / "reviews.csv", reviews(60))
    flags = ["--learning_rate=1e39", "--max_steps=1", f"--eval_strategy={saving}", f"--save_strategy={saving}"]
    assert run(*flags, *(["--eval_steps=1"] if saving == "steps" else [])) == 1
    assert "step 1 made weights that are NaN or infinite" in capsys.readouterr().err
    assert not list(Path("out").rglob("*.safetensors"))


def test_gradients_that_are_no_numbers_stop_the_step_although_the_loss_is_finite():
    trainer = make_trainer("hf_kit_lstm", make_task(SINGLE), make_rows(SINGLE), max_steps=1)
    before = {name: weight.clone() for name, weight in trainer.model.named_parameters()}
    next(trainer.model.parameters()).register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(UserError, match=r"step 1: the loss is finite and its gradients' norm is (nan|inf)"):
        trainer.train()
    assert all(torch.equal(before[name], weight) for name, weight in trainer.model.named_parameters())


def test_loss_scaling_may_overflow_gradients_but_not_the_loss():
    trainer = make_trainer("hf_kit_lstm", make_task(SINGLE), make_rows(SINGLE))
    trainer.accelerator.scaler = object()  # fp16 needs a GPU; that there is one is all that counts here
    batch = next(iter(trainer.get_train_dataloader()))
    trainer._divergence.note(torch.tensor(0.7), batch)
    trainer._divergence.check(float("inf"))
    trainer._divergence.note(torch.tensor(float("inf")), batch)
    with pytest.raises(UserError, match="the loss is inf"):
        trainer._divergence.check(1.0)


def test_an_evaluation_without_a_finite_loss_names_its_rows(tmp_path, capsys, long_texts_give_no_number):
    dev = reviews(10, seed=5)
    dev[6] = (LONG, "good")
    write_csv(tmp_path / "reviews.csv", reviews(40))
    write_csv(tmp_path / "dev.csv", dev)
    assert run("--validation_file=dev.csv", "--num_train_epochs=1") == 1
    error = capsys.readouterr().err
    assert "the evaluation after step 2: the loss" in error and "by the answers to row 7. Lower" in error


def test_windows_without_a_finite_loss_name_their_row(tmp_path, capsys, long_texts_give_no_number):
    write_csv(tmp_path / "reviews.csv", reviews(40))
    write_csv(tmp_path / "test.csv", [*reviews(6, seed=5), (LONG * 2, "good"), *reviews(3, seed=6)])
    assert run("--num_train_epochs=1", "--max_length=40") == 0
    assert main(["evaluate", "out", "--test_file=test.csv", "--windows"]) == 1
    assert "by the answers to row 7" in capsys.readouterr().err


def test_finite_weights_pass():
    model = torch.nn.Linear(2, 2)
    check_weights(model, 1, None)


@pytest.mark.slow
def test_two_processes_stop_together(tmp_path):
    write_csv(tmp_path / "reviews.csv", reviews(60))
    flags = [
        "--model_type=hf_kit_lstm",
        "--train_file=reviews.csv",
        "--learning_rate=1e38",
        "--per_device_train_batch_size=4",
        "--baselines=False",
        "--output_dir=out",
    ]
    done = Ranks(2, flags).end(expect=1)
    assert done.stderr.count("error: step 2: the loss is") == 1 and "and 3 more" in done.stderr
