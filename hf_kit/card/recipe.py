"""A run's recipe without what is this machine's own: folders, and the settings that change no result."""

import re
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

import yaml

from hf_kit.arguments import NOT_IN_FINGERPRINT
from hf_kit.redaction import redact
from hf_kit.run_folder import RECIPE, RUN, read_json

FILES = ("train_file", "validation_file", "test_file", "word_vectors")
FILE_OR_JSON = ("deepspeed", "fsdp_config", "accelerator_config")
# Flags that take a Hub id as well as a folder, and what `run.json` says under `origin` of which it was.
HUB_OR_FOLDER = {"dataset_name": "data", "model_name_or_path": "base_model", "tokenizer_name": "tokenizer"}
LOCAL = re.compile(r"^(?:/|~|\.{1,2}[/\\]|[A-Za-z]:[/\\]|\\\\|file:)")


def published_recipe(folder: Path) -> str:
    """`recipe.yaml` as it may be seen by all; empty where the run has none.

    Of a path its last part stays, and the comment on top says which values to replace.
    """
    path = folder / RECIPE
    if not path.is_file():
        return ""
    values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    origin = read_json(folder / RUN).get("origin", {})
    kept, replaced = {}, []
    for name, value in values.items():
        if name in NOT_IN_FINGERPRINT:
            continue
        kept[name] = _published(name, value, origin)
        if kept[name] != value or name in FILES:
            replaced.append(name)
    where = f"# Put the paths of your own files in the place of: {', '.join(replaced)}\n" if replaced else ""
    text = yaml.safe_dump(kept, allow_unicode=True, sort_keys=False, width=100)
    return f"# Trains this model again: hf-kit train {RECIPE}\n{where}{text}"


def _published(name: str, value: Any, origin: dict[str, Any]) -> Any:
    if isinstance(value, list):
        return [_published("", each, origin) for each in value]
    if isinstance(value, dict):
        return {_published("", key, origin): _published("", each, origin) for key, each in value.items()}
    if not isinstance(value, str):
        return value
    known = origin.get(HUB_OR_FOLDER[name]) or {} if name in HUB_OR_FOLDER else {"id": value}
    file = name in FILES or (name in FILE_OR_JSON and not value.lstrip().startswith("{"))
    if file or "id" not in known or LOCAL.match(value):
        return redact(known.get("folder") or _last_part(value))
    return redact(value)


def _last_part(path: str) -> str:
    return (PureWindowsPath(path) if "\\" in path else PurePath(path)).name
