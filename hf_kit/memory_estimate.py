"""The memory that a run will need in each of its processes, said before the first step; a warning where there is less.

Counted: the process as it stands (on a CPU: interpreter, libraries, data), weights, the optimizer's state, and what one
training step on the longest batch takes at most (`traced_step.py`). Not counted: scoring and writing between the steps,
workers that load data.
"""

import inspect
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedModel

from hf_kit import console
from hf_kit.arguments import Arguments, KitTrainingArguments
from hf_kit.collation import TokenRows
from hf_kit.doctor.cgroup import memory_left
from hf_kit.embedding_gradient import big_tables
from hf_kit.frozen_weights import frozen_linear_weights
from hf_kit.huge_pages import HEAP_AT_MOST
from hf_kit.input_rows import Draw, InputRows
from hf_kit.precision import DTYPES
from hf_kit.sampler import TokenBudgetBatches, longest_first, padded, row_lengths
from hf_kit.streaming import TokenizedStream
from hf_kit.traced_step import traced_bytes

# Float32 numbers that an optimizer keeps of each trained one, by the words in its name; Adam's kind keeps two.
KEPT = {"sgd": 0, "adafactor": 0, "lomo": 0, "rmsprop": 1, "adagrad": 1, "lion": 1, "ademamix": 3}

# What the heap of a CPU's allocator (glibc 2.36's) loses between blocks of many sizes, as a share of them: measured as
# 0.3 to 0.4 for MiniLM-L6 at batches of 32 x 128, and with LoRA as 0.5 to 0.8 (`benchmarks/memory.py`).
HEAP_LOSS = 0.4


@dataclass(frozen=True)
class Estimate:
    """Bytes of one process.

    Attributes:
        process: interpreter, libraries and data; on a GPU none of it counts.
        step: activations, copies and gradients at the worst moment of a step, with what the allocator loses; of a
            model that cannot be traced gradients alone.
        traced: whether `step` holds activations.
        shape: of the longest batch's main input.
    """

    process: int
    weights: int
    optimizer: int
    step: int
    traced: bool
    shape: tuple[int, ...]

    @property
    def total(self) -> int:
        return self.process + self.weights + self.optimizer + self.step

    def __str__(self) -> str:
        size = " x ".join(map(str, self.shape))
        return (
            f"{'about' if self.traced else 'more than'} {gb(self.total)} of memory a process: "
            + (f"libraries and data {gb(self.process)}, " if self.process else "")
            + f"weights {gb(self.weights)}, optimizer {gb(self.optimizer)}, "
            + (f"a step of {size} {gb(self.step)}" if self.traced else f"gradients {gb(self.step)}, activations ?")
        )


def gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size < 1e10 else f"{size / 1e9:.0f} GB"


def process_bytes() -> int:
    """Memory of this process that no file backs."""
    seen = psutil.Process().memory_info()
    return seen.rss - getattr(seen, "shared", 0)


def estimate(
    model: nn.Module,
    batch: dict[str, Tensor],
    training: KitTrainingArguments,
    *,
    before: int,
    heap_at_most: int = HEAP_AT_MOST,
    label_smoothing: float = 0.0,
) -> Estimate:
    """What training `model` will take.

    Args:
        model: on the CPU, as it will be trained, adapters and gradient checkpointing included; it is not changed.
        batch: the longest one.
        before: `process_bytes` before the model was loaded.
        heap_at_most: bytes of the largest block in a CPU's heap.
    """
    device, dtype = training.device, DTYPES[training.mixed_precision]
    trained = [p for p in model.parameters() if p.requires_grad]
    cast = [p for p in frozen_linear_weights(model) if dtype != p.dtype == torch.float32]
    all_bytes = sum(_bytes(p) for p in [*model.parameters(), *model.buffers()])
    weights = all_bytes - sum(_bytes(p) - p.numel() * dtype.itemsize for p in cast)
    grown = max(0, process_bytes() - before)
    process = 0
    if device.type == "cpu":
        process = process_bytes() - min(grown, all_bytes)
        if grown > all_bytes / 2:  # else the weights are still pages of their file, which the frozen ones remain
            weights += sum(_bytes(p) for p in cast)
    held = trained if training.gradient_accumulation_steps > 1 else _tables_with_kept_gradients(model, training)
    step, traced = sum(map(_bytes, trained)), False
    # Layers of rounded weights compute with what they keep beside them, which cannot be lent.
    if all(p.is_floating_point() for p in model.parameters()):
        with suppress(Exception):  # of many kinds: what the model computes depends on the numbers in the batch
            live = traced_bytes(
                model,
                batch,
                device=device,
                dtype=dtype,
                cast=cast,
                held=held,
                heap_at_most=heap_at_most,
                label_smoothing=label_smoothing,
            )
            step, traced = live.peak, True
            if device.type == "cpu":
                step += int(HEAP_LOSS * live.in_heap)
    optimizer = int(sum(p.numel() for p in trained) * _state_bytes(training.optim))
    if training.world_size > 1:
        stage = _sharded()
        if stage >= 1:
            optimizer //= training.world_size
        else:
            step += sum(map(_bytes, trained))  # the buckets in which gradients are exchanged
        if stage == 3:
            weights //= training.world_size
    return Estimate(process, weights, optimizer, step, traced, tuple(batch[model.main_input_name].shape))


