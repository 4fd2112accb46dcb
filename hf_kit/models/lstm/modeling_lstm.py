"""The classic LSTM text classifier as a transformers model: embedding, LSTM, pooling, linear head.

LSTM: Hochreiter and Schmidhuber 1997, Long short-term memory (doi:10.1162/neco.1997.9.8.1735), with the forget gate
of Gers et al. 2000, Learning to forget (doi:10.1162/089976600300015015).

This file and those it imports from beside it travel to the Hub with the weights and need nothing but torch and
transformers.

Shapes: b texts, t steps, e embedding_dim, h hidden_dim, d = h or 2h (bidirectional), c num_labels.
"""

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.activations import ACT2FN
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils.generic import can_return_tuple

from .configuration_lstm import LstmConfig
from .cpu_lstm import cpu_lstm_layer  # noqa: F401  transformers 5.5 fetches only the files that this one names
from .fresh_weights_lstm import draw_fresh_weights
from .pooler_lstm import LstmPooler
from .variable_length_lstm import VariableLengthLSTM, take_steps


def classification_loss(logits: torch.Tensor, labels: torch.Tensor, problem_type: str | None) -> torch.Tensor:
    """Mean loss of [b, c] logits, in float32.

    Args:
        labels: [b] classes (single-label), [b, c] zeros and ones (multi-label), [b] or [b, c] numbers (regression).
        problem_type: as in the config. `None` follows transformers: one logit is regression, whole-numbered labels
            are single-label, others multi-label.
    """
    if problem_type is None:
        if logits.shape[-1] == 1:
            problem_type = "regression"
        elif labels.is_floating_point():
            problem_type = "multi_label_classification"
        else:
            problem_type = "single_label_classification"
    logits = logits.float()
    if problem_type == "single_label_classification":
        return nn.functional.cross_entropy(logits, labels.view(-1).long())
    targets = labels.view_as(logits).to(logits.dtype)
    if problem_type == "regression":
        return nn.functional.mse_loss(logits, targets)
    return nn.functional.binary_cross_entropy_with_logits(logits, targets)


class LstmPreTrainedModel(PreTrainedModel):
    """How fresh weights are drawn, and what transformers has to know about the family."""

    config_class = LstmConfig
    _input_embed_layer = "embedding"
    _no_split_modules = ["VariableLengthLSTM"]

    @classmethod
    def from_pretrained(cls, *args, **kwargs):
        """As the parent; frozen token vectors stay frozen."""
        # Loading puts new parameters in the place of those that `__init__` made, all of them trainable.
        loaded = super().from_pretrained(*args, **kwargs)
        (loaded[0] if isinstance(loaded, tuple) else loaded).freeze_as_configured()
        return loaded

    def freeze_as_configured(self) -> None:
        """Take the token vectors out of training where the configuration says so."""
        if self.config.freeze_embeddings:
            self.get_input_embeddings().weight.requires_grad_(False)

    def _init_weights(self, module: nn.Module) -> None:
        draw_fresh_weights(module, self.config.initializer_range)


class LstmForSequenceClassification(LstmPreTrainedModel):
    """Embedding -> LSTM -> pooling -> classifier. With the default config, the classic text classifier, put right.

    The model commonly printed as `TextClassifier(vocab_size=10000, embedding_dim=128, hidden_dim=256, num_classes=2)`
    has two mistakes:

    1. Its `nn.LSTM` lacks `batch_first`, and a [b, t, e] batch is read as b steps of t texts: the recurrence runs
       across the texts of a batch. Here the kernel is told that the batch comes first.
    2. It classifies `x[:, -1, :]`, for all but the longest text a padding step: the answer depends on what else is
       in the batch. Here every pooling looks at valid steps only, and `"last"` is each text's own last one.

    A text's logits are therefore the same alone, padded on either side, and in any batch.
    """

    # `forward` takes any keyword, from which Trainer would conclude that the loss is already divided by
    # `num_items_in_batch`. It would then not divide by the accumulation steps: loss and gradients too large by them.
    accepts_loss_kwargs = False

    def __init__(self, config: LstmConfig):
        super().__init__(config)
        config.validate_values()
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_dim, padding_idx=config.pad_token_id)
        self.embedding_dropout = nn.Dropout(config.embedding_dropout)
        self.lstm = VariableLengthLSTM(
            config.embedding_dim,
            config.hidden_dim,
            config.num_layers,
            batch_first=True,
            dropout=config.lstm_dropout,
            bidirectional=config.bidirectional,
        )
        self.pooler = LstmPooler(config)
        self.classifier_dropout = nn.Dropout(config.classifier_dropout)
        width = config.hidden_dim * (1 + config.bidirectional)
        if config.classifier_hidden_dim:
            self.classifier = nn.Sequential(
                nn.Linear(width, config.classifier_hidden_dim),
                ACT2FN[config.classifier_activation],
                nn.Linear(config.classifier_hidden_dim, config.num_labels),
            )
        else:
            self.classifier = nn.Linear(width, config.num_labels)
        self.post_init()
        self.freeze_as_configured()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool | None = None,
        **kwargs,
    ) -> SequenceClassifierOutput | tuple[torch.Tensor, ...]:
        """
        Args:
            input_ids: [b, t]. A text without any token counts as one padding step.
            attention_mask: [b, t], 1 where a step is valid; padding may stand anywhere. Without it, all tokens but
                `pad_token_id` are valid.
            inputs_embeds: [b, t, e] in place of `input_ids`.
            labels: see `classification_loss`; `config.problem_type` decides.
            output_hidden_states: also return the embeddings [b, t, e] and the last layer's states [b, t, d]. What
                they hold at padding has no meaning.
            kwargs: taken and ignored, as tokenizers, PEFT and Trainer pass more (`token_type_ids`, `task_ids`, ...).

        Raises:
            ValueError: both or neither of `input_ids` and `inputs_embeds`.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        pad_token_id = self.config.pad_token_id
        if input_ids is not None and input_ids.shape[1] == 0:
            # A tokenizer makes this of empty texts, and not even of whole numbers.
            input_ids, attention_mask = input_ids.new_full((len(input_ids), 1), pad_token_id, dtype=torch.long), None
        if attention_mask is not None:
            valid = attention_mask.bool()
        elif input_ids is not None:
            valid = input_ids != pad_token_id
        else:
            valid = inputs_embeds.new_ones(inputs_embeds.shape[:2], dtype=torch.bool)
        lengths = valid.sum(1).clamp(min=1)  # [b]
        # Valid steps to the front, in their order, wherever the padding stood.
        order = valid.int().argsort(dim=1, descending=True, stable=True)  # [b, t]
        # [b, t, e], with the steps first in memory: what the LSTM reads without a copy.
        if input_ids is not None:
            embedded = self.embedding(input_ids.masked_fill(~valid, pad_token_id).gather(1, order).T).transpose(0, 1)
        else:
            embedded = take_steps(inputs_embeds.transpose(0, 1), order.T).transpose(0, 1)
        states = self.lstm(self.embedding_dropout(embedded), lengths)  # [b, t, d]
        logits = self.classifier(self.classifier_dropout(self.pooler(states, lengths)))  # [b, c]
        loss = None if labels is None else classification_loss(logits, labels, self.config.problem_type)
        hidden_states = None
        if self.config.output_hidden_states if output_hidden_states is None else output_hidden_states:
            back = order.argsort(dim=1).T
            hidden_states = tuple(take_steps(x.transpose(0, 1), back).transpose(0, 1) for x in (embedded, states))
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=hidden_states)


__all__ = ["LstmForSequenceClassification", "LstmPreTrainedModel"]
