"""Answers for new inputs from a saved run: in the inputs' order, batches by length, memory constant in their number."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch

from hf_kit.errors import UserError
from hf_kit.sampler import LongestFirstSampler, row_lengths
from hf_kit.saved_run import SavedRun
from hf_kit.windows import average_windows


def best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def predict(
    run: SavedRun, items: Iterable[Any], batch_size: int = 64, block: int = 2048, windows: bool = False
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield `(input row, answer)` for every input, in order, computed in float32.

    Args:
        items: what `Task.input_row` takes: for text classification a text, a pair of texts or a dictionary of them.
        batch_size: rows per forward pass.
        block: rows tokenized and sorted by length together; 1 answers each line of a live stream at once.
        windows: read an input too long for the model whole, in overlapping windows, and average their logits.

    Raises:
        UserError: an input that this model does not read; `windows` with a task that reads its inputs whole.
    """
    device = best_device()
    run.model.to(device)
    collate = run.task.collator(run.processor)
    preprocess = run.task.preprocess_windows if windows else run.task.preprocess
    items = iter(items)
    while rows := [run.task.input_row(item) for item in islice(items, block)]:
        inputs, _ = preprocess(run.task.input_dataset(rows), run.processor, "input", cached=False)
        row = np.asarray(inputs["row"][:]) if windows else None
        order = LongestFirstSampler(row_lengths(inputs)).order
        names = [n for n in inputs.column_names if n in run.processor.model_input_names]
        inputs = inputs.select_columns(names)
        outputs = []
        for start in range(0, len(order), batch_size):
            batch = collate([inputs[int(i)] for i in order[start : start + batch_size]])
            with torch.inference_mode():
                logits = run.model(**{k: v.to(device) for k, v in batch.items()}).logits
            outputs.append(logits.float().cpu().numpy())
            if not np.isfinite(outputs[-1]).all():
                raise UserError(
                    f"the model in {run.folder} answers with numbers that are NaN or infinite: it is damaged"
                )
        predictions = np.concatenate(outputs)[np.argsort(order)]
        if windows:
            predictions = average_windows(predictions, row, len(rows))
        yield from zip(rows, run.task.decode(predictions), strict=True)
