"""Where a model comes from, for `run.json` and the model card: data, base model, language, hardware, versions.

A run folder may be published. So nothing here names this machine, its user or a folder: of a file or a folder of this
machine its base name stays.
"""

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from huggingface_hub import hf_hub_download, metadata_load

from hf_kit.arguments import Arguments, DataArguments, ModelArguments
from hf_kit.backbone import examined
from hf_kit.data.files import is_local_folder
from hf_kit.data.languages import base_language
from hf_kit.data.streamed_rows import StreamedRows

LIBRARIES = "hf_kit torch transformers tokenizers datasets accelerate peft safetensors huggingface_hub".split()
# Words that English texts of every kind are full of, and that are no words of its neighbours.
ENGLISH = set("the and to that you with this have are not what they be it my for".split())
MOST_TEXTS = 2000  # looked at for their language
HAN, KANA_AND_HANGUL = "\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff", "\u3040-\u30ff\uac00-\ud7af"
# In the addresses from which `datasets` had the files of a data set of the Hub.
COMMIT = re.compile(r"^hf://datasets/[^@]+@([0-9a-f]{40})/")


def describe_origin(
    arguments: Arguments, splits: dict[str, Dataset | StreamedRows], state: dict[str, Any]
) -> dict[str, Any]:
    """What `run.json` says under `origin`, as JSON.

    Args:
        splits: the run's rows, `train` among them.
        state: the task's; its `columns` name those of the texts, where there are texts. Of a translator it says the
            languages as well, where they are known.

    Returns:
        `data`: a data set's Hub `id`, `config` and `revision`, or the base name of a `folder` or of `files` by split,
        or `sample`; and `splits`, the published split that the rows of each split are from. `base_model` (None for a
        fresh model) and `tokenizer` (None for the model's own): a Hub `id` and `revision`, or a `folder`; of the base
        also the `license` and `language` that its card names. `languages`: codes, where they are clear; of a translator
        the source's, then the target's, or none. `hardware`: `device`, `name`, `count` of devices, `cores`,
        `processes`. `versions`.
    """
    return {
        "data": _data(arguments.data, splits),
        "base_model": _base_model(arguments.model),
        "tokenizer": _named(arguments.model.tokenizer_name),
        "languages": _languages(splits["train"], state),
        "hardware": _hardware(arguments.training.device.type, arguments.training.world_size),
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in LIBRARIES},
    }


def languages_of(texts: list[str]) -> list[str]:
    """`en`, `zh` or both, where nearly all texts are clearly so; else nothing.

    A text is taken as Chinese where Chinese characters are a third of its letters or more, without kana or hangul. The
    others are English where they are written in ASCII and hold English's small words as often as English does.
    """
    chinese, others = [], []
    for text in texts:
        if re.search(r"[^\W\d_]", text):  # it has letters
            is_chinese = _share(HAN, text) > 1 / 3 and not re.search(f"[{KANA_AND_HANGUL}]", text)
            (chinese if is_chinese else others).append(text)
    all_others = " ".join(others)
    words = re.findall(r"[a-z]+", all_others.lower())
    english = (
        len(words) >= 20
        and _share("A-Za-z", all_others) > 0.95
        and sum(word in ENGLISH for word in words) > 0.08 * len(words)
    )
    known = len(chinese) + len(others)
    if not known or (not english and len(others) > 0.05 * known):
        return []
    counted = {"en": len(others) if english else 0, "zh": len(chinese)}
    return [code for code, count in counted.items() if count > 0.05 * known]


def _languages(train: Dataset | StreamedRows, state: dict[str, Any]) -> list[str]:
    named = state.get("columns", {})
    if "target" not in named:
        return languages_of(_texts(train, [named[key] for key in ("text", "text_pair") if named.get(key)]))
    sides = {"source_lang": named["source"], "target_lang": "labels"}  # as `prepare` calls the target's column
    found = [
        [base_language(state[side])] if base_language(state[side]) else languages_of(_texts(train, [column]))
        for side, column in sides.items()
    ]
    return [codes[0] for codes in found] if all(len(codes) == 1 for codes in found) else []


def _share(characters: str, text: str) -> float:
    """That of `characters` (a class of a regular expression) among the letters."""
    return len(re.findall(f"[{characters}]", text)) / max(1, len(re.findall(r"[^\W\d_]", text)))


def _texts(train: Dataset | StreamedRows, columns: list[str]) -> list[str]:
    """Some from all over the rows."""
    if not columns:
        return []
    rows = train.sample() if isinstance(train, StreamedRows) else train
    some = rows.select(range(0, len(rows), max(1, len(rows) // MOST_TEXTS))).select_columns(columns)
    return [text for column in columns for text in some[column][:] if text]


def _data(data: DataArguments, splits: dict[str, Dataset | StreamedRows]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    files = {role: getattr(data, f"{role}_file") for role in ("train", "validation", "test")}
    if data.dataset_name is None:
        named = {role: Path(name).name for role, name in files.items() if name is not None}
        out |= {"files": named} if named else {"sample": True}
    elif is_local_folder(data.dataset_name):
        out["folder"] = _base_name(data.dataset_name)
    else:
        out["id"], out["config"] = data.dataset_name, data.dataset_config_name
        out["revision"] = _commit(splits) or data.dataset_revision
    names = {role: getattr(rows, "split", None) for role, rows in splits.items()}
    return out | {"splits": {role: str(name) for role, name in names.items() if name is not None}}


def _commit(splits: dict[str, Dataset | StreamedRows]) -> str | None:
    """The commit that a data set of the Hub was loaded at, as its rows remember it."""
    for rows in splits.values():
        if isinstance(rows, Dataset):
            for address in rows.info.download_checksums or {}:
                if found := COMMIT.match(address):
                    return found[1]
    return None


def _base_name(path: str) -> str:
    return Path(path).expanduser().resolve().name


def _named(name: str | None) -> dict[str, Any] | None:
    """A checkpoint by its Hub id, or by the base name of its folder."""
    if name is None:
        return None
    return {"folder": _base_name(name)} if Path(name).expanduser().is_dir() else {"id": name}


def _base_model(model: ModelArguments) -> dict[str, Any] | None:
    named = _named(model.model_name_or_path)
    if named is None:
        return None
    if "id" in named:
        named["revision"] = examined(model)[1]
    return named | _said_by_its_card(model.model_name_or_path, named.get("revision"))


def _said_by_its_card(name: str, revision: str | None) -> dict[str, Any]:
    """`license` (with `license_name` and `license_link`) and `language`, as far as they are there."""
    try:
        local = Path(name).expanduser()
        card = local / "README.md" if local.is_dir() else hf_hub_download(name, "README.md", revision=revision)
        said = metadata_load(card) or {}
    except Exception:  # no card, none to be had, none that can be read: nothing is known
        return {}
    out = {key: said[key] for key in ("license", "license_name", "license_link") if isinstance(said.get(key), str)}
    named = said.get("language")
    languages = [code for code in (named if isinstance(named, list) else [named]) if isinstance(code, str)]
    return out | ({"language": languages} if languages else {})


def _hardware(device: str, processes: int) -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    name = torch.cuda.get_device_name() if device == "cuda" else _processor()
    count = processes if device == "cuda" else 1
    return {"device": device, "name": name, "count": count, "cores": cores, "processes": processes}


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:  # not Linux
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()
