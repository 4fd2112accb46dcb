"""The decoder: an LSTM that goes on from a state, and attention from its states to the encoder's.

Shapes: b texts, s steps of the source, t steps of the target, e embedding_dim, h hidden_dim, l num_layers.
"""

from dataclasses import dataclass

import torch
from torch import nn

from .configuration_lstm_seq2seq import LstmSeq2SeqConfig
from .continued_lstm import ContinuedLSTM


@dataclass
class LstmState:
    """All that the decoder remembers of the target so far: for `generate`, what keys and values are in a transformer.

    Attributes:
        hidden, cell: [l, b, h] each.
    """

    hidden: torch.Tensor
    cell: torch.Tensor

    is_croppable = False  # what was read cannot be taken back; `generate` asks on some devices

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """After a step of beam search, row i goes on from the row `beam_idx[i]`."""
        self.hidden = self.hidden.index_select(1, beam_idx)
        self.cell = self.cell.index_select(1, beam_idx)


class LstmDecoder(nn.Module):
    """LSTM -> attention over the source -> the attentional state, which the output layer reads."""

    def __init__(self, config: LstmSeq2SeqConfig):
        super().__init__()
        width = config.hidden_dim
        self.bridge = nn.Linear(width, config.num_layers * width)
        self.lstm = ContinuedLSTM(config.embedding_dim, width, config.num_layers, dropout=config.lstm_dropout)
        self.query = nn.Linear(width, width, bias=False)
        self.combine = nn.Linear(2 * width, config.embedding_dim)
        self.output_dropout = nn.Dropout(config.output_dropout)

    def first_state(self, source: torch.Tensor, valid: torch.Tensor) -> LstmState:
        """From the mean of the encoder's states [b, s, h], as in Nematus (Sennrich et al. 2017, arXiv:1703.04357).

        The last states would do as well; of these the fused kernels give only the hidden ones.
        """
        mean = torch.where(valid[..., None], source, 0).sum(1) / valid.sum(1, keepdim=True)  # [b, h]
        cell = self.bridge(mean).unflatten(1, (-1, mean.shape[1])).transpose(0, 1).contiguous()  # [l, b, h]
        return LstmState(torch.tanh(cell), cell)

    def forward(
        self, embedded: torch.Tensor, source: torch.Tensor, valid: torch.Tensor, state: LstmState
    ) -> tuple[torch.Tensor, torch.Tensor, LstmState]:
        """
        Args:
            embedded: [b, t, e], the target's tokens. Fastest as the transposed view of a [t, b, e].
            source: [b, s, h], the encoder's states.
            valid: [b, s], true where the source has a token.
            state: before the first of the t steps.

        Returns:
            The attentional states [b, t, e], the weights over the source [b, t, s], the state after the last step.
        """
        states, (hidden, cell) = self.lstm(embedded.transpose(0, 1), (state.hidden, state.cell))
        states = states.transpose(0, 1)  # [b, t, h]
        scores = self.query(states) @ source.transpose(1, 2) * states.shape[-1] ** -0.5  # [b, t, s]
        weights = scores.float().masked_fill(~valid[:, None], -torch.inf).softmax(-1)
        context = weights.to(source.dtype) @ source  # [b, t, h]
        attentional = torch.tanh(self.combine(torch.cat([context, states], dim=-1)))  # [b, t, e]
        return self.output_dropout(attentional), weights, LstmState(hidden, cell)


__all__ = ["LstmDecoder", "LstmState"]
