"""The gradient of a big embedding, at the cost of the rows that a batch looks up.

`nn.Embedding`'s own backward pass fills a new tensor of the whole vocabulary with zeros at every step (47 MB for a
30,522 x 384 table, a tenth of a small encoder's training step on a CPU). Here one such tensor is kept: the step's rows
are added to it, and only those are set back to zero before the next. The gradient that the optimizer sees is the same,
so AdamW and clipping do what they always do.

On GPUs, and between processes, which exchange gradients through autograd's hooks, torch's own way stays.
"""

import torch
from torch import Tensor, nn


class _Lookup(torch.autograd.Function):
    """The rows of a table; its backward pass hands their gradients to `RowGradient` and none to autograd."""

    @staticmethod
    def forward(ctx, weight: Tensor, ids: Tensor, gradient: "RowGradient") -> Tensor:
        ctx.save_for_backward(ids)
        ctx.gradient = gradient
        return nn.functional.embedding(ids, weight.detach())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor):
        (ids,) = ctx.saved_tensors
        ctx.gradient.add(ids, grad)
        return None, None, None


class RowGradient:
    """The kept gradient of one table `[v, d]`.

    Attributes:
        padding_idx: the row whose gradient is always zero, or None.
    """

    def __init__(self, weight: nn.Parameter, padding_idx: int | None):
        self.weight = weight
        self.padding_idx = padding_idx
        self._kept: Tensor | None = None  # [v, d], zero but for the rows in `_touched`
        self._touched: list[Tensor] = []

    def add(self, ids: Tensor, grad: Tensor) -> None:
        """Add the gradient `[..., d]` of looking up `ids` `[...]` to `weight.grad`."""
        ids, grad = ids.flatten(), grad.flatten(0, -2)  # [n], [n, d]
        rows, places = torch.unique(ids, return_inverse=True)  # [u], [n]
        summed = torch.ops.aten.embedding_dense_backward(grad, places, len(rows), -1, False)  # [u, d]
        if self.padding_idx is not None:
            summed[rows == self.padding_idx] = 0
        if self.weight.grad is None:
            self.weight.grad = self._empty()
        if self.weight.grad is self._kept:
            self._touched.append(rows)
        self.weight.grad.index_add_(0, rows, summed.to(self.weight.grad.dtype))

    @property
    def holds(self) -> bool:
        """Whether `weight.grad` is the kept one, zero but for the rows looked up since it was last cleared."""
        return self.weight.grad is not None and self.weight.grad is self._kept

    def rows(self) -> Tensor:
        """Those rows, `[u]`, each once."""
        return torch.cat(self._touched).unique() if len(self._touched) > 1 else self._touched[0]

    def _empty(self) -> Tensor:
        if self._kept is None or self._kept.shape != self.weight.shape:
            self._kept = torch.zeros_like(self.weight)
        for rows in self._touched:
            self._kept.index_fill_(0, rows, 0)
        self._touched = []
        return self._kept


class RowGradientEmbedding(nn.Embedding):
    """`nn.Embedding` whose weight's gradient is a `RowGradient`."""

    row_gradient: RowGradient

    def forward(self, ids: Tensor) -> Tensor:
        if not (torch.is_grad_enabled() and self.weight.requires_grad) or self.weight.device.type != "cpu":
            return super().forward(ids)
        if self.row_gradient.weight is not self.weight:  # put in its place by a later load, say
            self.row_gradient = RowGradient(self.weight, self.padding_idx)
        return _Lookup.apply(self.weight, ids, self.row_gradient)


@torch.no_grad()
def clip_grad_norm(model: nn.Module, max_norm: float) -> Tensor:
    """As `torch.nn.utils.clip_grad_norm_` over all parameters of `model`, without a pass over rows that are zero.

    Returns:
        the norm before clipping, a scalar.
    """
    held = [m.row_gradient for m in model.modules() if isinstance(m, RowGradientEmbedding) and m.row_gradient.holds]
    tables = {id(gradient.weight) for gradient in held}
    others = [p.grad for p in model.parameters() if p.grad is not None and id(p) not in tables]
    rows = [gradient.rows() for gradient in held]
    values = [gradient.weight.grad[own] for gradient, own in zip(held, rows, strict=True)]  # [u, d] each
    total = nn.utils.get_total_norm([*others, *values])
    # As a number: by a tensor, each gradient would be scaled by a step of its own that reads it.
    factor = max_norm / (total.item() + 1e-6)
    if factor < 1:
        torch._foreach_mul_([*others, *values], factor)
        for gradient, own, scaled in zip(held, rows, values, strict=True):
            gradient.weight.grad.index_copy_(0, own, scaled)
    return total


def big_tables(model: nn.Module) -> list[nn.Embedding]:
    """The trained embeddings of `model` that can have a row gradient and are worth it.

    Left alone: tables on other devices, and those that another module uses as well (a language model's output), whose
    gradient is not zero outside the rows.
    """
    users: dict[int, int] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            users[id(parameter)] = users.get(id(parameter), 0) + 1
    found = []
    for module in model.modules():
        plain = type(module) is nn.Embedding and module.max_norm is None and not module.sparse
        if not plain or module.scale_grad_by_freq or module.weight.device.type != "cpu":
            continue
        if module.weight.requires_grad and users[id(module.weight)] == 1 and module.num_embeddings >= LEAST_ROWS:
            found.append(module)
    return found


def keep_row_gradients(model: nn.Module) -> None:
    """Give every one of `big_tables` a row gradient; no parameter and no name changes."""
    for module in big_tables(model):
        module.row_gradient = RowGradient(module.weight, module.padding_idx)
        module.__class__ = RowGradientEmbedding


# Of smaller tables (positions, token types) the plain gradient is cheap.
LEAST_ROWS = 4096
