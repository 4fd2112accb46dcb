"""Dropout (Srivastava et al. 2014, jmlr.org/papers/v15/srivastava14a.html) with cheap random numbers on a CPU.

torch's dropout on a CPU draws a double-precision number per element, one after the other: an eighth of a small
encoder's training step. Here 16 bits an element are compared as integers, four elements to a number of 64 bits. A large
mask takes one number from torch's generator and makes the others from it by SplitMix64 (Steele, Lea and Flood 2014,
doi.org/10.1145/2660193.2660195), each for itself, so on all cores. The distribution is the same but for the rate, which
is rounded to a multiple of 2**-16; masks still follow the global seed, so resumed runs and gradient checkpointing see
the same ones. Other devices keep torch's kernels.
"""

import sys
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

BITS = 16


def _signed(number: int) -> int:
    """An unsigned integer of 64 bits as torch's int64 has the same bits."""
    return number - 2**64 if number >= 2**63 else number


# SplitMix64: the distance of two neighbours, and how a number is mixed: shifted to the right, itself added, multiplied.
GAMMA = 0x9E3779B97F4A7C15
MIXING = ((30, _signed(0xBF58476D1CE4E5B9)), (27, _signed(0x94D049BB133111EB)), (31, 1))
# Numbers made together: 1 MB, which a second-level cache holds.
AT_ONCE = 2**17
# By numpy: torch would start its threads for it, and a process that is forked from this one later would wait for them.
STEPS = torch.from_numpy((np.arange(AT_ONCE, dtype=np.uint64) * np.uint64(GAMMA)).view(np.int64))
# So few are drawn one by one sooner.
FEW = 2**15


def random_words(count: int) -> Tensor:
    """Independent random integers of 64 bits, int64 `[count]`."""
    words = torch.empty(count, dtype=torch.int64)
    if count < FEW:
        return words.random_(-(2**63), None)
    seed = torch.empty((), dtype=torch.int64).random_(-(2**63), None)
    for start in range(0, count, AT_ONCE):
        part = words[start : start + AT_ONCE]
        torch.add(STEPS[: len(part)], seed + _signed(start * GAMMA % 2**64), out=part)
        for shift, factor in MIXING:
            # A signed shift fills with the sign.
            shifted = torch.bitwise_right_shift(part, shift).bitwise_and_(2 ** (64 - shift) - 1)
            part.bitwise_xor_(shifted)
            if factor != 1:
                part.mul_(factor)
    return words


def keep_mask(x: Tensor, p: float) -> Tensor:
    """Independent factors in the shape and type of `x`: 0 with probability `p`, else 1 / (1 - p)."""
    count = x.numel()
    bits = random_words((count + 3) // 4).view(torch.int16)[:count]
    kept = bits.ge_(round(p * 2**BITS) - 2 ** (BITS - 1))  # 1 where kept, else 0
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
