"""A bi-encoder for pairs of texts: one encoder reads each text by itself, and the two embeddings are compared.

Reimers and Gurevych 2019, Sentence-BERT (arXiv:1908.10084): embeddings are means over a text's tokens; a number is made
of their cosine, classes of the two and the absolute value of their difference.

This file and the configuration beside it travel to the Hub with the weights and need nothing but torch and
transformers.

Shapes: b pairs, t tokens of a pair, w tokens of the longest single text, d hidden_size, c num_labels.
"""

import inspect

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils.generic import can_return_tuple

from .configuration_bi_encoder import BiEncoderConfig


def split_pairs(
    input_ids: Tensor, valid: Tensor, token_type_ids: Tensor | None, config: BiEncoderConfig
) -> tuple[Tensor, Tensor]:
    """The two texts of each pair, framed as single texts are.

    Args:
        input_ids: [b, t], pairs as a tokenizer frames them: `[CLS] A [SEP] B [SEP]`.
        valid: [b, t], true at tokens; padding may stand on either side.
        token_type_ids: [b, t], 1 at the second text; where they are absent or 0 the separators tell.

    Returns:
        token ids [2b, w], the first texts before the second ones, padded on the right, and [2b, w], true at tokens.

    Raises:
        ValueError: a row holds one text only.
    """
    second = torch.zeros_like(valid) if token_type_ids is None else (token_type_ids == 1) & valid
    first = valid & ~second
    if not second.any():
        between = (input_ids == config.sep_token_id) & valid
        if config.doubled_separator:  # the first of two; a text may hold a single one
            between &= nn.functional.pad(between[:, 1:], (0, 1))
        before = between.cumsum(1) - between.int()  # such places to the left of a token
        first, second = valid & (before == 0), valid & (before > 0)
        if config.doubled_separator:
            second &= ~nn.functional.pad((between & (before == 0))[:, :-1], (1, 0))
    lengths = torch.cat([first.sum(1), second.sum(1) + 1])  # [2b], of the second with the frame it lacks
    if len(input_ids) and int(lengths[len(input_ids) :].min()) < 2:
        raise ValueError("a bi-encoder reads pairs of texts: give a second text (`text_pair`) in every row")
    parts = []
    for own, opened in ((first, False), (second, True)):
        order = own.int().argsort(dim=1, descending=True, stable=True)  # [b, t], a text's tokens to the front
        ids = input_ids.gather(1, order)
        start = ids.new_full((len(ids), 1), config.cls_token_id if opened else config.pad_token_id)
        parts.append(torch.cat([start, ids] if opened else [ids, start], 1))
    width = int(lengths.max()) if len(lengths) else 0
    kept = torch.arange(width, device=valid.device) < lengths[:, None]  # [2b, w]
    return torch.cat(parts)[:, :width].masked_fill(~kept, config.pad_token_id), kept


class Similarity(nn.Module):
    """A number from a cosine: `weight * cosine + bias`, in float32 whatever autocast computes in."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, cosine: Tensor) -> Tensor:
        """[b] -> [b, 1]"""
        return cosine[:, None].float() * self.weight.float() + self.bias.float()


class BiEncoderForSequenceClassification(PreTrainedModel):
    """The inputs are those of any other model of pairs, so that tokenizers and pipelines are used as ever.

    A text's embedding does not depend on the other text: those of a million texts can be kept and compared. (A pair
    that is longer than the tokenizer's `model_max_length` is cut as a pair.) Of a checkpoint whose embeddings are good
    already, training needs only adjust them.
    """

    config_class = BiEncoderConfig
    base_model_prefix = "encoder"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    # As in every model with a head of its own: the loss is not yet divided by the items of a step.
    accepts_loss_kwargs = False

    def __init__(self, config: BiEncoderConfig):
        super().__init__(config)
        config.validate_values()
        if config.text_config is None:
            raise ValueError("BiEncoderConfig.text_config is None; give the encoder's configuration")
        self.encoder = AutoModel.from_config(config.text_config, **without_pooler(config.text_config))
        width = config.text_config.hidden_size
        if config.problem_type == "regression":
            self.classifier = Similarity()
        else:
            self.dropout = nn.Dropout(getattr(config.text_config, "hidden_dropout_prob", 0.1))
            self.classifier = nn.Linear(3 * width, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, Similarity):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif module is self.classifier:
            init.normal_(module.weight, std=getattr(self.config.text_config, "initializer_range", 0.02))
            init.zeros_(module.bias)

    def get_input_embeddings(self) -> nn.Module:
        return self.encoder.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.encoder.set_input_embeddings(value)

    def embed(self, input_ids: Tensor, attention_mask: Tensor, **_) -> Tensor:
        """Embeddings [n, d], float32, of single texts [n, w], as a tokenizer gives them; token types are ignored."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask.long()).last_hidden_state.float()
        if self.config.pooling == "first":
            return states[:, 0]
        weight = attention_mask[..., None].to(states.dtype)
        return (states * weight).sum(1) / weight.sum(1)

    def cosine(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """[b], of the embeddings of each pair; inputs as `forward` takes them."""
        return nn.functional.cosine_similarity(*self._pair(input_ids, attention_mask, token_type_ids))

    def _pair(
        self, input_ids: Tensor, attention_mask: Tensor | None, token_type_ids: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        valid = input_ids != self.config.pad_token_id if attention_mask is None else attention_mask.bool()
        first, second = self.embed(*split_pairs(input_ids, valid, token_type_ids, self.config)).chunk(2)
        return first, second  # [b, d] each

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs,
    ) -> SequenceClassifierOutput | tuple[Tensor, ...]:
        """
        Args:
            input_ids: [b, t], pairs (see `split_pairs`).
            attention_mask: [b, t], 1 at tokens. Without it, all tokens but `pad_token_id` are.
            token_type_ids: [b, t], 1 at the second text; unset: the separators tell.
            labels: classes [b]; zeros and ones [b, c] for several labels; numbers [b] for regression.
            kwargs: taken and ignored, as PEFT and Trainer pass more.
        """
        first, second = self._pair(input_ids, attention_mask, token_type_ids)
        if self.config.problem_type == "regression":
            logits = self.classifier(nn.functional.cosine_similarity(first, second))
        else:
            logits = self.classifier(self.dropout(torch.cat([first, second, (first - second).abs()], 1)))
        loss = None if labels is None else pair_loss(logits, labels, self.config.problem_type)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def pair_loss(logits: Tensor, labels: Tensor, problem_type: str | None) -> Tensor:
    """The mean loss of `[b, c]` logits, in float32; labels as `forward` takes them."""
    logits = logits.float()
    if problem_type == "regression":
        return nn.functional.mse_loss(logits, labels.float().view_as(logits))
    if labels.is_floating_point():
        return nn.functional.binary_cross_entropy_with_logits(logits, labels)
    return nn.functional.cross_entropy(logits, labels.view(-1))


def without_pooler(config) -> dict[str, bool]:
    """The argument that leaves out the layer over the first token, where the family has one."""
    model_class = AutoModel._model_mapping[type(config)]
    there = not isinstance(model_class, tuple) and "add_pooling_layer" in inspect.signature(model_class).parameters
    return {"add_pooling_layer": False} if there else {}


__all__ = ["BiEncoderForSequenceClassification"]
