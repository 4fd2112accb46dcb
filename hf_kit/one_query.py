"""Attention of one query a text, without keys and values of all tokens.

With a single query the products can be taken in another order. A score q . (W_k x + b_k) is (W_k' q) . x, but for a
number that all tokens share and that softmax does not see; what is read, the sum of p (W_v x + b_v), is W_v (sum of
p x) + b_v (sum of p). So W_k and W_v meet one vector a text and head in place of every token: of t tokens about 1/t of
the work is left. Answers and gradients are the same but for rounding; that of the keys' bias is exactly zero.
"""

import torch
from torch import Tensor, nn

from hf_kit.dropout import keep_mask


def can_read_so(key: nn.Module, value: nn.Module, hidden_states: Tensor) -> bool:
    """Whether `attend_once` can stand for these two: on a CPU, plain layers, with no adapter and nobody listening."""
    return hidden_states.device.type == "cpu" and all(
        type(layer) is nn.Linear and not layer._forward_hooks and not layer._forward_pre_hooks for layer in (key, value)
    )


def attend_once(
    query: Tensor,
    key: nn.Linear,
    value: nn.Linear,
    hidden_states: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
) -> Tensor:
    """What the query reads from its text, [b, n, d/n].

    Args:
        query: [b, n, d/n], on n heads.
        key, value: [.., d] -> [.., d], the layers whose outputs are attended to and read.
        hidden_states: [b, t, d], their inputs.
        attention_mask: true where to look, or numbers to add; [b, 1, t], or None.
    """
    n = query.shape[1]
    x = hidden_states.to(query.dtype)  # once for both products
    asked = _by_head(query * scaling, key.weight.unflatten(0, (n, -1)))  # [b, n, d]
    # This way round the gradient of `x` lies in memory as `x` does.
    scores = (x @ asked.transpose(-1, -2)).transpose(-1, -2).float()  # [b, n, t]
    if attention_mask is not None:
        if attention_mask.dtype == torch.bool:
            attention_mask = attention_mask.logical_not() * torch.finfo(torch.float32).min
        scores = scores + attention_mask
    weights = scores.softmax(-1).to(x.dtype)
    if dropout:
        weights = weights * keep_mask(weights, dropout)
    read = _by_head(weights @ x, value.weight.unflatten(0, (n, -1)).transpose(-1, -2))  # [b, n, d/n]
    if value.bias is not None:
        read = read + weights.sum(-1, keepdim=True) * value.bias.unflatten(0, (n, -1)).to(read.dtype)
    if key.bias is not None:
        # So that it has a gradient, of zero: without one AdamW would leave it out, and processes wait for it.
        read = read + (key.bias.sum() * 0).to(read.dtype)
    return read


def _by_head(x: Tensor, weight: Tensor) -> Tensor:
    """Each head's own matrix: [b, n, i], [n, i, o] -> [b, n, o]."""
    return torch.matmul(x.transpose(0, 1), weight).transpose(0, 1)
