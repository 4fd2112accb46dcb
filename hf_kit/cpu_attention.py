"""Attention on a CPU, where transformers' `sdpa` has no kernel that pays.

With dropout torch computes it in float32, with double-precision random numbers; here in the values' own format, with
the masks of `dropout.py`. Without gradients, in a 16-bit format, its fused kernel takes up to twice the time of plain
products of a few rows at a time, whose scores stay in the processor's cache. Everything else is the library's.
"""

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from hf_kit.dropout import keep_mask

# The name of our attention function among those of transformers.
ATTENTION = "hf_kit_sdpa"
# Scores computed together without gradients: 2 MB of them, which a second-level cache holds.
SCORES = 2**20
# Scores of one row from which on they are not kept at all, as the library's kernel does: 32 MB.
MOST_SCORES = 2**24


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs,
) -> tuple[Tensor, None]:
    """As transformers' `sdpa`.

    Args:
        query: [b, n, q, d], on n heads.
        key, value: [b, n, k, d].
        attention_mask: true where to look, or numbers to add; [b or 1, n or 1, q, k].

    Returns:
        [b, q, n, d], and None for the attention weights.
    """
    grouped = key.shape[1] != query.shape[1]
    causal = attention_mask is None and (kwargs.get("is_causal") or getattr(module, "is_causal", False))
    plain = query.device.type == "cpu" and not grouped and not causal and kwargs.get("position_bias") is None
    if plain and dropout:
        return _with_dropout(query, key, value, attention_mask, dropout, scaling).contiguous(), None
    # A single query is a step of writing, and little work.
    few = 1 < query.shape[2] and query.shape[1] * query.shape[2] * key.shape[2] <= MOST_SCORES
    if plain and few and query.dtype.itemsize == 2 and not torch.is_grad_enabled():
        return _some_rows_at_a_time(query, key, value, attention_mask, scaling), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs)


AttentionInterface.register(ATTENTION, attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def attend_on_cpu(model: PreTrainedModel) -> None:
    """Let `model` attend so, if it has the library's `sdpa`; what it saves does not name it."""
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(ATTENTION)


def _scaled(query: Tensor, scaling: float | None) -> Tensor:
    return query * (query.shape[-1] ** -0.5 if scaling is None else scaling)


def _added(attention_mask: Tensor, dtype: torch.dtype) -> Tensor:
    """The mask as numbers to add, because filling by a mask is many times slower."""
    if attention_mask.dtype != torch.bool:
        return attention_mask.to(dtype)
    return torch.zeros(attention_mask.shape, dtype=dtype).masked_fill_(
        attention_mask.logical_not(), torch.finfo(dtype).min
    )


def _with_dropout(
    query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, dropout: float, scaling: float | None
) -> Tensor:
    """[b, q, n, d], not contiguous."""
    scores = _scaled(query, scaling) @ key.transpose(-1, -2)  # [b, n, q, k]
    if attention_mask is not None:
        scores = scores + _added(attention_mask, scores.dtype)
    weights = scores.softmax(-1)
    weights = weights * keep_mask(weights, dropout)
    return (weights.to(value.dtype) @ value).transpose(1, 2)


def _some_rows_at_a_time(
    query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float | None
) -> Tensor:
    """[b, q, n, d], without gradients."""
    b, n, q, _ = query.shape
    query = _scaled(query, scaling)
    added = None if attention_mask is None else _added(attention_mask, query.dtype).expand(b, -1, -1, -1)
    out = torch.empty(b, q, n, value.shape[-1], dtype=value.dtype)
    step = max(1, SCORES // (n * q * key.shape[2]))
    for start in range(0, b, step):
        rows = slice(start, start + step)
        scores = query[rows] @ key[rows].transpose(-1, -2)  # [g, n, q, k]
        if added is not None:
            scores += added[rows]
        torch.softmax(scores, -1, out=scores)
        torch.matmul(scores, value[rows], out=out[rows].transpose(1, 2))
    return out
