"""The classification losses, exact under gradient accumulation and several processes.

The heads of transformers average over one micro-batch and drop `num_items_in_batch`, so four accumulated micro-batches
give four times the loss, and a class-weighted mean of means is wrong by tens of per cent. Here every loss is a sum over
the micro-batch divided by the item count of the whole optimizer step (all micro-batches, all processes); with class
weights an item counts as much as its weight. `count` and `loss` belong together: the trainer sums `count` over the
step and hands it back as `num_items_in_batch`.

Label smoothing is that of Szegedy et al. 2016 (arXiv:1512.00567, section 7); for independent labels each target moves
towards one half.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hf_kit.data import LabelMapping
from hf_kit.errors import UserError, nearest


@dataclass(frozen=True)
class ClassificationLoss:
    """The loss of one problem type.

    Args:
        problem_type: `single_label_classification`, `multi_label_classification` or `regression`.
        class_weights: one weight per class `[c]`. Single-label: the weight of a row of that class. Multi-label: the
            weight of a present label against an absent one (`pos_weight`).
        label_smoothing: the share of the target spread over all classes, 0 to below 1; not for regression.
        unit: of regression, in which the loss measures: the standard deviation of the training numbers. Prices and
            shares then make gradients of one size, as clipping, Adam and the usual learning rates expect.
    """

    problem_type: str
    class_weights: tuple[float, ...] | None = None
    label_smoothing: float = 0.0
    unit: float = 1.0
    _weights: dict = field(default_factory=dict, repr=False, compare=False)

    def _weight(self, device: torch.device) -> Tensor | None:
        if self.class_weights is None:
            return None
        if device not in self._weights:
            self._weights[device] = torch.tensor(self.class_weights, dtype=torch.float32, device=device)  # [c]
        return self._weights[device]

    def count(self, labels: Tensor) -> Tensor:
        """What one micro-batch of labels adds to the divisor; a scalar.

        Args:
            labels: ids `[b]`; `[b, c]` for several labels; numbers `[b]`. Of a single label also shares `[b, c]` that
                add up to one, as of mixed images.
        """
        weight = self._weight(labels.device)
        single = self.problem_type == "single_label_classification"
        if single and weight is not None:
            return (labels * weight).sum() if labels.is_floating_point() else weight[labels].sum()
        if single and labels.is_floating_point():
            return torch.tensor(float(len(labels)), device=labels.device)
        return torch.tensor(float(labels.numel()), device=labels.device)

    def __call__(self, logits: Tensor, labels: Tensor, num_items_in_batch: Tensor | None = None) -> Tensor:
        """Sum of the losses of `logits` `[b, c]` (regression `[b, 1]`) divided by `num_items_in_batch`.

        Without `num_items_in_batch` the divisor is this batch's own count, which gives the usual mean.
        """
        logits = logits.float()
        weight = self._weight(logits.device)
        if self.problem_type == "single_label_classification":
            total = F.cross_entropy(
                logits, labels, weight=weight, label_smoothing=self.label_smoothing, reduction="sum"
            )
        elif self.problem_type == "multi_label_classification":
            targets = labels.float() * (1 - self.label_smoothing) + self.label_smoothing / 2  # [b, c]
            total = F.binary_cross_entropy_with_logits(logits, targets, pos_weight=weight, reduction="sum")
        else:
            total = F.mse_loss(logits.squeeze(-1) / self.unit, labels.float() / self.unit, reduction="sum")
        return total / (self.count(labels) if num_items_in_batch is None else num_items_in_batch)


def balanced_weights(counts: list[int], rows: int, problem_type: str) -> tuple[float, ...]:
    """Class weights under which every class weighs the same in all.

    Single-label: `rows / (classes * count)`, scikit-learn's "balanced". Multi-label: `absent / present` per label. A
    class that never occurs gets weight 1.
    """
    if problem_type == "multi_label_classification":
        return tuple((rows - n) / n if n else 1.0 for n in counts)
    return tuple(rows / (len(counts) * n) if n else 1.0 for n in counts)


def base_rates(problem_type: str, labels: Any, weights: tuple[float, ...] | None) -> list[float] | None:
    """The constant outputs of least loss, `[c]`: log-odds of several labels, the mean of a number.

    None for a single label, whose outputs start near enough.

    Args:
        labels: [n, c] of 0 and 1 (sparse as well), or [n] numbers.
        weights: as for `ClassificationLoss`.
    """
    if problem_type == "regression":
        return [float(labels.mean())]
    if problem_type != "multi_label_classification":
        return None
    count, rows = np.asarray(labels.sum(0), dtype=np.float64).ravel(), labels.shape[0]  # [c]
    odds = (count + 0.5) / (rows - count + 0.5)  # a label on no row, or on all, has none
    return np.log(odds * np.asarray(weights or 1.0)).tolist()


def unit_of(problem_type: str, labels: Any) -> float:
    """`ClassificationLoss.unit` for training labels `[n]`; 1 where they are no numbers, or all the same."""
    if problem_type != "regression":
        return 1.0
    return float(labels.std()) or 1.0


def class_weights(
    asked: str | dict[str, float], mapping: LabelMapping, counts: list[int], rows: int
) -> tuple[float, ...]:
    """What `--class_weights` asks for, `[c]`: "balanced", or a weight by label, 1 for those not named.

    Args:
        counts: training rows with each label, `[c]`.
        rows: training rows.

    Raises:
        UserError: a label that is none, or a weight that is no number above 0.
    """
    if asked == "balanced":
        return balanced_weights(counts, rows, mapping.problem_type)
    for name, weight in asked.items():
        if name not in mapping.names:
            hint = nearest(name, mapping.names)
            raise UserError(f"--class_weights: there is no label {name!r}{hint} Labels: {', '.join(mapping.names)}")
        if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 < weight < float("inf"):
            raise UserError(f"--class_weights: the weight of {name!r} is {weight!r}; it must be a number above 0")
    return tuple(float(asked.get(name, 1.0)) for name in mapping.names)
