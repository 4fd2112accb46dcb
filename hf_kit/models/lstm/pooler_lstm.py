"""How a text's states become one vector.

Attention pooling: Yang et al. 2016, Hierarchical attention networks (aclanthology.org/N16-1174), word level.

Shapes: t steps, b texts, h hidden_dim, d = h or 2h (bidirectional).
"""

import torch
from torch import nn

from .configuration_lstm import LstmConfig
from .variable_length_lstm import take_steps


class LstmPooler(nn.Module):
    """A text's states become one vector; padding never takes part."""

    def __init__(self, config: LstmConfig):
        super().__init__()
        self.pooling = config.pooling
        self.hidden_dim = config.hidden_dim
        if config.pooling == "attention":
            width = config.hidden_dim * (1 + config.bidirectional)
            self.projection = nn.Linear(width, width)
            # Without bias: softmax would cancel it.
            self.context = nn.Linear(width, 1, bias=False)

    def forward(self, states: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """[b, t, d], [b] -> [b, d]"""
        states = states.transpose(0, 1)  # [t, b, d]
        if self.pooling == "last":
            last = take_steps(states, lengths[None] - 1)[0]  # [b, d]
            return torch.cat([last[:, : self.hidden_dim], states[0, :, self.hidden_dim :]], dim=-1)
        padding = (torch.arange(len(states), device=states.device)[:, None] >= lengths)[..., None]  # [t, b, 1]
        if self.pooling == "mean":
            return torch.where(padding, 0, states).sum(0) / lengths[:, None]
        if self.pooling == "max":
            return max_over_steps(states, padding)
        scores = self.context(torch.tanh(self.projection(states)))  # [t, b, 1]
        weights = scores.masked_fill(padding, -torch.inf).softmax(0)
        return (weights * states).sum(0)


def max_over_steps(states: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
    """[t, b, d], [t, b, 1] -> [b, d], of each unit its greatest state.

    The first of equal steps gets the gradient. `amax` divides it among them, and needs several passes over all states
    for that; `max`, which gives places too, is slow over a dimension that is not the last.
    """
    # On a CPU several times faster than `masked_fill`.
    masked = torch.where(padding, -torch.inf, states.detach())
    highest = masked.amax(0)  # [b, d]
    if not states.requires_grad:
        return highest
    steps = torch.arange(len(states), dtype=torch.int32, device=states.device)[:, None, None]
    # No state equals NaN. It stays NaN once it is, so that the last step has it, too.
    first = torch.where(masked == highest, steps, len(states) - 1).amin(0)  # [b, d]
    return states.gather(0, first[None].long())[0]


__all__ = ["LstmPooler", "max_over_steps"]
