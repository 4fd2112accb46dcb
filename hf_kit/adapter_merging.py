"""An adapter that came without its merged model, as one from the Hub does, made one with its base.

The result is an ordinary checkpoint in the Hub library's cache, made once: whatever reads checkpoints can go on from
there. Its configuration is the one that a push has put beside the adapter, for the base's own knows other labels.
"""

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import constants, snapshot_download, try_to_load_from_cache
from peft import PeftModel
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer, GenerationConfig

import hf_kit.models  # noqa: F401  registers our model types with the Auto classes
from hf_kit import console
from hf_kit.errors import UserError
from hf_kit.hub_errors import why_not_from_hub
from hf_kit.untrusted_folder import MERGED, examine_checkpoint, examine_folder, read_object, refuse_pickled_weights
from hf_kit.usage import CONFIG_FOLDER


def merged_folder(folder: Path, what: str) -> Path:
    """Where the whole model of `folder` lies: the folder, its `merged/`, or the cache, where it is made now.

    Args:
        what: the message's first words, as `--model_name_or_path NAME`.

    Raises:
        UserError: an adapter without what it needs, or one that asks for something unsafe.
    """
    if (folder / MERGED).is_dir():
        return folder / MERGED
    if (folder / "config.json").is_file() or not (folder / "adapter_config.json").is_file():
        return folder
    adapter = read_object(folder / "adapter_config.json", what)
    base, revision = adapter.get("base_model_name_or_path"), adapter.get("revision")
    if not base or Path(base).exists() or not (folder / CONFIG_FOLDER / "config.json").is_file():
        raise UserError(
            f"{what}: the folder holds an adapter alone (its base: {base}), and no {MERGED}/; merge the two (PEFT's "
            "`merge_and_unload`) and give the folder that this is saved in"
        )
    for part in (folder, folder / CONFIG_FOLDER):
        examine_folder(part, what)
    refuse_pickled_weights(folder, what)
    target = Path(constants.HF_HOME) / "hf_kit" / MERGED / _digest(folder, base)
    if not (target / "config.json").is_file():
        console.say(f"merging the adapter with its base {base}, once, into {target}")
        _merge(folder, base, revision, what, target)
    return target


def hub_adapter(name: str, revision: str | None) -> Path | None:
    """The Hub's copy of the adapter `name` at the commit `revision`, downloaded; None where that is a whole model.

    Its configuration files are in the cache already (`examine_checkpoint`).

    Raises:
        OSError, ValueError: of huggingface_hub, where the Hub does not give it (see `why_not_from_hub`).
    """
    there = [
        isinstance(try_to_load_from_cache(name, file, revision=revision), str)
        for file in ("config.json", "adapter_config.json")
    ]
    if there != [False, True]:
        return None
    wanted = ["*.json", "*.safetensors", "*.model", "*.spm", "*.txt", "*.jinja", f"{CONFIG_FOLDER}/*"]
    left_out = ["checkpoint-*", "last-checkpoint/*", "results.json"]
    return Path(snapshot_download(name, revision=revision, allow_patterns=wanted, ignore_patterns=left_out))


def _merge(folder: Path, base: str, revision: str | None, what: str, target: Path) -> None:
    try:
        # What is in the base is of others too.
        revision = examine_checkpoint(base, f"{what}, its base {base}", revision=revision)
        config = AutoConfig.from_pretrained(folder / CONFIG_FOLDER, trust_remote_code=False)
        model = _auto_class(config).from_pretrained(
            base,
            config=config,
            revision=revision,
            trust_remote_code=False,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # the base's own head, whose place the adapter's takes
            dtype=torch.float32,
        )
        merged = PeftModel.from_pretrained(model, folder).merge_and_unload()
        if (folder / "generation_config.json").is_file():  # the base's own may write in another language
            merged.generation_config = GenerationConfig.from_pretrained(folder)
        aside = target.with_name(f".{target.name}.{os.getpid()}.part")
        shutil.rmtree(aside, ignore_errors=True)
        merged.save_pretrained(aside)
        reader = AutoImageProcessor if (folder / "preprocessor_config.json").is_file() else AutoTokenizer
        reader.from_pretrained(folder, trust_remote_code=False).save_pretrained(aside)
        shutil.rmtree(target, ignore_errors=True)
        aside.rename(target)
    except UserError:
        raise
    except Exception as reason:  # of many kinds: the network's, the file's, the configuration's, the disk's
        why = why_not_from_hub(reason, revision) or " ".join(str(reason).split())[:250]
        raise UserError(f"{what}: its base {base} and the adapter cannot be made one model: {why}") from None


def _auto_class(config: Any) -> type:
    """The Auto class of the model that the configuration was saved with."""
    _, _, head = (config.architectures or [""])[0].partition("For")
    return getattr(transformers, f"AutoModelFor{head}", transformers.AutoModelForSeq2SeqLM)


def _digest(folder: Path, base: str) -> str:
    """Of all that the merged model is made from, 64 hex digits; its base's commit stands in the adapter."""
    total = hashlib.sha256(base.encode())
    for path in sorted(p for p in (*folder.glob("*.*"), *(folder / CONFIG_FOLDER).glob("*")) if p.is_file()):
        if path.suffix in (".json", ".safetensors"):
            with path.open("rb") as stream:
                total.update(path.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()
