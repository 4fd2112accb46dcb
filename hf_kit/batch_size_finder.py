"""`--auto_find_batch_size`: the largest batch that fits into the device's memory, found once, before the first step.

Deliberately different from accelerate's, which starts training again with another batch whenever one does not fit, and
so trains another model: here the batch is tried on the longest row, what does not fit is split, and gradients are
accumulated over the parts. The rows of an optimizer step stay the same ones.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from datasets import Dataset

from hf_kit import console, run_folder
from hf_kit.arguments import Arguments
from hf_kit.collation import TokenRows
from hf_kit.errors import UserError
from hf_kit.input_rows import Draw, InputRows
from hf_kit.sampler import row_lengths
from hf_kit.streaming import TokenizedStream
from hf_kit.trainer import KitTrainer

# What is found: both settings together leave the rows of a step as they were.
BATCH = ("per_device_train_batch_size", "gradient_accumulation_steps")


def settle_batch_size(arguments: Arguments, trainer: KitTrainer, folder: Path) -> dict[str, int]:
    """Replace the batch size and the accumulation by what fits, and return both; `run.json` keeps them for later."""
    training = arguments.training
    if training.num_seeds > 1:  # found with the first seed, for all of them
        folder = folder.parent
    facts = run_folder.read_json(folder / run_folder.RUN) or {}
    batch = facts.get("batch")
    if batch is None:
        batch = dict(zip(BATCH, find_batch_size(trainer), strict=True))
        if console.is_main_process():
            run_folder.write_json(folder / run_folder.RUN, facts | {"batch": batch})
    for name in BATCH:
        setattr(training, name, batch[name])
    training.auto_find_batch_size = False  # transformers' own would train another model
    return batch


def find_batch_size(trainer: KitTrainer) -> tuple[int, int]:
    """Rows per device that fit, and the batches to accumulate so that a step has as many rows as the user asked for.

    Args:
        trainer: one that does not train; its model is as before when this returns.

    Raises:
        UserError: not even one row fits.
    """
    rows, accumulation = trainer.args.per_device_train_batch_size, trainer.args.gradient_accumulation_steps
    row = _longest_row(trainer)
    for size in [size for size in range(rows, 0, -1) if rows % size == 0]:
        if all(gather_object([_fits(trainer, row, size)])):
            console.say(
                f"  {size} rows per device fit"
                + (f", so {accumulation * rows // size} batches are accumulated for a step" if size < rows else "")
            )
            return size, accumulation * rows // size
    size_of = f" of {len(row['input_ids'])} tokens" if "input_ids" in row else ""
    raise UserError(
        f"not even one row{size_of} fits into the memory of {trainer.args.device}: "
        f"{'lower --max_length, ' if size_of else ''}set --gradient_checkpointing, --use_peft, or take a smaller model"
    )


def _longest_row(trainer: KitTrainer) -> dict[str, Any]:
    """The longest training row; of a stream, the longest of its first ones."""
    rows = trainer.train_dataset
    if isinstance(rows, InputRows):
        return rows[Draw(trainer.args.seed, 0, 0)]  # all are of one size
    if isinstance(rows, TokenizedStream):
        rows = Dataset(next(rows.tables()))
    lengths = row_lengths(rows)
    place = 0 if lengths is None else int(lengths.reshape(len(lengths), -1).sum(1).argmax())
    return TokenRows(trainer._remove_unused_columns(rows, "training"))[place]


def _fits(trainer: KitTrainer, row: dict[str, Any], size: int) -> bool:
    """Whether a forward and a backward pass over `size` such rows, beside the optimizer's memory, fit."""
    batch = trainer.data_collator([dict(row) for _ in range(size)])
    try:
        with _unchanged(trainer.model), trainer.accelerator.autocast():
            # Adam's two averages, for which there must be room as well.
            averages = [torch.zeros_like(p) for p in trainer.model.parameters() if p.requires_grad for _ in range(2)]
            count = trainer._get_num_items_in_batch([batch], trainer.args.device)
            trainer.training_step(trainer.model, batch, count)
            del averages
    except RuntimeError as reason:
        if not should_reduce_batch_size(reason):
            raise
        return False
    finally:
        clear_device_cache(garbage_collection=True)
    return True


@contextmanager
def _unchanged(model: torch.nn.Module) -> Iterator[None]:
    """Whatever is computed meanwhile leaves no gradient, no random number drawn and no running average behind."""
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    training = model.training
    devices = [p.device for p in model.parameters() if p.is_cuda][:1]
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        model.zero_grad(set_to_none=True)
        model.train(training)
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])
