"""A checkpoint written by others is examined before anything of it is loaded.

Its configuration files can name code to run (`auto_map`), code to fetch (an attention kernel of the Hub), and files
anywhere on this machine (the pieces of its weights, a tokenizer's file); its files can be links to others, and its
weights a pickle. What transformers and PEFT make of that differs from version to version, and some of it happens
without a word; here it is refused first, in one sentence.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hf_kit.errors import UserError
from hf_kit.links import leads_outside
from hf_kit.models import own_model_types

# What transformers and PEFT read settings from; of a Hub's model they come first, and then the same commit's weights.
EXAMINED = (
    "config.json config.*.json generation_config.json adapter_config.json *.safetensors.index.json "
    "tokenizer_config.json special_tokens_map.json added_tokens.json *processor_config.json"
).split()
TEMPLATES, MERGED = "additional_chat_templates", "merged"

# Any other value makes transformers look for a package, or fetch and run a kernel of the Hub.
KERNELS_OF_TORCH = {
    "attn_implementation": ["eager", "sdpa", "flex_attention"],
    "experts_implementation": ["eager", "batched_mm", "grouped_mm"],
}
# Left by old versions, as paths of the machine where the tokenizer was saved; no version opens them.
NEVER_OPENED = {"special_tokens_map_file", "tokenizer_config_file", "added_tokens_file", "chat_template_file"}


def examine_checkpoint(
    name: str, what: str, *, revision: str | None = None, trust_remote_code: bool = False
) -> str | None:
    """Examine what a model or a tokenizer is about to be loaded from.

    Args:
        name: a folder, or an id on the Hub, whose configuration files are downloaded for it.
        what: the message's first words, as `--model_name_or_path NAME`.

    Returns:
        The revision to load: on the Hub the commit that was examined.

    Raises:
        UserError: naming the file, the key, its value, what is allowed and the remedy.
        OSError, ValueError: of huggingface_hub, where the Hub does not give it (see `why_not_from_hub`).
    """
    if Path(name).is_dir():
        examine_folder(Path(name), what, trust_remote_code=trust_remote_code)
        return revision
    from huggingface_hub import snapshot_download

    snapshot = Path(snapshot_download(name, revision=revision, allow_patterns=EXAMINED))
    examine_folder(snapshot, what, trust_remote_code=trust_remote_code)
    return snapshot.name


def examine_folder(folder: Path, what: str, *, trust_remote_code: bool = False) -> None:
    """As `examine_checkpoint`, for a folder."""
    _examine_links(folder, what)
    if (folder / "config.json").is_file() and (folder / "adapter_config.json").is_file():
        raise UserError(
            f"{what}: adapter_config.json lies beside config.json, and the adapter would be put on the model unasked; "
            "merge the two (PEFT's `merge_and_unload`) and save that, or remove adapter_config.json"
        )
    own = read_object(folder / "config.json", what).get("model_type") in list(own_model_types())
    files = {path for pattern in EXAMINED for path in folder.glob(pattern) if path.is_file()}
    for path in sorted(files):
        for key, value in _entries(read_object(path, what)):
            where = f"{what}: {path.name}: `{key}` is {_shown(value)}"
            if key == "auto_map" and value and not own:
                _examine_code(where, value, trust_remote_code)
            elif key == "quantization_config" and value:
                raise UserError(
                    f"{where}: its weights are quantized, which needs code of other packages and cannot be finetuned "
                    "here; give the checkpoint in float32, float16 or bfloat16"
                )
            else:
                _examine_kernel(where, key, value)
                _examine_files(where, key, value, folder)


def refuse_foreign_kernels(values: dict[str, Any], what: str) -> None:
    """Raises: UserError: a key of a model's configuration chooses an implementation that would be fetched."""
    for key, value in _entries(values):
        _examine_kernel(f"{what}: `{key}` is {_shown(value)}", key, value)


def refuse_pickled_weights(folder: Path, what: str) -> None:
    """Raises: UserError: the folder's weights are a pickle, or there are none."""
    if any(path.is_file() for path in folder.glob("*.safetensors")):
        return
    pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in folder.glob(pattern))
    if pickles:
        raise UserError(
            f"{what}: its weights are a pickle ({pickles[0]}), which can run code when it is read; allowed: "
            "safetensors. If you trust it, load it with transformers and `save_pretrained` it to another folder"
        )
    raise UserError(f"{what}: the folder holds no weights (model.safetensors)")


