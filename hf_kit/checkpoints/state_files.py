"""A training state as two files without pickle: `<name>.json` and, for its tensors, `<name>.safetensors`.

The JSON holds the tree (dictionaries, lists, tuples, numbers, texts) with the names of the tensors in it. Floats are
written so that they are read back as the same bits; tensors keep their bits anyway.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

PLAIN = (str, int, float, bool, type(None))


def write_state(folder: Path, name: str, state: Any) -> list[str]:
    """Write `folder/<name>.json` and `folder/<name>.safetensors`; the names of the two.

    Raises:
        TypeError: a value in it that only pickle could write; its place is named.
    """
    tensors: dict[str, torch.Tensor] = {}
    tree = _packed(state, name, tensors)
    save_file(_each_its_own(tensors), folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text(json.dumps(tree), encoding="utf-8")
    return [f"{name}.json", f"{name}.safetensors"]


def read_state(folder: Path, name: str) -> Any:
    """What `write_state` was given; its tensors are on the CPU."""
    tree = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return _unpacked(tree, load_file(folder / f"{name}.safetensors"))


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """The model, or the adapter, that `save_pretrained` wrote, in however many files; on the CPU."""
    files = sorted([*folder.glob("model*.safetensors"), *folder.glob("adapter_model*.safetensors")])
    return {name: tensor for path in files for name, tensor in load_file(path).items()}


def _packed(value: Any, place: str, tensors: dict[str, torch.Tensor]) -> Any:
    """`value` as JSON; each object has one key, which says what it stands for."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, torch.Tensor):
        return {"tensor": _add(value.detach().contiguous(), place, tensors)}
    if isinstance(value, np.ndarray):
        return {"array": _add(torch.from_numpy(np.ascontiguousarray(value)), place, tensors)}
    if isinstance(value, dict):
        pairs = [[_packed(k, place, tensors), _packed(v, f"{place}.{k}", tensors)] for k, v in value.items()]
        return {"dict": pairs}
    if isinstance(value, (list, tuple)):
        items = [_packed(item, f"{place}.{i}", tensors) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"tuple": items}
    raise TypeError(f"{place}: a {type(value).__name__} cannot be written without pickle")


def _add(tensor: torch.Tensor, place: str, tensors: dict[str, torch.Tensor]) -> str:
    """Note a tensor under a name of its own: places can read alike, as those of the keys 1 and "1"."""
    name = f"{len(tensors)}.{place}"
    tensors[name] = tensor
    return name


def _each_its_own(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What several places have in common, as the tables of 8-bit optimizers, once for each: safetensors wants it so."""
    seen, own = set(), {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage().data_ptr()
        own[name] = tensor.clone() if storage in seen and tensor.numel() else tensor
        seen.add(storage)
    return own


def _unpacked(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpacked(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "array":
        return tensors[content].numpy()
    if kind == "tuple":
        return tuple(_unpacked(item, tensors) for item in content)
    return {_unpacked(k, tensors): _unpacked(v, tensors) for k, v in content}
