"""Weights that no step changes, held in the format that autocast computes in.

Autocast casts a float32 weight anew at every use; its cache holds weights under training only, and only for one forward
pass. A frozen weight gives the same numbers every time, so it is cast once. What is computed stays the same, bit for
bit, because autocast rounds as a cast does. The exact weights come back afterwards: what is merged or saved is made
from them. Meanwhile they wait in the CPU's memory (on a CPU, those of a checkpoint are its file's pages, which can
leave memory while nobody reads them); a GPU holds half.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers.pytorch_utils import Conv1D

from hf_kit.exact_head import ExactLinear


@contextmanager
def weights_in(dtype: torch.dtype, parameters: list[nn.Parameter]) -> Iterator[None]:
    """Within it the float32 ones of `parameters` are of `dtype`; afterwards they are, exactly, what they were.

    `torch.float32` leaves all of them as they are.
    """
    if dtype == torch.float32:
        yield
        return
    exact = [(parameter, parameter.data) for parameter in parameters if parameter.dtype == torch.float32]
    # One at a time, so that a GPU never holds all of them twice.
    for i, (parameter, data) in enumerate(exact):
        parameter.data = data.to(dtype)
        exact[i] = (parameter, data.cpu())
    try:
        yield
    finally:
        for parameter, data in exact:
            parameter.data = data.to(parameter.device)


def linear_weights(model: nn.Module) -> list[nn.Parameter]:
    """Matrices and biases of the linear layers, which autocast rounds.

    Embeddings and norms stay in float32, also an embedding that an output layer shares.
    """
    shared = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    layers = [
        module
        for module in model.modules()
        if isinstance(module, (nn.Linear, Conv1D)) and not isinstance(module, ExactLinear)
    ]
    return [p for layer in layers for p in layer.parameters(recurse=False) if id(p) not in shared]


def frozen_linear_weights(model: nn.Module) -> list[nn.Parameter]:
    """Those of `linear_weights` that are not trained.

    Without the ones below DoRA, which also reads their norm, in float32.
    """
    exact = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, LoraLayer) and module.lora_variant
        for parameter in module.parameters()
    }
    return [p for p in linear_weights(model) if not p.requires_grad and id(p) not in exact]
