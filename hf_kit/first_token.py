"""Classifiers that read the first token only: their last layer computes that token alone.

The heads of BERT's kind look at position 0. What the last layer makes of all other positions is thrown away, and so are
its gradients, which are zero. Here the last layer takes its queries, its output and its feed-forward part from position
0, keys and values from all, and on a CPU not even those (see `one_query.py`). Answers and gradients are the same; of
six layers about a sixth of the work goes.
"""

from functools import partial

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from hf_kit.cpu_attention import ATTENTION as CPU_ATTENTION
from hf_kit.one_query import attend_once, can_read_so

# The families whose layers are BERT's and whose classification head reads position 0.
FAMILIES = frozenset("bert camembert data2vec-text electra ernie roberta xlm-roberta".split())


def compute_first_token_alone(model: PreTrainedModel) -> bool:
    """Shorten the last layer of a sequence classifier, from now on; False where `model` is none of those.

    Args:
        model: the model itself; adapters may be in it. Its parameters and what it saves stay as they are.
    """
    config = model.config
    if (
        config.model_type not in FAMILIES
        or not type(model).__name__.endswith("ForSequenceClassification")
        or config.is_decoder
        or config.add_cross_attention
        or config.output_hidden_states
        or config.output_attentions
        or config._attn_implementation not in ("sdpa", CPU_ATTENTION)
    ):
        return False
    last = model.base_model.encoder.layer[-1]
    last.forward = partial(_forward, last)
    return True


def _forward(layer: nn.Module, hidden_states: Tensor, attention_mask: Tensor | None = None, *_, **__) -> Tensor:
    """The layer's own computation for position 0: [b, t, d] -> [b, 1, d].

    Args:
        attention_mask: [b, 1, t, t], or None where nothing is padded.
    """
    own = layer.attention.self
    first = hidden_states[:, :1]
    mask = None if attention_mask is None else attention_mask[:, :, :1]  # [b, 1, 1, t]
    dropout = own.dropout.p if own.training else 0.0

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (own.num_attention_heads, -1)).transpose(1, 2)  # [b, n, s, d/n]

    if can_read_so(own.key, own.value, hidden_states):
        query = heads(own.query(first)).squeeze(2)  # [b, n, d/n]
        mask = None if mask is None else mask.squeeze(2)
        context = attend_once(query, own.key, own.value, hidden_states, mask, own.scaling, dropout)
        context = context.unsqueeze(1)
    else:
        context, _ = ALL_ATTENTION_FUNCTIONS[own.config._attn_implementation](
            own,
            heads(own.query(first)),
            heads(own.key(hidden_states)),
            heads(own.value(hidden_states)),
            mask,
            dropout=dropout,
            scaling=own.scaling,
            is_causal=False,
        )  # [b, 1, n, d/n]
    return layer.feed_forward_chunk(layer.attention.output(context.flatten(2), first))