def _sharded() -> int:
    """What the launch takes apart, as ZeRO numbers it: 0 nothing, 1 optimizer, 2 gradients as well, 3 weights as well.

    Gradients are counted whole all the same: they are until a layer's are exchanged.
    """
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        return 3
    if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
        return int(os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2"))
    return 0


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _tables_with_kept_gradients(model: nn.Module, training: KitTrainingArguments) -> list[nn.Parameter]:
    one_cpu = training.device.type == "cpu" and training.world_size == 1
    return [table.weight for table in big_tables(model)] if one_cpu else []


def _state_bytes(optim: str) -> float:
    """Of the optimizer's state, for each trained number."""
    if "paged" in optim:  # on a GPU, where it lies in the CPU's memory
        return 0.0
    number = next((number for word, number in KEPT.items() if word in optim), 2)
    return number * (1.0 if "8bit" in optim else 0.5 if "4bit" in optim else 4.0)


def longest_batch(
    rows: Any, collator: Callable, training: KitTrainingArguments, model: PreTrainedModel
) -> dict[str, Tensor]:
    """The training batch that takes most memory: of a stream, of its first rows.

    Args:
        rows: preprocessed ones.
        model: the one below any adapter; what it does not read is left out.
    """
    count = training.train_batch_size
    if isinstance(rows, InputRows):
        chosen = [rows[Draw(training.seed, 0, 0)]] * count  # all are of one size
    else:
        if isinstance(rows, TokenizedStream):
            rows = Dataset(next(rows.tables()))
        lengths = row_lengths(rows)
        if lengths is None:
            places = np.arange(min(count, len(rows)))
        elif training.max_tokens_per_batch:
            together = training.world_size * training.gradient_accumulation_steps
            batches = TokenBudgetBatches(lengths, training.max_tokens_per_batch, training.seed, together)
            places = max(batches, key=lambda batch: (padded(lengths[batch]), lengths[batch].max()))
        else:
            places = longest_first(lengths)[:count]
        wanted = {*inspect.signature(model.forward).parameters, "labels"}
        columns = [name for name in rows.column_names if name in wanted]
        table = TokenRows(rows.select_columns(columns))
        chosen = [table[int(place)] for place in places]
    return dict(collator(chosen))


def free_bytes(training: KitTrainingArguments) -> int:
    """What each process may still take of the memory that it trains in."""
    if training.device.type == "cuda":
        return torch.cuda.mem_get_info(training.device)[0]
    left = memory_left()
    free = psutil.virtual_memory().available
    return min(free, free if left is None else max(left, 0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def describe_memory(arguments: Arguments, model: nn.Module, found: Estimate, *, checkpointing: bool) -> None:
    """Print the estimate, and a warning where it is more than there is.

    Args:
        checkpointing: whether the model could do with gradient checkpointing.
    """
    console.say(f"  {found}")
    training = arguments.training
    free = free_bytes(training)
    there = torch.cuda.memory_allocated(training.device) if training.device.type == "cuda" else process_bytes()
    needed = found.total - there
    if needed > free:
        console.warn(
            f"this needs {gb(needed)} more memory and {gb(free)} are free: it may be stopped for want of memory. What "
            f"helps: {'; '.join(_remedies(arguments, checkpointing))}"
        )


def _remedies(arguments: Arguments, checkpointing: bool) -> list[str]:
    """What is not in use yet, the cheapest first."""
    training = arguments.training
    rows, accumulation = training.per_device_train_batch_size, training.gradient_accumulation_steps
    found = []
    if training.max_tokens_per_batch:
        found.append(f"--max_tokens_per_batch {training.max_tokens_per_batch // 2}")
    elif rows > 1:
        found.append(
            f"--per_device_train_batch_size {rows // 2} --gradient_accumulation_steps {2 * accumulation} (the same "
            "rows a step)"
        )
    if checkpointing and not training.gradient_checkpointing:
        found.append("--gradient_checkpointing (a fifth to a third slower)")
    if arguments.model.model_name_or_path and not arguments.lora.use_peft:
        found.append("--use_peft (LoRA)")
    for name in ("max_length", "max_source_length"):
        if hasattr(arguments.task, name):
            found.append(f"a smaller --{name}")
    return [*found, "a smaller model"]
