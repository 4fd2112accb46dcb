"""Answers for new inputs from a saved run: in the inputs' order, batches by length, memory constant in their number."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch

from hf_kit.errors import UserError
from hf_kit.sampler import LongestFirstSampler, row_lengths
from hf_kit.saved_run import SavedRun


def best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def predict(
    run: SavedRun, items: Iterable[Any], batch_size: int = 64, window: int = 2048
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield `(input row, answer)` for every input, in order, computed in float32.

    Args:
        items: what `Task.input_row` takes: for text classification a text, a pair of texts or a dictionary of them.
        batch_size: rows per forward pass.
        window: rows tokenized and sorted by length together; 1 answers each line of a live stream at once.

    Raises:
        UserError: an input that this model does not read.
    """
    device = best_device()
    run.model.to(device)
    collate = run.task.collator(run.processor)
    items = iter(items)
    while rows := [run.task.input_row(item) for item in islice(items, window)]:
        inputs, _ = run.task.preprocess(run.task.input_dataset(rows), run.processor, "input", cached=False)
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
        yield from zip(rows, run.task.decode(np.concatenate(outputs)[np.argsort(order)]), strict=True)
