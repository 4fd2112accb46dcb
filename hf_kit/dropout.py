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
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

# The name of our attention function among those of transformers.
ATTENTION = "hf_kit_sdpa"
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


def sdpa_with_cheap_dropout(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs,
) -> tuple[Tensor, None]:
    """As transformers' `sdpa`, which on a CPU has no fused kernel with dropout either, with cheap masks.

    Args:
        query, key, value: [b, n, t, d], on n heads.
        attention_mask: true where to look, or numbers to add; [b or 1, n or 1, t, t].

    Returns:
        [b, t, n, d], and None for the attention weights.
    """
    grouped = key.shape[1] != query.shape[1]
    causal = attention_mask is None and (kwargs.get("is_causal") or getattr(module, "is_causal", False))
    if not dropout or query.device.type != "cpu" or grouped or causal or kwargs.get("position_bias") is not None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    scores = (query * (query.shape[-1] ** -0.5 if scaling is None else scaling)) @ key.transpose(-1, -2)  # [b, n, t, t]
    if attention_mask is not None:
        if attention_mask.dtype == torch.bool:
            # Added, because filling by a mask is many times slower.
            attention_mask = torch.zeros(attention_mask.shape, dtype=scores.dtype).masked_fill_(
                attention_mask.logical_not(), torch.finfo(scores.dtype).min
            )
        scores = scores + attention_mask
    weights = scores.softmax(-1)
    weights = weights * keep_mask(weights, dropout)
    return (weights.to(value.dtype) @ value).transpose(1, 2).contiguous(), None


AttentionInterface.register(ATTENTION, sdpa_with_cheap_dropout)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def cheapen_dropout(model: nn.Module, base: PreTrainedModel) -> None:
    """Put the cheap dropout into `model` (`base`, or what PEFT made of it), in place of `nn.Dropout` and in `sdpa`.

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
    if base.config._attn_implementation == "sdpa":
        base.set_attn_implementation(ATTENTION)
