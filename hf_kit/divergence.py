"""A loss that is no number stops the run before the optimizer takes the step: weights and checkpoints stay good.

What is looked at, and what it costs:

- the loss of every micro-batch and the norm of the gradients, once a step, before the optimizer: one number comes back
  from the device (and over the network, with several processes). A look that lags a step behind would cost less and
  come too late. Transformers' own filter (`logging_nan_inf_filter`), which waits for the device twice a micro-batch and
  hides the loss from the log only, is off instead;
- with fp16's loss scaling the loss alone: its gradients overflow now and then, and the scaler skips those steps;
- all weights under training, before each evaluation and checkpoint and at the end: a step along finite gradients can
  overflow as well.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from datasets import Dataset
from torch import Tensor, nn
from transformers import TrainerCallback

from hf_kit.checkpoints.names import last_checkpoint
from hf_kit.data.arrow_columns import name_rows
from hf_kit.errors import UserError
from hf_kit.sampler import row_lengths
from hf_kit.sharding import shards, whole

MOST_NAMED = 5  # rows in a message
MOST_CHARACTERS = 60  # of a row's text


class Divergence(TrainerCallback):
    """Watches one `KitTrainer`, which hands it every micro-batch and, before each step, the norm of the gradients."""

    def __init__(self, trainer: Any):
        self.trainer = trainer
        self._losses: list[Tensor] = []
        self._batches: list[dict[str, Any]] = []

    def on_train_begin(self, args, state, control, **kwargs):
        self._losses, self._batches = [], []  # of a step that another attempt did not finish

    def note(self, loss: Tensor, batch: dict[str, Any]) -> None:
        """Remember a micro-batch of the step under way; nothing is read from the device."""
        self._losses.append(loss)
        self._batches.append(batch)

    def check(self, grad_norm: Tensor | float) -> None:
        """Called on all processes between a step's last backward pass and the optimizer.

        Raises:
            UserError: on all processes, if on any of them a loss or the gradients' norm is NaN or infinite.
        """
        accelerator = self.trainer.accelerator
        losses, batches, self._losses, self._batches = torch.stack(self._losses), self._batches, [], []
        finite = torch.isfinite(losses).all()
        if accelerator.scaler is None:
            finite = finite & torch.isfinite(torch.as_tensor(grad_norm, device=finite.device))
        if accelerator.reduce((~finite).float()).item():
            self._stop(losses.tolist(), batches, float(grad_norm))

    def _stop(self, losses: list[float], batches: list[dict[str, Any]], grad_norm: float) -> None:
        bad = [i for i, loss in enumerate(losses) if not np.isfinite(loss)]
        values = gather_object([losses[i] for i in bad])
        # Where every loss is finite and the gradients are not, the whole step is looked at.
        batches = [batches[i] for i in (bad if values else range(len(batches)))]
        rows = gather_object([row for batch in batches for row in self._rows(batch)])
        what = f"the loss is {values[0]}" if values else f"the loss is finite and its gradients' norm is {grad_norm}"
        step = self.trainer.state.global_step + 1
        raise UserError(f"step {step}: {what}, so the step was not taken. {_named(rows)}{remedies(self.trainer)}")

    def _rows(self, batch: dict[str, Any]) -> list[str]:
        """The rows of a micro-batch whose own loss is not finite (all, if none stands out), as the user knows them."""
        places = self._not_finite_alone(batch) or list(range(len(batch["labels"])))
        return [described_row(batch, i, self.trainer.train_dataset, self.trainer.processing_class) for i in places]

    def _not_finite_alone(self, batch: dict[str, Any]) -> list[int]:
        trainer = self.trainer
        if shards(trainer.accelerator):
            return []  # its forward pass needs all processes, and not all of them have such a batch
        inputs = trainer._prepare_inputs(dict(batch))
        labels = inputs.pop("labels")
        trainer.model.eval()
        with torch.no_grad(), trainer.compute_loss_context_manager():
            logits = trainer.model(**inputs)["logits"]
            losses = [trainer.task.loss({"logits": logits[i : i + 1]}, labels[i : i + 1]) for i in range(len(labels))]
        return torch.nonzero(~torch.isfinite(torch.stack(losses))).flatten().tolist()

    def stop_evaluation(self, predictions: np.ndarray) -> None:
        """Called with a split's predictions in the order of its rows, `[n, ...]`, if their loss is not finite.

        Raises:
            UserError: always.
        """
        trainer = self.trainer
        wrong = ~np.isfinite(predictions).reshape(len(predictions), -1).all(1)  # [n]
        message = "the loss over the evaluated rows is NaN or infinite"
        if trainer.is_in_train:
            message = f"the evaluation after step {trainer.state.global_step}: {message}"
        if wrong.any():
            message += f", by the answers to {name_rows(wrong)}"
        raise UserError(f"{message}.{remedies(trainer) if trainer.is_in_train else ''}")

    def on_step_end(self, args, state, control, model=None, **kwargs):
        if control.should_evaluate or control.should_save:
            check_weights(model, state.global_step, self.trainer)

    on_epoch_end = on_step_end

    def on_train_end(self, args, state, control, model=None, **kwargs):
        check_weights(model, state.global_step, self.trainer)


def check_weights(model: nn.Module, step: int, trainer: Any) -> None:
    """Raises: UserError: one of the weights that `step` left is NaN or infinite."""
    names, weights = zip(*((name, p) for name, p in model.named_parameters() if p.requires_grad), strict=True)
    finite = torch.stack([whole(torch.isfinite(weight).all()) for weight in weights]).tolist()
    wrong = [name for name, good in zip(names, finite, strict=True) if not good]
    if wrong:
        others = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise UserError(
            f"step {step} made weights that are NaN or infinite ({wrong[0]}{others}); they were not saved."
            f"{remedies(trainer)}"
        )


def remedies(trainer: Any) -> str:
    """What to change, and where the last weights lie that are good."""
    training = trainer.args
    trainer.commits.settle()  # the last one may just be on its way
    kept = last_checkpoint(Path(training.output_dir))
    precision = f", compute in float32 (--{training.mixed_precision} False)" if training.mixed_precision != "no" else ""
    clip = f"lower --max_grad_norm (now {training.max_grad_norm:g})" if training.max_grad_norm else "--max_grad_norm 1"
    return f" Lower --learning_rate (now {training.learning_rate:g}), {clip}{precision}, or look at those rows. " + (
        f"The last good checkpoint is {kept}" if kept else "No checkpoint was saved before it"
    )


def described_row(batch: dict[str, Any], place: int, rows: Dataset, processor: Any) -> str:
    """`row 17 ("the start of its text")`: the row of `rows` that stands at `place` of a batch, found by its tokens.

    By its tokens, because no order then needs to be known: any sampler, any number of processes, any resumed run. Of
    rows with the same text the first is named. Without tokens only the place in the batch is known.
    """
    if "input_ids" not in batch:
        return f"row {place + 1} of the batch"
    ids = batch["input_ids"][place]
    if "attention_mask" in batch:
        ids = ids[batch["attention_mask"][place].bool()]
    ids = ids.tolist()
    text = processor.decode(ids, skip_special_tokens=True)
    start = text[:MOST_CHARACTERS] + ("..." if len(text) > MOST_CHARACTERS else "")
    lengths = row_lengths(rows)
    if lengths is None:
        return f'"{start}"'
    alike = np.flatnonzero((lengths if lengths.ndim == 1 else lengths[:, 0]) == len(ids))
    place = rows.select(alike)["input_ids"][:].index(ids)
    return f'row {alike[place] + 1} ("{start}")'


def _named(rows: list[str]) -> str:
    more = f" and {len(rows) - MOST_NAMED} more" if len(rows) > MOST_NAMED else ""
    # Not the file's numbers where a validation set was taken from it, or rows were left out.
    return f"Rows in it, counted among those trained on: {', '.join(rows[:MOST_NAMED])}{more}."
