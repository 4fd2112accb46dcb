"""A finished run opened again: its model, processor and task, from the folder alone (or from the Hub)."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

import hf_kit.models  # noqa: F401  registers our model types with the Auto classes
from hf_kit.adapter_merging import merged_folder
from hf_kit.errors import UserError
from hf_kit.exact_head import compute_numbers_exactly
from hf_kit.hub_errors import why_not_from_hub
from hf_kit.precision import DTYPES, Precision, choose_precision
from hf_kit.run_folder import RESULTS, RUN, read_json
from hf_kit.tasks import find_task
from hf_kit.tasks.task import Task
from hf_kit.untrusted_folder import examine_folder, refuse_pickled_weights


@dataclass
class SavedRun:
    """What `evaluate` and `predict` need."""

    folder: Path
    facts: dict[str, Any]
    task: Task
    model: PreTrainedModel
    processor: Any

    def precision(self, *, bf16: bool | None = None, use_cpu: bool) -> Precision:
        """What its answers are computed in: a run in fp32 in fp32, one in less in the best that this device has."""
        return choose_precision(
            self.model.config.get_text_config().model_type,
            bf16=False if bf16 is None and self.facts["precision"] == "no" else bf16,
            fp16=None,
            launched=os.environ.get("ACCELERATE_MIXED_PRECISION", ""),
            use_cpu=use_cpu,
        )


def find_run(name: str) -> Path:
    """The run folder of that path, or the Hub's copy of it, downloaded.

    Raises:
        UserError: neither is there, it is no run of this kit, or its training never finished.
    """
    folder = Path(name).expanduser()
    if not folder.exists():
        if name.startswith((".", "/", "~")) or name.count("/") != 1 or name.startswith("runs/"):
            raise UserError(f"there is no run folder {name}")
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(name, ignore_patterns=["checkpoint-*", "last-checkpoint/*"]))
        except Exception as reason:  # of many kinds: the network's, the name's, the disk's
            why = why_not_from_hub(reason) or " ".join(str(reason).split())[:300]
            raise UserError(f"there is no run {name}: {why}") from None
    if not (folder / RUN).is_file():
        raise UserError(f"{name} is no run folder of this kit: it has no {RUN}")
    if not (folder / RESULTS).is_file():
        raise UserError(f"the run in {name} is not finished (no {RESULTS}); run its training command again first")
    facts = read_json(folder / RUN)
    missing = {"task", "state", "precision"} - set(facts)
    if missing:
        raise UserError(f"{folder / RUN} is damaged (no {', '.join(sorted(missing))} in it); restore it")
    if facts["precision"] not in list(DTYPES):
        known = ", ".join(DTYPES)
        raise UserError(f"{folder / RUN} is damaged (precision {facts['precision']!r}; allowed: {known}); restore it")
    return folder


def open_run(name: str, flags: Any = None) -> SavedRun:
    """Load a run's model in float32, on the CPU, in eval mode.

    Args:
        flags: the task's `Arguments` with what a caller names anew (columns, say).
    """
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    folder = find_run(name)
    task = open_task(folder, flags)
    weights = merged_folder(folder, f"the model in {folder}")
    for part in dict.fromkeys((folder, weights)):
        examine_folder(part, f"the model in {part}")
    refuse_pickled_weights(weights, f"the model in {weights}")
    if not (weights / "config.json").is_file():
        raise UserError(f"the model in {weights} is not whole: it has no config.json; restore it, or train again")
    try:
        # Said out loud: unset, transformers would ask on the terminal whether to run a folder's code.
        model = task.auto_class.from_pretrained(
            weights, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
        )
        processor = task.open_processor(weights)
    except Exception as reason:  # of many kinds: the file's, the configuration's, the tokenizer's
        raise UserError(f"the model in {weights} cannot be loaded: {_why_not_loaded(reason)}") from None
    task.read_decision(model.config)
    compute_numbers_exactly(model)
    return SavedRun(folder, read_json(folder / RUN), task, model.eval(), processor)


def open_task(folder: Path, flags: Any = None) -> Task:
    """The task of a run folder as training left it.

    Raises:
        UserError: the folder's facts are damaged.
    """
    facts = read_json(folder / RUN)
    task_class = find_task(facts["task"])
    task = task_class(flags if flags is not None else task_class.Arguments())
    try:
        task.restore(facts["state"])
    except (KeyError, TypeError, AttributeError, ValueError) as reason:
        raise UserError(f"{folder / RUN} is damaged ({reason!r} in `state`); restore it") from None
    return task


def _why_not_loaded(reason: Exception) -> str:
    said = " ".join(str(reason).split())[:300]
    if "ignore_mismatched_sizes" in said:
        return "its weights have other shapes than config.json says; restore both"
    if "instantiate the backend tokenizer" in said:
        return "it holds no tokenizer files (tokenizer.json) that can be read; restore them"
    return said
