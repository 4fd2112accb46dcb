"""Dropout (Srivastava et al. 2014, jmlr.org/papers/v15/srivastava14a.html) with cheap random numbers on a CPU.

torch's dropout on a CPU draws a double-precision number per element, one after the other: a fifth of a small encoder's
training step. Here 16 bits an element are drawn, four elements to a number of torch's own generator, and compared as
integers. The distribution is the same but for the rate, which is rounded to a multiple of 2**-16; masks still follow
the global seed, so resumed runs and gradient checkpointing see the same ones. Other devices keep torch's kernels.
"""

import sys
from functools import lru_cache

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

BITS = 16


def keep_mask(x: Tensor, p: float) -> Tensor:
    """Independent factors in the shape and type of `x`: 0 with probability `p`, else 1 / (1 - p)."""
    count = x.numel()
    bits = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    kept = bits.view(torch.int16)[:count].ge_(round(p * 2**BITS) - 2 ** (BITS - 1))  # 1 where kept, else 0
    if x.element_size() == 2:
        # The bit pattern of 0 is 0: multiplied by that of the factor, the integers read as floats are the mask.
        return kept.mul_(_pattern(1 / (1 - p), x.dtype)).view(x.dtype).view(x.shape)
    return kept.to(x.dtype).mul_(1 / (1 - p)).view(x.shape)


@lru_cache
def _pattern(value: float, dtype: torch.dtype) -> int:
    """The 16 bits of a number."""
    return torch.tensor(value, dtype=dtype).view(torch.int16).item()


def dropout(x: Tensor, p: float) -> Tensor:
    """As `torch.nn.functional.dropout` in training."""
    if x.device.type != "cpu" or not x.is_floating_point() or not 0 < p < 1:
        return nn.functional.dropout(x, p)
    return x * keep_mask(x, p)


class _Functional:
    """`torch.nn.functional` with the cheap dropout; everything else is torch's."""

    @staticmethod
    def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return dropout(input, p) if training else input

    def __getattr__(self, name: str):
        return getattr(nn.functional, name)


class _Nn:
    """`torch.nn` as a file of transformers sees it that calls `nn.functional.dropout` (Marian's, BART's)."""

    functional = _Functional()

    def __getattr__(self, name: str):
        return getattr(nn, name)


class CheapDropout(nn.Dropout):
    """`nn.Dropout` through `dropout`."""

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p) if self.training else x


def cheapen_dropout(model: nn.Module, base: PreTrainedModel) -> None:
    """Put the cheap dropout into `model` (`base`, or what PEFT made of it), in place of `nn.Dropout`.

    Files of transformers whose layers call `nn.functional.dropout` get it as well, for all models made from them.

    For a model that is trained on a CPU. No parameter and no name changes.
    """
    for module in model.modules():
        if type(module) is nn.Dropout:
            module.__class__ = CheapDropout
    for name in {type(module).__module__ for module in base.modules()}:
        file = sys.modules[name]
        if name.startswith("transformers.models.") and getattr(file, "nn", None) is nn:
            file.nn = _Nn()
