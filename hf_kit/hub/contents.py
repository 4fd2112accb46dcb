"""Which files of a run are published: those named here, and no others.

The model as transformers or PEFT read it, the facts that `evaluate` and `predict` need, results, figures, card and
proof. No checkpoint's optimizer state, no pickle, no rows; configurations without the paths that libraries leave there.
"""

import json
import os
import shutil
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from hf_kit.errors import UserError
from hf_kit.lora import ADAPTER_FILE
from hf_kit.models import own_model_types
from hf_kit.run_folder import CARD, FIGURES_OF_ROWS, MERGED, PROOF, RECIPE, RESULTS, RUN, read_json
from hf_kit.usage import CONFIG_FOLDER

WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json")
# Those that transformers' tokenizers, image processors and generation read.
PROCESSOR = (
    "generation_config.json tokenizer.json tokenizer_config.json special_tokens_map.json added_tokens.json vocab.json "
    "vocab.txt merges.txt target_vocab.json bpe.codes *.spm *.model chat_template.jinja chat_template.json "
    "preprocessor_config.json processor_config.json image_processor_config.json"
).split()
ADAPTER = ("adapter_config.json", ADAPTER_FILE)
FIGURES = "figures/*.png"
# What a push may replace or remove on the Hub: what an earlier one can have left. Files of other names stay.
MANAGED = (
    *WEIGHTS,
    *PROCESSOR,
    *ADAPTER,
    "config.json",
    f"{CONFIG_FOLDER}/*",
    FIGURES,
    RUN,
    RECIPE,
    RESULTS,
    PROOF,
    CARD,
)
# Facts of a run that its predictions need; the rest names settings of this machine.
RUN_FACTS = ("task", "state", "precision", "versions", "origin", "fingerprint")
# Left in configurations by the libraries: from where on this machine something was loaded.
OF_THIS_MACHINE = {"_name_or_path", "name_or_path", "is_local", "local_files_only"}

Files = dict[str, Path | bytes]


def model_files(folder: Path, *, merge_lora: bool = False) -> Files:
    """The model of a run folder as it is published: by name in the repository the file, or its bytes.

    An adapter whose base is on the Hub goes as an adapter; one whose base is a folder of this machine, which nobody
    else has, as the merged model. So does one on a model of ours: its base's code would have to be run to prove it, and
    the whole is hardly larger.

    Raises:
        UserError: the folder lacks a part.
    """
    is_adapter = (folder / "adapter_config.json").is_file()
    source = folder / MERGED if is_adapter else folder
    _must_be_there(source, ["config.json"])
    if is_adapter and not merge_lora and read_json(folder / "adapter_config.json").get("base_model_name_or_path"):
        config = (source / "config.json").read_text(encoding="utf-8")
        if json.loads(config).get("model_type") not in own_model_types():
            _must_be_there(folder, [*ADAPTER])
            writes = source / "generation_config.json"
            return adapter_files(folder, config, writes.read_text(encoding="utf-8") if writes.is_file() else None)
    files = _matching(source, ("config.json", *WEIGHTS, *PROCESSOR))
    if not any(name.endswith(".safetensors") for name in files):
        raise UserError(f"{source} holds no weights (model.safetensors); restore them, or train again")
    return _without_paths(files | own_code(source))


def adapter_files(folder: Path, config: str, generation: str | None) -> Files:
    """An adapter and its tokenizer.

    Args:
        config: as JSON, with the labels of its model.
        generation: as JSON, how its model writes, which PEFT does not save; None for one that does not.
    """
    files = _matching(folder, (*ADAPTER, *PROCESSOR)) | {f"{CONFIG_FOLDER}/config.json": config.encode()}
    if generation is not None:
        files["generation_config.json"] = generation.encode()
    return _without_paths(files)


def facts_of(folder: Path, recipe: str) -> Files:
    """What stands beside the model: run, recipe, results and figures.

    Args:
        recipe: the text of the published recipe.
    """
    facts = read_json(folder / RUN)
    files: Files = {
        RUN: _json({name: facts[name] for name in RUN_FACTS if name in facts}),
        RECIPE: recipe.encode(),
    }
    if (folder / RESULTS).is_file():
        files[RESULTS] = folder / RESULTS
    figures = sorted((folder / "figures").glob("*.png")) if (folder / "figures").is_dir() else []
    return files | {f"figures/{path.name}": path for path in figures if path.name not in FIGURES_OF_ROWS}


def stage(files: Mapping[str, Path | bytes], target: Path) -> Path:
    """Put `files` into the new folder `target`, linked where the disk allows it, so that weights are not copied."""
    for name, content in files.items():
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            try:
                os.link(content, path)
            except OSError:  # another disk, or one without links
                shutil.copyfile(content, path)
    return target


def own_code(folder: Path) -> Files:
    """The code of a model of ours that lies beside its weights; of no other model any code is published."""
    own = own_model_types().get(read_json(folder / "config.json").get("model_type"))
    if own is None:
        return {}
    names = {path.name for path in Path(own.__file__).parent.glob("*.py")} - {"__init__.py"}
    return {name: folder / name for name in sorted(names) if (folder / name).is_file()}


def _matching(folder: Path, patterns: tuple[str, ...] | list[str]) -> Files:
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    return {name: folder / name for name in names if any(fnmatch(name, pattern) for pattern in patterns)}


def _must_be_there(folder: Path, names: list[str]) -> None:
    for name in names:
        if not (folder / name).is_file():
            raise UserError(f"{folder} holds no {name}: the model is not whole; restore it, or train again")


def _without_paths(files: Files) -> Files:
    """Of JSON files the entries that say where on this machine a model was loaded from are left out."""
    out: Files = {}
    for name, content in files.items():
        out[name] = content
        if name.endswith("config.json"):
            text = content if isinstance(content, bytes) else content.read_bytes()
            value = json.loads(text)
            kept = _elsewhere(value)
            if kept != value:
                out[name] = _json(kept)
    return out


def _elsewhere(value: Any) -> Any:
    """JSON without the entries of this machine, at any depth: a model may hold another's configuration."""
    if isinstance(value, list):
        return [_elsewhere(each) for each in value]
    if isinstance(value, dict):
        return {key: _elsewhere(each) for key, each in value.items() if key not in OF_THIS_MACHINE}
    return value


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
