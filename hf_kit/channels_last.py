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
