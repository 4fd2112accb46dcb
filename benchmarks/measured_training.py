"""Time one whole epoch of a `Trainer`, the kit's or the stock one, in the same way.

The first epoch is the warm-up, cut off after some steps; the second one is measured, so that all variants are timed on
the same rows, every row once, in whatever order they deal them out.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from side_by_side import finish
from transformers import TrainerCallback

EPOCHS = 2  # what the trainer has to be asked for


class MeasuredEpoch(TrainerCallback):
    """Times the second epoch, writes the numbers as JSON to `result` and ends the process.

    `seconds` is all of it. `inside_seconds` is forward pass and loss, backward pass and optimizer step; the rest is
    outside the model: making batches, moving them, clipping, counting, zeroing gradients, schedule, logging.
    (Where an accelerator computes by itself these are not told apart, and `inside_seconds` is absent.)

    Args:
        warmup: steps of the first epoch.
        extra: written beside the numbers.
    """

    def __init__(self, trainer: Any, warmup: int, result: Path, extra: dict | None = None):
        self.trainer, self.warmup, self.result, self.extra = trainer, warmup, result, extra or {}
        self.epoch, self.steps, self.inside, self.on_cpu = 0, 0, 0.0, not torch.accelerator.is_available()
        trainer.compute_loss = self._timed(trainer.compute_loss)
        trainer.accelerator.backward = self._timed(trainer.accelerator.backward)
        trainer.add_callback(self)

    def _timed(self, call: Callable) -> Callable:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            out = call(*args, **kwargs)
            self.inside += time.perf_counter() - start
            return out

        return timed

    def _now(self) -> float:
        if not self.on_cpu:
            torch.accelerator.synchronize()
        return time.perf_counter()

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.epoch += 1
        self.steps, self.inside, self.start = 0, 0.0, self._now()

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        self.before_step = time.perf_counter()

    def on_optimizer_step(self, args, state, control, **kwargs):
        self.inside += time.perf_counter() - self.before_step

    def on_step_end(self, args, state, control, **kwargs):
        self.steps += 1
        if self.epoch < EPOCHS and self.steps == self.warmup:
            control.should_epoch_stop = True

    def on_epoch_end(self, args, state, control, **kwargs):
        if self.epoch == EPOCHS:
            self.seconds = self._now() - self.start
            finish(self.numbers() | self.extra, self.result)

    def numbers(self) -> dict:
        """What is written; `lengths` are the real tokens per row."""
        lengths = row_lengths(self.trainer.train_dataset)
        out = {"seconds": self.seconds, "steps": self.steps, "rows": len(lengths), "tokens": sum(lengths)}
        return out | {"lengths": lengths} | ({"inside_seconds": self.inside} if self.on_cpu else {})


def row_lengths(dataset: Any) -> list[int]:
    """Real tokens per row."""
    if "attention_mask" in dataset.column_names:
        return [int(sum(mask)) for mask in dataset["attention_mask"]]
    return [len(ids) for ids in dataset["input_ids"]]


def train_kit(flags: Sequence[str], attach: Callable[[Any], Any]) -> Path:
    """`hf-kit train FLAGS`, with `attach` called on its trainer before it trains; the run folder."""
    from hf_kit import run
    from hf_kit.parsing import parse_arguments

    make_trainer = run.make_trainer

    def make_and_attach(*args: Any, **kwargs: Any) -> Any:
        trainer = make_trainer(*args, **kwargs)
        attach(trainer)
        return trainer

    run.make_trainer = make_and_attach
    return run.train(parse_arguments(list(flags)))