def _examine_links(folder: Path, what: str) -> None:
    inside = [path for path in folder.iterdir() if path.is_file() or path.name in (TEMPLATES, MERGED)]
    inside += (folder / TEMPLATES).glob("*")
    for path in inside:
        if leads_outside(path, folder):
            raise UserError(
                f"{what}: {path.relative_to(folder)} is a link to {path.resolve()}, outside the folder; if it belongs "
                "to the model, put a copy in its place"
            )


def _examine_kernel(where: str, key: str, value: Any) -> None:
    allowed = KERNELS_OF_TORCH.get(key.removeprefix("_").removesuffix("_internal"))
    if allowed is None:
        return
    for chosen in value.values() if isinstance(value, dict) else [value]:  # a dictionary: one for each part of a model
        if chosen is not None and chosen not in allowed:
            raise UserError(
                f"{where}: it would run code from elsewhere, a kernel of the Hub or another package; allowed: "
                f"{', '.join(allowed)}. Remove the key, or set one of these"
            )


def _examine_code(where: str, value: Any, trust_remote_code: bool) -> None:
    """Code of the checkpoint itself, at the commit that the user has read, and no other."""
    if not trust_remote_code:
        raise UserError(
            f"{where}: it asks to run Python code of its own. If you have read that code, give --trust_remote_code and "
            "its commit in --model_revision (a tokenizer's code runs only if it is the model's own, without "
            "--tokenizer_name); to use it with the library's own classes, remove the key"
        )
    for reference in _strings(value):
        module, _, name = reference.partition(".")
        if not (module.isidentifier() and name.isidentifier()):
            raise UserError(
                f"{where}: `{reference}` is code of another place than the commit in --model_revision; allowed: "
                "`module.Class`, of a file beside config.json"
            )


def _examine_files(where: str, key: str, value: Any, folder: Path) -> None:
    """A file that a configuration names lies in the folder."""
    if key in ("weight_map", "transformers_weights"):
        for name in set(_strings(value)):
            if not _is_plain(name) or not name.endswith((".safetensors", ".safetensors.index.json")):
                raise UserError(f"{where}: `{name}` is not allowed there; allowed: a .safetensors file beside it")
    elif key in ("configuration_files", "fast_tokenizer_files"):
        for name in _strings(value):
            if not _is_plain(name):
                raise UserError(f"{where}: `{name}` lies outside the folder; allowed: the name of a file in it")
    elif key.endswith("_file") and isinstance(value, str) and key not in NEVER_OPENED:
        # An absolute path where nothing lies is a leftover of the machine that saved it; so is a tokenizer's beside
        # the folder's own, which is the one that is read.
        own_is_read = key == "tokenizer_file" and (folder / "tokenizer.json").is_file()
        leftover = Path(value).is_absolute() and (own_is_read or not Path(value).exists())
        if leads_outside(folder / value, folder) and not leftover:
            raise UserError(
                f"{where}, a file outside the folder; allowed: the name of a file in it. Remove the key, or put the "
                "file there"
            )


def read_object(path: Path, what: str) -> dict[str, Any]:
    """The file's object; an empty one where there is no file.

    Raises:
        UserError: it cannot be read as a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as reason:
        raise UserError(f"{what}: {path.name} is not a valid JSON file ({reason}); fetch it again") from None
    if not isinstance(value, dict):
        raise UserError(f"{what}: {path.name} holds {_shown(value)}; it must be one JSON object: fetch it again")
    return value


def _entries(values: Any) -> Iterator[tuple[str, Any]]:
    """All keys with their values, those of nested objects as well: a model's parts have configurations of their own."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield key, value
            if key != "weight_map":
                yield from _entries(value)
    elif isinstance(values, list):
        for value in values:
            yield from _entries(value)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def _is_plain(name: str) -> bool:
    return name not in ("", ".", "..") and not set("/\\") & set(name)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:117]}..."
