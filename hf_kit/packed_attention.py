"""Attention over texts that lie one behind another without padding, each text seeing itself only.

On a GPU this is FlashAttention's kernel for variable lengths (Dao 2023, arXiv:2307.08691) as PyTorch carries it. The
operator itself is called: `torch.nn.attention.varlen.varlen_attn` around it has no dropout, which finetuning keeps on.
`torch.nested` calls it the same way, dropout and gradient included. `kernel_fault` tries it on the device at hand.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional as F


@dataclass
class Packing:
    """Where the n tokens of b texts stand in a padded batch `[b, t]`.

    Attributes:
        tokens: `[n]`, the tokens' places in the flattened batch, ascending.
        ends: `[b + 1]`, int32: text i is tokens `ends[i]` to `ends[i + 1]` of the n.
        shape: b and t; t bounds the longest text, so that nobody waits for the device to tell it.
        layers: how many attention layers have read this.
    """

    tokens: torch.Tensor
    ends: torch.Tensor
    shape: tuple[int, int]
    layers: int = 0

    @classmethod
    def of(cls, mask: torch.Tensor) -> "Packing":
        """That of an attention mask `[b, t]`, true at tokens. Waits for the device, for n."""
        lengths = mask.sum(1)
        return cls(mask.flatten().nonzero().squeeze(1), F.pad(lengths.cumsum(0), (1, 0)).int(), tuple(mask.shape))


def flash_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, packing: Packing, dropout: float, scale: float
) -> torch.Tensor:
    """FlashAttention on a GPU, in bf16 or fp16.

    Args:
        query, key, value: `[n, heads, head size]`.
        dropout: the share of attention probabilities that is dropped.

    Returns:
        `[n, heads, head size]`.
    """
    longest = packing.shape[1]
    return torch.ops.aten._flash_attention_forward(
        query, key, value, packing.ends, packing.ends, longest, longest, dropout, False, False, scale=scale
    )[0]


def plain_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, packing: Packing, dropout: float, scale: float
) -> torch.Tensor:
    """As `flash_attention`, text by text, on any device: what the kernel is held against."""
    lengths = packing.ends.diff().tolist()
    texts = zip(*(x.transpose(0, 1)[None].split(lengths, 2) for x in (query, key, value)), strict=True)
    out = [F.scaled_dot_product_attention(*text, dropout_p=dropout, scale=scale) for text in texts]
    return torch.cat(out, 2)[0].transpose(0, 1)


def kernel_fault(device: torch.device, dtype: torch.dtype, heads: int, head_size: int, kernel=flash_attention) -> str:
    """Why `kernel` is not to be used on this device, or "" where it does what `plain_attention` does.

    Outputs and gradients of a few texts are compared; and dropout, which one-token texts show plainly: their attention
    probability is 1, so that their output is their value, dropped at the rate or scaled up.
    """
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.enable_grad():
        torch.manual_seed(0)
        try:
            if (error := _error(device, dtype, heads, head_size, kernel)) > 0.05:
                return f"its result is off by {error:.1%}"
            rate, spread = _dropped(device, dtype, heads, head_size, kernel, 0.25)
            if abs(rate - 0.25) > 0.05 or spread > 0.05:
                return f"its dropout of 25% drops {rate:.1%}, and its gradient differs by {spread:.2f}"
        except (RuntimeError, TypeError, AttributeError) as reason:
            return " ".join(str(reason).split())[:120]
    return ""


def _error(device: torch.device, dtype: torch.dtype, heads: int, head_size: int, kernel) -> float:
    """The largest difference of outputs and gradients, relative to the largest value of each."""
    mask = torch.arange(150) < torch.tensor([[3], [150], [1], [70]])
    packing = Packing.of(mask.to(device))
    inputs = [torch.randn(len(packing.tokens), heads, head_size, device=device, dtype=dtype) for _ in range(3)]
    weights = torch.randn_like(inputs[0])
    results = []
    for attention, number in ((kernel, dtype), (plain_attention, torch.float32)):
        leaves = [x.detach().to(number).requires_grad_() for x in inputs]
        out = attention(*leaves, packing, 0.0, head_size**-0.5)
        results.append([out, *torch.autograd.grad(out, leaves, weights.to(number))])
    errors = [(ours.float() - plain).abs().max() / plain.abs().max() for ours, plain in zip(*results, strict=True)]
    return torch.stack(errors).nan_to_num(torch.inf).max().item()


def _dropped(
    device: torch.device, dtype: torch.dtype, heads: int, head_size: int, kernel, dropout: float
) -> tuple[float, float]:
    """The share of one-token texts that are dropped, and how far output, expected value and gradient lie apart."""
    packing = Packing.of(torch.ones(2048 // heads + 1, 1, dtype=torch.bool, device=device))
    value = torch.ones(len(packing.tokens), heads, head_size, device=device, dtype=dtype, requires_grad=True)
    out = kernel(value, value.detach(), value, packing, dropout, head_size**-0.5)
    kept = out.detach() > 0
    expected = kept / (1 - dropout)
    (gradient,) = torch.autograd.grad(out.sum(), value)
    spread = max((out.detach() - expected).abs().max(), (gradient - out.detach()).abs().max())
    return 1 - kept.float().mean().item(), float(spread)
