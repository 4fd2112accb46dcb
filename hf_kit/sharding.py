"""A model that FSDP2 or DeepSpeed shards over the processes: what is taken apart, and put together again for files.

accelerate (1.15) makes one unit of each layer whose class is among the model's `_no_split_modules`, and then one of the
input embeddings. Where a layer of that list holds them, as `BertEmbeddings` does, they would be taken apart twice, and
torch stops with an error that says nothing of it.

Files hold whole tensors under the names of one process, as without sharding: in safetensors, and not in the pickles of
accelerate's `save_fsdp_model` and `save_fsdp_optimizer`. (DeepSpeed writes the optimizer's state its own way.)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from peft import PeftModel, get_peft_model_state_dict
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from transformers.integrations import deepspeed

from hf_kit.errors import UserError


def shards(accelerator: Accelerator) -> dict[str, str]:
    """What takes the model apart: `{"sharded by": ...}`, or nothing. A checkpoint can be read by the same alone."""
    kind = accelerator.distributed_type
    if kind == DistributedType.FSDP:
        return {"sharded by": "FSDP2"}
    if kind == DistributedType.DEEPSPEED:
        return {"sharded by": f"DeepSpeed ZeRO-{accelerator.state.deepspeed_plugin.zero_stage}"}
    return {}


def compute_with_deepspeed_in(dtype: torch.dtype, config: dict[str, Any]) -> None:
    """Put the format into DeepSpeed's configuration: the launcher has said "no" there where nobody named one."""
    for name, own in (("fp16", torch.float16), ("bf16", torch.bfloat16)):
        config[name] = (config.get(name) or {}) | {"enabled": dtype == own}


def choose_layers(accelerator: Accelerator, model: nn.Module) -> None:
    """Leave layers that hold the embeddings to their parts, unless the user has named the classes of the layers.

    Raises:
        UserError: the model cannot be sharded.
    """
    plugin = getattr(accelerator.state, "fsdp_plugin", None)
    if plugin is None:
        return
    shared = shared_by_three(model)
    if shared:
        raise UserError(
            f"FSDP2 cannot shard {type(model).__name__}: {', '.join(shared)} are one weight, and accelerate keeps two "
            "of them together at most. Take --accelerate_config deepspeed_zero3 or deepspeed_zero2, or, where the "
            "model fits on one device, multi_gpu"
        )
    if plugin.transformer_cls_names_to_wrap is None:
        plugin.transformer_cls_names_to_wrap = layers_to_shard(model)


def shared_by_three(model: nn.Module) -> list[str]:
    """The names of a weight that three modules or more have in common, as encoder, decoder and output often do."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return next((own for own in names.values() if len(own) > 2), [])


def layers_to_shard(model: nn.Module) -> list[str]:
    """The classes of `model`'s `_no_split_modules` that it has and that hold no embeddings, sorted.

    Where there are none (Marian's list is empty), those of its stacks of layers: what its outermost `ModuleList`s hold.
    """
    table = model.get_input_embeddings()
    holders = {type(module).__name__ for module in model.modules() if table in list(module.modules())[1:]}
    present = {type(module).__name__ for module in model.modules()}
    named = (set(model._no_split_modules or ()) & present) - holders
    return sorted(named or {type(layer).__name__ for layer in _stacked(model)} - holders)


def _stacked(module: nn.Module) -> list[nn.Module]:
    if isinstance(module, nn.ModuleList):
        return list(module)
    return [layer for child in module.children() for layer in _stacked(child)]


@contextmanager
def in_one_piece() -> Iterator[None]:
    """What is made here is whole, also under ZeRO-3, until DeepSpeed takes the finished model apart.

    transformers would spread each weight over the processes while it is made: then a head cannot be looked at or
    started, and nothing can be made by one process alone. It costs each process the memory of the whole model once.
    """
    reference = deepspeed._hf_deepspeed_config_weak_ref
    deepspeed.unset_hf_deepspeed_config()
    try:
        yield
    finally:
        deepspeed._hf_deepspeed_config_weak_ref = reference


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Within, weights that ZeRO-3 has taken apart are whole; afterwards all processes have what the main one made of
    them."""
    if not deepspeed.is_deepspeed_zero3_enabled():
        yield
        return
    from deepspeed import zero

    with zero.GatheredParameters(list(model.parameters()), modifier_rank=0):
        yield


@contextmanager
def with_its_own_classes(model: nn.Module) -> Iterator[None]:
    """`model` and its parts of the classes that they had before they were sharded, by whose names and code they load.

    FSDP2 puts a class of its own making, from a module of torch, in the place of each.
    """
    sharded = [(part, type(part)) for part in model.modules() if isinstance(part, FSDPModule)]
    for part, made in sharded:
        part.__class__ = next(base for base in made.__bases__ if base is not FSDPModule)
    try:
        yield
    finally:
        for part, made in sharded:
            part.__class__ = made


def whole(tensor: Tensor) -> Tensor:
    """`tensor` with the parts that other processes hold; of one that is sharded all processes must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def each_once(model: nn.Module, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """`weights` as `save_pretrained` writes them of one process: without the other names of those that are tied.

    It knows them by their place in memory, and what was gathered from several processes lies in two.
    """
    copies = getattr(model, "all_tied_weights_keys", None) or {}
    return {name: tensor for name, tensor in weights.items() if name not in copies}


def whole_optimizer_state(model: nn.Module, optimizer: Optimizer) -> dict[str, Any]:
    """By parameters' names, on the CPU of the first process; empty on the others. All processes must ask."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return get_optimizer_state_dict(model, optimizer, options=options)


def take_optimizer_state(model: nn.Module, optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Give `optimizer` its part of what `whole_optimizer_state` found; on all processes, each with the whole."""
    set_optimizer_state_dict(model, optimizer, state, options=StateDictOptions(full_state_dict=True))


def take_weights(model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Give `model` its part of `weights`, named as `save_pretrained` names them; on all processes, each with the whole.

    Of an adapted model they are the adapter's.
    """
    if isinstance(model, PeftModel):
        own = dict(model.named_parameters())
        names = {id(parameter): name for name, parameter in own.items()}
        written = get_peft_model_state_dict(model, state_dict=own)
        weights = {names[id(parameter)]: weights[name] for name, parameter in written.items()}
    set_model_state_dict(model, weights, options=StateDictOptions(full_state_dict=True, strict=False))
