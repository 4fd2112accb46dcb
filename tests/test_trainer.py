"""The trainer: accumulation changes nothing, predictions come back in row order, no pickle of arguments is written."""

from itertools import chain

import numpy as np
import pytest
import torch
from datasets import Dataset
from tiny import FAMILIES
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    Trainer,
    TrainerCallback,
    set_seed,
)

import hf_kit.models  # noqa: F401  registers the LSTM
from hf_kit.arguments import KitTrainingArguments
from hf_kit.tasks.text_classification import TextClassification, TextClassificationArguments
from hf_kit.tokenizer_training import train_tokenizer
from hf_kit.trainer import KitTrainer

SINGLE, MULTI = "single_label_classification", "multi_label_classification"
DROPOUTS = set(
    "hidden_dropout_prob attention_probs_dropout_prob dropout attention_dropout seq_classif_dropout "
    "classifier_dropout classifier_dropout_prob embedding_dropout pooler_dropout".split()
)


def make_task(problem: str, weights=None, smoothing: float = 0.0) -> TextClassification:
    task = TextClassification(TextClassificationArguments(), smoothing)
    names = ["score"] if problem == "regression" else ["a", "b", "c"]
    task.restore(
        {
            "columns": {"text": "text", "text_pair": None, "label": "label"},
            "labels": {"problem_type": problem, "names": names},
            "max_length": 32,
            "class_weights": weights,
            "label_smoothing": smoothing,
        }
    )
    return task


def make_rows(problem: str, count: int = 8) -> Dataset:
    rng = np.random.default_rng(0)
    rows = [rng.integers(5, 60, size=rng.integers(2, 12)).tolist() for _ in range(count)]
    if problem == SINGLE:
        labels = [0, 0, 1, 0, 2, 1, 0, 0] * (count // 8)
    elif problem == MULTI:
        labels = rng.integers(0, 2, (count, 3)).astype(float).tolist()
    else:
        labels = rng.normal(size=count).tolist()
    return Dataset.from_dict({"input_ids": rows, "labels": labels, "length": [len(row) for row in rows]})


def make_trainer(family: str, task: TextClassification, rows: Dataset, batch_size: int = 8, **training) -> KitTrainer:
    set_seed(0)
    tokenizer = train_tokenizer(["some words to have a tokenizer " * 3])
    config = AutoConfig.for_model(family, **FAMILIES[family])
    for name in DROPOUTS & set(config.to_dict()):
        setattr(config, name, 0.0)
    config.vocab_size, config.pad_token_id = 64, 0
    task.configure(config)
    args = KitTrainingArguments(
        output_dir="out",
        per_device_train_batch_size=batch_size,
        disable_tqdm=True,
        **{"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False} | training,
    )
    return KitTrainer(
        task=task,
        model=AutoModelForSequenceClassification.from_config(config),
        args=args,
        train_dataset=rows,
        processing_class=tokenizer,
        data_collator=task.collator(tokenizer),
    )


class Gradients(TrainerCallback):
    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.seen = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def one_step(family: str, task: TextClassification, rows: Dataset, batch_size: int, accumulation: int):
    trainer = make_trainer(
        family,
        task,
        rows,
        batch_size,
        gradient_accumulation_steps=accumulation,
        max_steps=1,
        max_grad_norm=0.0,
        train_sampling_strategy="sequential",
        logging_steps=1,
    )
    gradients = Gradients()
    trainer.add_callback(gradients)
    trainer.train()
    return gradients.seen, trainer.state.log_history[0]["loss"]


KINDS = {
    "single": (SINGLE, None, 0.0),
    "single, weighted and smoothed": (SINGLE, [1.0, 6.0, 0.3], 0.1),
    "multi": (MULTI, None, 0.0),
    "multi, weighted and smoothed": (MULTI, [1.0, 6.0, 0.3], 0.1),
    "regression": ("regression", None, 0.0),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_accumulation_changes_neither_loss_nor_gradients(family, kind):
    problem = KINDS[kind][0]
    task, rows = make_task(*KINDS[kind]), make_rows(problem)
    whole, loss = one_step(family, task, rows, 8, 1)
    pieces, loss_of_pieces = one_step(family, task, rows, 2, 4)
    assert whole.keys() == pieces.keys()
    assert max(g.abs().max() for g in whole.values()) > 1e-3
    for name, gradient in whole.items():
        torch.testing.assert_close(pieces[name], gradient, rtol=2e-3, atol=2e-5, msg=lambda m, n=name: f"{n}: {m}")
    assert loss_of_pieces == pytest.approx(loss, rel=1e-4)


def test_predictions_stand_in_row_order():
    task, rows = make_task(SINGLE), make_rows(SINGLE, 24)
    trainer = make_trainer("hf_kit_lstm", task, rows, per_device_eval_batch_size=5)
    output = trainer.predict(rows)
    assert output.label_ids.tolist() == rows["labels"][:]
    with torch.inference_mode():
        alone = [trainer.model.eval()(torch.tensor([ids])).logits[0] for ids in rows["input_ids"]]
    assert np.allclose(output.predictions, torch.stack(alone).numpy(), atol=1e-5)
    assert set(output.metrics) >= {"test_accuracy", "test_loss"}


def test_training_visits_every_row_once_an_epoch_in_buckets_of_length(monkeypatch):
    rows = make_rows(SINGLE, 64)
    trainer = make_trainer("hf_kit_lstm", make_task(SINGLE), rows, num_train_epochs=2)
    loader = trainer.get_train_dataloader()
    orders = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        batches = [batch["input_ids"] for batch in loader]
        assert sum(len(batch) for batch in batches) == 64
        assert max(batch.shape[1] - batch.ne(0).sum(1).min() for batch in batches) <= 3
        orders.append([tuple(row[row.ne(0)].tolist()) for batch in batches for row in batch])
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(tuple(ids) for ids in rows["input_ids"])
    assert orders[0] != orders[1]


def test_a_token_budget_trains_on_every_row_once_an_epoch():
    rows = make_rows(SINGLE, 64)
    trainer = make_trainer("hf_kit_lstm", make_task(SINGLE), rows, num_train_epochs=2, max_tokens_per_batch=40)
    seen: list[list[tuple]] = []
    monitor = trainer.training_step

    def note(model, inputs, *args):
        seen.append([tuple(ids[ids.ne(0)].tolist()) for ids in inputs["input_ids"]])
        assert inputs["input_ids"].numel() <= 40
        return monitor(model, inputs, *args)

    trainer.training_step = note
    trainer.train()
    assert trainer.state.epoch == 2 and trainer.state.global_step == len(seen)
    half = len(seen) // 2
    epochs = [list(chain.from_iterable(part)) for part in (seen[:half], seen[half:])]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(tuple(ids) for ids in rows["input_ids"])
    assert epochs[0] != epochs[1]


def test_saving_writes_no_pickle(tmp_path):
    make_trainer("hf_kit_lstm", make_task(SINGLE), make_rows(SINGLE)).save_model("saved")
    assert (tmp_path / "saved/model.safetensors").exists()
    assert not list((tmp_path / "saved").glob("*.bin"))


@pytest.mark.parametrize("family", ["bert", "hf_kit_lstm"])
def test_operations_are_counted_as_transformers_counts_them(family):
    trainer = make_trainer(family, make_task(SINGLE), make_rows(SINGLE))
    for length in (3, 7):
        batch = {"input_ids": torch.ones(2, length, dtype=torch.long)}
        assert trainer.floating_point_ops(batch) == Trainer.floating_point_ops(trainer, batch) > 0
