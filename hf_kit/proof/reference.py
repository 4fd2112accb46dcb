"""What the trained model answers, noted while it is in memory: what every later copy of it is held against."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from hf_kit.data.streamed_rows import StreamedRows
from hf_kit.errors import UserError
from hf_kit.input_rows import InputRows
from hf_kit.run_folder import PROOF_ROWS, write_lines
from hf_kit.tasks.task import Prepared, Task

ROWS = 16


def write_reference(folder: Path, model: Any, task: Task, processor: Any, prepared: Prepared) -> None:
    """Some of the run's rows and the model's outputs for them, one JSON object a row: `inputs`, `ids` (of text),
    `output`, `written` (what the outputs are of, where the model writes: `ids` and `text`) and `device`.

    The rows are not the model's to tell: the file stays on this machine.

    Args:
        model: the trained one, in float32, in memory.
    """
    rows = task.sample_inputs(_source(prepared), ROWS)
    inputs = task.preprocess(task.input_dataset(rows), processor, "proof", cached=False)[0]
    outputs, written = outputs_of(model, inputs, task, processor)
    ids = [None] * len(rows) if isinstance(inputs, InputRows) else inputs["input_ids"][:]
    device = next(model.parameters()).device.type
    write_lines(
        folder / PROOF_ROWS,
        [
            {"inputs": task.noted(row), "ids": own, "output": output, "written": by, "device": device}
            for row, own, output, by in zip(rows, ids, outputs.tolist(), written, strict=True)
        ],
    )


def read_reference(folder: Path) -> list[dict[str, Any]]:
    """Raises: UserError: there is none, or it is damaged."""
    path = folder / PROOF_ROWS
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if not rows or not all({"inputs", "ids", "output", "written", "device"} <= set(row) for row in rows):
            raise ValueError("it is empty, or a row lacks a part")
    except (OSError, ValueError, TypeError) as reason:
        raise UserError(
            f"{path} cannot be read ({reason}): without what the trained model answered, no copy can be held against "
            "it; restore the file, or train again"
        ) from None
    return rows


@torch.inference_mode()
def outputs_of(model: Any, inputs: Dataset | InputRows, task: Task, processor: Any) -> tuple[torch.Tensor, list[Any]]:
    """`Task.proof_of` for all rows of `inputs` in one batch, on the CPU."""
    model.eval()
    device = next(model.parameters()).device
    if not isinstance(inputs, InputRows):
        inputs = inputs.select_columns([name for name in inputs.column_names if name in processor.model_input_names])
    batch = task.collator(processor)([inputs[i] for i in range(len(inputs))])
    with _whole_float32():
        return task.proof_of(model, {name: value.to(device) for name, value in batch.items()}, processor)


@contextmanager
def _whole_float32() -> Iterator[None]:
    """Without TF32 on GPUs, which keeps 10 bits of 23: torch's default for convolutions and recurrent layers."""
    kinds = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
    before = [kind.fp32_precision for kind in kinds]
    try:
        for kind in kinds:
            kind.fp32_precision = "ieee"
        yield
    finally:
        for kind, precision in zip(kinds, before, strict=True):
            kind.fp32_precision = precision


def _source(prepared: Prepared) -> Dataset:
    """Rows that the model was not trained on, where there are some."""
    if prepared.validation is not None:
        return prepared.validation
    if prepared.test is not None:
        return prepared.test
    return prepared.train.sample() if isinstance(prepared.train, StreamedRows) else prepared.train
