"""The loss of written tokens, exact under gradient accumulation and several processes.

Cross-entropy summed over the tokens of a micro-batch and divided by the number of tokens of the whole optimizer step. A
mean of means would give a token of a short batch more weight than one of a long batch. With label smoothing (Szegedy et
al. 2016, arXiv:1512.00567, section 7; Vaswani et al. 2017, arXiv:1706.03762, section 5.4) a share of the target is
spread over the vocabulary.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORED = -100  # the label of padding, as everywhere in transformers


def token_loss(
    logits: Tensor, labels: Tensor, num_items_in_batch: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Summed loss of `logits` `[b, t, v]` against `labels` `[b, t]`, divided by `num_items_in_batch` tokens.

    Without `num_items_in_batch` the divisor is this batch's own count.
    """
    # Padding is passed over, not cut out: the gradient of a cut fills a second tensor of all logits.
    total = F.cross_entropy(
        logits.flatten(0, 1).float(),
        labels.flatten(),
        ignore_index=IGNORED,
        label_smoothing=label_smoothing,
        reduction="sum",
    )
    return total / (count_tokens(labels) if num_items_in_batch is None else num_items_in_batch)


def count_tokens(labels: Tensor) -> Tensor:
    """The written tokens of `labels` `[b, t]`, a scalar."""
    return (labels != IGNORED).sum().float()


def log_probabilities(logits: Tensor, labels: Tensor) -> Tensor:
    """That of every written token, 0 at padding: `[b, t]` float32."""
    losses = F.cross_entropy(logits.float().transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
    return torch.negative(losses)


def row_losses(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Of every row its summed loss, without smoothing, and its number of tokens: `[b]` each, float32."""
    return -log_probabilities(logits, labels).sum(1), (labels != IGNORED).sum(1).float()
