"""What makes a run this run and no other: its folder, the parts of its fingerprint, and what is noted before step 1."""

import platform
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import PreTrainedConfig

import hf_kit
from hf_kit import backbone, run_folder
from hf_kit.arguments import DATA_SOURCES, NOT_IN_FINGERPRINT, Arguments
from hf_kit.origin import describe_origin
from hf_kit.tasks.task import Prepared, Task
from hf_kit.vector_file import VectorFile


def settle_folder(
    arguments: Arguments, task: Task, prepared: Prepared, config: PreTrainedConfig
) -> tuple[Path, str, dict[str, Any]]:
    """The run folder, what it is to this run ("new", "unfinished", "finished"), and the fingerprint's parts."""
    # Rows, checkpoints, tokenizers and word vectors count by their contents, wherever they lie.
    left_out = NOT_IN_FINGERPRINT | DATA_SOURCES | {"model_name_or_path", "word_vectors"}
    parts = {k: v for k, v in arguments.values().items() if k not in left_out}
    parts |= {f"{name} rows": run_folder.hash_rows(task.contents(split)) for name, split in prepared.splits().items()}
    if arguments.model.word_vectors:
        parts["word vectors"] = run_folder.hash_file(VectorFile(arguments.model.word_vectors).path)
    tokenizer = Path(arguments.model.tokenizer_name or "").expanduser()
    if arguments.model.tokenizer_name and tokenizer.is_dir():
        parts["tokenizer_name"] = run_folder.hash_folder(tokenizer)
    name = arguments.model.model_name_or_path
    if name is None:
        label = config.model_type
    else:
        found, commit = backbone.examined(arguments.model)
        label = Path(name).name
        parts["checkpoint"] = run_folder.hash_folder(Path(found)) if Path(found).is_dir() else f"{name}@{commit}"
    parts["mixed_precision"] = arguments.training.mixed_precision
    if arguments.sources.get("output_dir") is None:
        data = arguments.sources["data"]
        arguments.training.output_dir = f"runs/{label}-{data}-{run_folder.fingerprint(parts)[:8]}"
        arguments.sources["output_dir"] = "model, data and fingerprint"
    folder = Path(arguments.training.output_dir)
    return folder, run_folder.open_run_folder(folder, parts), parts


def write_run_facts(folder: Path, arguments: Arguments, task: Task, prepared: Prepared, parts: dict[str, Any]) -> None:
    """`run.json` and `recipe.yaml`, before the first step."""
    facts = {
        "task": arguments.task_name,
        "state": task.state(),
        "precision": arguments.training.mixed_precision,
        "versions": versions(),
        "origin": describe_origin(arguments, prepared.splits(), task.state()),
        "fingerprint": run_folder.fingerprint(parts),
        "fingerprint_of": parts,
    }
    run_folder.write_json(folder / run_folder.RUN, facts)
    values = arguments.values()
    kept = {"task": arguments.task_name} | {
        name: values[name] for name in values if arguments.sources.get(name) and name not in ("output_dir", "data")
    }
    run_folder.write_recipe(
        folder / run_folder.RECIPE,
        {name: value for name, value in kept.items() if value is not None},
        "# Written by hf_kit: every setting that was not a default. Reruns this experiment:\n"
        f"#   accelerate launch recipes/train.py {folder / run_folder.RECIPE}\n",
    )


def versions() -> dict[str, str]:
    return {
        "hf_kit": hf_kit.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }
