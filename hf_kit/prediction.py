"""Answers for new inputs from a saved run: in the inputs' order, batches by length, memory constant in their number.

Inputs are taken in blocks. The rows of a block are sorted by length and cut into batches of about equally many tokens,
so that hardly anything is padding; while the model computes one block, a thread tokenizes the next.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from datasets import Dataset

from hf_kit.collation import PadRows, TokenRows
from hf_kit.cpu_attention import attend_on_cpu
from hf_kit.errors import UserError
from hf_kit.first_token import compute_first_token_alone
from hf_kit.frozen_weights import linear_weights, weights_in
from hf_kit.input_rows import InputRows
from hf_kit.precision import DTYPES
from hf_kit.sampler import LongestFirstSampler, cuts_by_tokens, row_lengths
from hf_kit.saved_run import SavedRun
from hf_kit.token_loss import IGNORED
from hf_kit.windows import average_windows

# Padded tokens per forward pass. On a CPU few, so that what a layer leaves behind for the next one stays in its cache;
# a GPU wants to be filled.
BATCH_TOKENS = {"cpu": 4096, "cuda": 65536, "mps": 16384}
# Inputs without lengths (images) per forward pass.
BATCH_ROWS = {"cpu": 32, "cuda": 256, "mps": 64}
# Batches of long texts are padded to multiples of this, so that their shapes come again: a new shape of a product costs
# a CPU a millisecond. Of short texts it would pad away more than that.
LONG, MULTIPLE = 128, 16
# Stands among the inputs where there are no more for now. An object of its own: a None among them is a missing text,
# and must not pass for a pause.
PAUSE = object()


def best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def predict(
    run: SavedRun,
    items: Iterable[Any],
    block: int = 2048,
    windows: bool = False,
    bf16: bool | None = None,
    num_beams: int | None = None,
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield `(input row, answer)` for every input, in order.

    Args:
        items: what `Task.input_row` takes: for text classification a text, a pair of texts or a dictionary of them, for
            images a path; or `PAUSE`, where there are no more for now: what came before it is answered before the next
            one is asked for.
        block: rows tokenized and sorted by length together; 1 answers each before the next one is asked for.
        windows: read an input too long for the model whole, in overlapping windows, and average their logits.
        bf16: see `SavedRun.precision`; False computes in float32.
        num_beams: of a model that writes its answers, in place of the number in its `generation_config`.

    Raises:
        UserError: an input that this model does not read; `windows` with a task that reads its inputs whole; beams
            where nothing is written.
    """
    if num_beams is not None and not run.task.generates:
        raise UserError("--num_beams: this model writes no texts; leave it out")
    options = {} if num_beams is None else {"num_beams": num_beams}
    device = best_device()
    run.model.to(device)
    if device.type == "cpu":
        attend_on_cpu(run.model)
    compute_first_token_alone(run.model)
    dtype = DTYPES[run.precision(bf16=bf16, use_cpu=device.type == "cpu").mixed_precision]
    preprocess = run.task.preprocess_windows if windows else run.task.preprocess

    def inputs_of(rows: list[dict[str, Any]]) -> Dataset | InputRows:
        return preprocess(run.task.input_dataset(rows), run.processor, "input", cached=False)[0]

    rows_read = (item if item is PAUSE else run.task.input_row(item) for item in items)
    with weights_in(dtype, linear_weights(run.model)):
        for rows, inputs in _with_inputs(_blocks(rows_read, block), inputs_of, block):
            predictions = _outputs(run, inputs, device, dtype, options)
            if windows:
                predictions = average_windows(predictions, np.asarray(inputs["row"][:]), len(rows))
            yield from zip(rows, run.task.decode(predictions), strict=True)


def _blocks(rows: Iterable[Any], size: int) -> Iterator[list[dict]]:
    """Up to `size` rows at a time; a `PAUSE` ends a block before it is full."""
    block = []
    for row in rows:
        if row is not PAUSE:
            block.append(row)
        if block and (row is PAUSE or len(block) == size):
            yield block
            block = []
    if block:
        yield block


def _with_inputs(
    blocks: Iterator[list[dict]], inputs_of: Callable[[list[dict]], Dataset | InputRows], size: int
) -> Iterator[tuple[list[dict], Dataset | InputRows]]:
    """Each block with its model inputs; those of a full block are made while the one before it is used.

    A block that is not full, or of one row, is not kept waiting for the next. All blocks are read by the caller's
    thread: a thread that waits for a live stream could not be stopped.
    """
    with ThreadPoolExecutor(1) as thread:
        waiting = deque()
        try:
            for rows in blocks:
                waiting.append((rows, thread.submit(inputs_of, rows)))
                while len(waiting) > (1 if 1 < len(rows) == size else 0):
                    yield waiting[0][0], waiting[0][1].result()
                    waiting.popleft()
        except UserError:  # about a later input; those before it are answered first
            yield from ((rows, inputs.result()) for rows, inputs in waiting)
            raise
        yield from ((rows, inputs.result()) for rows, inputs in waiting)


def _outputs(
    run: SavedRun, inputs: Dataset | InputRows, device: torch.device, dtype: torch.dtype, options: dict[str, Any]
) -> np.ndarray:
    """Raw outputs for the rows of `inputs`, `[n, ...]`, in their order (see `Task.outputs`).

    Raises:
        UserError: an output is no number.
    """
    collate = run.task.collator(run.processor)
    if isinstance(inputs, InputRows):
        rows, order = inputs, np.arange(len(inputs))
        size = BATCH_ROWS[device.type]
        cuts = (slice(start, start + size) for start in range(0, len(order), size))
    else:
        lengths = row_lengths(inputs)
        order = LongestFirstSampler(lengths).order
        names = [name for name in inputs.column_names if name in run.processor.model_input_names]
        inputs = inputs.select_columns(names)
        rows = TokenRows(inputs) if isinstance(collate, PadRows) else inputs
        cuts = cuts_by_tokens(lengths[order], BATCH_TOKENS[device.type])
    outputs = []
    for part in cuts:
        if isinstance(collate, PadRows):
            collate.multiple = MULTIPLE if lengths[order[part.start]] >= LONG else 1
        batch = collate(rows.__getitems__(order[part].tolist()))
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            answers = run.task.outputs(run.model, {k: v.to(device) for k, v in batch.items()}, **options)
        outputs.append(answers.cpu().numpy())
        if not np.isfinite(outputs[-1]).all():
            raise UserError(f"the model in {run.folder} answers with numbers that are NaN or infinite: it is damaged")
    return _joined(outputs)[np.argsort(order)]


def _joined(outputs: list[np.ndarray]) -> np.ndarray:
    """Batches `[b, ...]` as one array; written ids, `[b, t]`, are as long as the longest."""
    if outputs[0].ndim == 2 and np.issubdtype(outputs[0].dtype, np.integer):
        longest = max(part.shape[1] for part in outputs)
        outputs = [np.pad(p, ((0, 0), (0, longest - p.shape[1])), constant_values=IGNORED) for p in outputs]
    return np.concatenate(outputs)
