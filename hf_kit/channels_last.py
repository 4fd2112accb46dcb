"""Convolutions compute faster where the channels of a pixel stand together in memory (channels last).

On a CPU with bf16 instructions a small ResNet's step took half to two thirds of the time; batches of images come in
this order anyway. See https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html
"""

import torch
from torch import nn


def put_channels_last(model: nn.Module) -> None:
    """Lay out the weights of a model with convolutions so; their values and shapes stay the same."""
    if any(isinstance(module, nn.Conv2d) for module in model.modules()):
        model.to(memory_format=torch.channels_last)


def match_layout(optimizer: torch.optim.Optimizer) -> None:
    """Lay out an optimizer's loaded averages as the weights that they belong to.

    Files hold them in the usual order, and the fused optimizers of torch go through weights and averages side by side
    in memory, whatever the order of each.
    """
    for group in optimizer.param_groups:
        for weight in group["params"]:
            state = optimizer.state.get(weight, {})
            for name, value in state.items():
                if torch.is_tensor(value) and value.shape == weight.shape and value.stride() != weight.stride():
                    state[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)
