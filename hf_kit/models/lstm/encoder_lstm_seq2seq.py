"""The encoder: a text is read in both directions, and every token becomes a state.

Shapes: b texts, s steps, e embedding_dim, h hidden_dim (both directions together).
"""

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutput

from .configuration_lstm_seq2seq import LstmSeq2SeqConfig
from .variable_length_lstm import VariableLengthLSTM, take_steps


def valid_steps(attention_mask: torch.Tensor) -> torch.Tensor:
    """[b, s] of any type -> booleans; of a text without any valid step, the first one is."""
    valid = attention_mask.bool()
    first = torch.arange(valid.shape[1], device=valid.device) == 0  # [s]
    return valid | (first & ~valid.any(1, keepdim=True))


class LstmEncoder(nn.Module):
    """Embedding -> LSTM in both directions. The embedding is the decoder's, too."""

    main_input_name = "input_ids"  # asked for by `generate`

    def __init__(self, config: LstmSeq2SeqConfig):
        super().__init__()
        self.pad_token_id = config.pad_token_id
        # Without `padding_idx`, which keeps a vector from learning: the padding token may be the decoder's start.
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_dim)
        self.embedding_dropout = nn.Dropout(config.embedding_dropout)
        self.lstm = VariableLengthLSTM(
            config.embedding_dim,
            config.hidden_dim // 2,
            config.num_layers,
            batch_first=True,
            dropout=config.lstm_dropout,
            bidirectional=True,
        )

    def embed(self, ids: torch.LongTensor) -> torch.Tensor:
        """[b, s] -> [b, s, e], with the steps first in memory: what an LSTM reads without a copy."""
        return self.embedding_dropout(self.embedding(ids.T)).transpose(0, 1)

    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        **kwargs,
    ) -> BaseModelOutput:
        """
        Args:
            input_ids: [b, s].
            attention_mask: [b, s], 1 where a step is valid; padding may stand anywhere. Without it, all tokens but
                `pad_token_id` are valid.
            inputs_embeds: [b, s, e] in place of `input_ids`.
            kwargs: taken and ignored, as `generate` passes more.

        Returns:
            `last_hidden_state`, [b, s, h], in the order of the text. What it holds at padding has no meaning.

        Raises:
            ValueError: both or neither of `input_ids` and `inputs_embeds`.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        valid = valid_steps(source_mask(input_ids, attention_mask, inputs_embeds, self.pad_token_id))
        # Valid steps to the front, in their order, wherever the padding stood.
        order = valid.int().argsort(dim=1, descending=True, stable=True)  # [b, s]
        if input_ids is not None:
            if attention_mask is not None:
                input_ids = input_ids.masked_fill(~attention_mask.bool(), self.pad_token_id)
            embedded = self.embed(input_ids.gather(1, order))
        else:
            embedded = self.embedding_dropout(take_steps(inputs_embeds.transpose(0, 1), order.T)).transpose(0, 1)
        states = self.lstm(embedded, valid.sum(1))  # [b, s, h]
        states = take_steps(states.transpose(0, 1), order.argsort(dim=1).T).transpose(0, 1)
        return BaseModelOutput(last_hidden_state=states)


def source_mask(
    input_ids: torch.LongTensor | None,
    attention_mask: torch.Tensor | None,
    states: torch.Tensor | None,
    pad_token_id: int,
) -> torch.Tensor:
    """[b, s]: the mask, if there is one; else all tokens but padding; else all steps of `states` [b, s, ...]."""
    if attention_mask is not None:
        return attention_mask
    if input_ids is not None:
        return input_ids != pad_token_id
    return states.new_ones(states.shape[:2])


__all__ = ["LstmEncoder", "source_mask", "valid_steps"]
