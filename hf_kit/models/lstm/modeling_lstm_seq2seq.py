"""The LSTM encoder-decoder with attention, the transformer's ancestor in translation.

Sutskever et al. 2014 (arXiv:1409.3215): one LSTM reads, another writes. Bahdanau et al. 2015 (arXiv:1409.0473): the
reader goes in both directions, and the writer looks at all of its states. Luong et al. 2015 (arXiv:1508.04025): the
`general` score, and an attentional state made of context and state. From the transformer: the score is divided by the
root of its width, and source and target share one embedding, which is the output layer, too.

Deliberately different from Luong: no input feeding. There the attentional state of a step is an input of the next, so
that the target has to be computed step after step; here the recurrence does not pass through the attention, and
training runs all steps of a target through the fused kernels at once.

This file and those it imports from beside it travel to the Hub with the weights and need nothing but torch and
transformers.

Shapes: b texts, s steps of the source, t steps of the target, e embedding_dim, h hidden_dim, v vocab_size.
"""

from dataclasses import fields

import torch
from torch import nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput
from transformers.utils.generic import can_return_tuple

from .configuration_lstm_seq2seq import LstmSeq2SeqConfig
from .continued_lstm import ContinuedLSTM  # noqa: F401  transformers fetches only the files that this one names
from .cpu_lstm import cpu_lstm_layer  # noqa: F401
from .decoder_lstm_seq2seq import LstmDecoder, LstmState
from .encoder_lstm_seq2seq import LstmEncoder, source_mask, valid_steps
from .fresh_weights_lstm import draw_fresh_weights
from .variable_length_lstm import VariableLengthLSTM  # noqa: F401

# What the output's field for the state is called: in older transformers `past_key_values`.
STATE = "cache" if "cache" in {field.name for field in fields(Seq2SeqLMOutput)} else "past_key_values"


class LstmForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """Encoder, decoder with attention, output layer.

    A text's logits are the same alone, padded on either side, and in any batch.
    """

    config_class = LstmSeq2SeqConfig
    _no_split_modules = ["VariableLengthLSTM", "ContinuedLSTM"]
    _tied_weights_keys = {"lm_head.weight": "encoder.embedding.weight"}
    # What was read cannot be taken back, as assisted generation would have to.
    _is_stateful = True
    # As in `LstmForSequenceClassification`: without this, the loss would be too large under accumulation.
    accepts_loss_kwargs = False

    def __init__(self, config: LstmSeq2SeqConfig):
        super().__init__(config)
        config.validate_values()
        self.encoder = LstmEncoder(config)
        self.decoder = LstmDecoder(config)
        self.lm_head = nn.Linear(config.embedding_dim, config.vocab_size)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        draw_fresh_weights(module, self.config.initializer_range)

    def get_input_embeddings(self) -> nn.Embedding:
        return self.encoder.embedding

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.encoder.embedding = value

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        """Whether `generate` should bring keys and values: no, the first step makes the state."""
        return False

    def prepare_decoder_input_ids_from_labels(self, labels: torch.LongTensor) -> torch.LongTensor:
        """[b, t] -> [b, t]: the start token, then all labels but the last; -100 becomes padding."""
        start = labels.new_full((len(labels), 1), self.config.decoder_start_token_id)
        shifted = torch.cat([start, labels[:, :-1]], dim=1)
        return shifted.masked_fill(shifted == -100, self.config.pad_token_id)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple[torch.Tensor, ...] | None = None,
        cache: LstmState | None = None,
        past_key_values: LstmState | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        **kwargs,
    ) -> Seq2SeqLMOutput | tuple[torch.Tensor, ...]:
        """
        Args:
            input_ids: [b, s], the source.
            attention_mask: [b, s], 1 where a step is valid; padding may stand anywhere. Without it, all tokens but
                `pad_token_id` are valid, or all steps where there are no tokens.
            decoder_input_ids: [b, t], the target so far; with a `cache` only what is new. Without them, `labels` are
                shifted.
            decoder_attention_mask: taken and ignored: padding stands on the right, where it comes too late for any
                valid step.
            encoder_outputs: the encoder's, in place of a source to read; `last_hidden_state` [b, s, h] comes first.
            cache: the state after the tokens before, as another call returned it. `past_key_values` is its older name.
            inputs_embeds: [b, s, e] in place of `input_ids`.
            labels: [b, t]; -100 does not count. The loss is the mean over the others.
            use_cache: return the state after the last token; by default as configured, and not with `labels`.
            output_attentions: also return the weights over the source, [b, 1, t, s], as `cross_attentions`.
            kwargs: taken and ignored, as PEFT and Trainer pass more.

        Raises:
            ValueError: no source, two of them, or no target.
        """
        if encoder_outputs is None:
            encoder_outputs = self.encoder(input_ids, attention_mask, inputs_embeds)
        source = encoder_outputs[0]  # [b, s, h]
        if decoder_input_ids is None:
            if labels is None:
                raise ValueError("give decoder_input_ids or labels")
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        valid = valid_steps(source_mask(input_ids, attention_mask, source, self.config.pad_token_id))
        state = cache if cache is not None else past_key_values
        if state is None:
            state = self.decoder.first_state(source, valid)
        read, weights, state = self.decoder(self.encoder.embed(decoder_input_ids), source, valid, state)
        logits = self.lm_head(read)  # [b, t, v]
        loss = None
        if labels is not None:
            loss = nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten())
        if use_cache is None:
            use_cache = self.config.use_cache and labels is None
        return Seq2SeqLMOutput(
            loss=loss,
            logits=logits,
            cross_attentions=(weights[:, None],) if output_attentions else None,
            encoder_last_hidden_state=source,
            **({STATE: state} if use_cache else {}),
        )


__all__ = ["LstmForConditionalGeneration"]
