"""Attention on a CPU, where transformers' `sdpa` has no kernel that pays.

With dropout torch computes it in float32, with double-precision random numbers; here in the values' own format, with
the masks of `dropout.py`. Without gradients, in a 16-bit format, its fused kernel takes up to twice the time of plain
products of a few rows at a time, whose scores stay in the processor's cache. And what query, key and value are made of
is rounded for autocast once, not for each of them. Everything else is the library's.
"""

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from hf_kit.dropout import keep_mask

# The name of our attention function among those of transformers.
ATTENTION = "hf_kit_sdpa"
# How the families call the layers that all read the attention's first argument.
PROJECTIONS = (("query", "key", "value"), ("q_lin", "k_lin", "v_lin"), ("q_proj", "k_proj", "v_proj"))
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
    for module in model.modules():
        for names in PROJECTIONS:
            # Adapters round for themselves.
            if all(type(getattr(module, name, None)) is nn.Linear for name in names):
                module.register_forward_pre_hook(_round_once, with_kwargs=True)


def _round_once(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
    """The first argument in autocast's format; three gradients then meet in it as well, and become float32 once."""
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        if args:
            return (args[0].to(dtype), *args[1:]), kwargs
        if "hidden_states" in kwargs:
            return args, kwargs | {"hidden_states": kwargs["hidden_states"].to(dtype)}
    return None


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
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else value.dtype
    query, key, value = (x.to(dtype) for x in (query, key, value))
    added = None if attention_mask is None else _added(attention_mask, dtype)
    return _Attention.apply(query, key, value, added, dropout, scaling).transpose(1, 2)


class _Attention(torch.autograd.Function):
    """Attention with dropout as one step, [b, n, q, d], which keeps two numbers a score: weight and mask."""

    @staticmethod
    def forward(ctx, query, key, value, added, p, scaling):
        ctx.scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
        ctx.shape_of_added = None if added is None else added.shape
        query, key, value = (x.contiguous() for x in (query, key, value))
        scores = (query * ctx.scaling) @ key.transpose(-1, -2)  # [b, n, q, k]
        if added is not None:
            scores += added
        weights = _softmax(scores)
        kept = keep_mask(weights, p)
        ctx.save_for_backward(query, key, value, weights, kept)
        return (weights * kept) @ value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        query, key, value, weights, kept = ctx.saved_tensors
        grad = grad.contiguous()  # [b, n, q, d]
        of_value = (weights * kept).transpose(-1, -2) @ grad
        of_scores = _softmax_backward((grad @ value.transpose(-1, -2)).mul_(kept), weights)
        of_query = (of_scores @ key).mul_(ctx.scaling)
        of_key = (of_scores.transpose(-1, -2) @ query).mul_(ctx.scaling)
        of_added = of_scores.sum_to_size(ctx.shape_of_added) if ctx.needs_input_grad[3] else None
        return of_query, of_key, of_value, of_added, None, None


def _softmax(scores: Tensor) -> Tensor:
    """In place, by way of float32 where torch's kernel of a 16-bit format is up to 4 times as slow.

    That goes number by number through what is no whole vector of 32.
    """
    k = scores.shape[-1]
    if scores.dtype.itemsize != 2 or not 16 <= k < 128 or k % 32 == 0:
        return torch.softmax(scores, -1, out=scores)
    for rows in _in_cache(scores):
        rows.copy_(rows.softmax(-1, dtype=torch.float32))
    return scores


def _softmax_backward(grad: Tensor, weights: Tensor) -> Tensor:
    """The gradient of the scores from that of the weights, by way of float32 where that is up to 14 times as fast."""
    if weights.dtype.itemsize != 2 or not 16 <= weights.shape[-1] < 32:
        return torch._softmax_backward_data(grad, weights, -1, weights.dtype)
    for own, made in zip(_in_cache(grad), _in_cache(weights), strict=True):
        own.copy_(torch._softmax_backward_data(own.float(), made.float(), -1, torch.float32))
    return grad


def _in_cache(scores: Tensor) -> tuple[Tensor, ...]:
    """[b, n, q, k] as parts [rows, k] that a second-level cache holds in float32."""
    return scores.flatten(0, -2).split(SCORES // 4 // scores.shape[-1])


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
