"""The memory of one training step, found without computing it.

The model's own forward and backward pass run on torch's fake tensors, which have shapes and formats and no memory. What
would be allocated is counted, and so is what is let go again: every family, LoRA, autocast and gradient checkpointing
are counted as they really are, in about the time that a hundred tiny operations take. An LSTM's kernel, whose workspace
torch does not know without running it, is stood in for: its workspace is asked of the kernel for a few steps, and grows
by as much with every further one.

Shapes: t steps, b texts, e width of the input, h hidden_dim, d = h or 2h, v entries of the vocabulary.
"""

import weakref
from collections.abc import Callable
from contextlib import nullcontext
from functools import lru_cache
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

from hf_kit.huge_pages import HEAP_AT_MOST
from hf_kit.models.bi_encoder import modeling_bi_encoder
from hf_kit.token_loss import token_loss

MORE_STEPS = 16  # its parts are rounded up to whole pages
LSTM_MODE = 2  # of the modes that ATen numbers: relu, tanh, LSTM, GRU


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the storages that operations make, as long as something holds them.

    Attributes:
        peak: the most at one moment.
        in_heap: of it, those in blocks of at most `heap_at_most` bytes, which the allocator of a CPU takes from its
            heap; larger ones it maps for themselves, and gives back as a whole.
    """

    def __init__(self, heap_at_most: int):
        super().__init__()
        self.heap_at_most = heap_at_most
        self.now = self.peak = self.in_heap = 0
        self._small = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        out = operation(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._note(leaf.untyped_storage())
        return out

    def ignore(self, tensors: list[Tensor]) -> None:
        """Those that were there before: an operation in place gives them back."""
        self._known |= {tensor.untyped_storage()._cdata for tensor in tensors}

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self._count(size, 1)
        if self.now > self.peak:
            self.peak, self.in_heap = self.now, self._small
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._count(size, -1)

    def _count(self, size: int, sign: int) -> None:
        self.now += sign * size
        if size <= self.heap_at_most:
            self._small += sign * size


class _Step(nn.Module):
    """Forward pass, loss and backward pass as one call, so that weights lent to it are there in all of them."""

    def __init__(self, model: nn.Module, label_smoothing: float):
        super().__init__()
        self.model = model
        self.label_smoothing = label_smoothing

    def forward(self, batch: dict[str, Tensor], autocast: Any) -> None:
        labels = batch.pop("labels", None)
        with autocast:
            logits = self.model(**batch).logits
            loss = self._loss(logits, labels)
        del logits
        loss.backward()

    def _loss(self, logits: Tensor, labels: Tensor | None) -> Tensor:
        """As large as the task's: that of every token for a model that writes; else next to nothing."""
        if labels is None or logits.dim() < 3 or labels.dim() < 2:
            return logits.float().sum()
        return token_loss(logits, labels, label_smoothing=self.label_smoothing)


def traced_bytes(
    model: nn.Module,
    batch: dict[str, Tensor],
    *,
    device: torch.device,
    dtype: torch.dtype,
    cast: list[nn.Parameter],
    held: list[nn.Parameter],
    heap_at_most: int = HEAP_AT_MOST,
    label_smoothing: float = 0.0,
) -> LiveBytes:
    """The most that a step's activations, copies and gradients take at one moment, and what of it lies in the heap.

    Args:
        model: is not changed, and neither are random numbers drawn.
        batch: of real tensors; `labels` among them.
        device: where the step will be computed.
        dtype: what autocast computes in; float32: without it.
        cast: frozen weights that will be held in `dtype`.
        held: those whose gradients are there from the start, as between accumulated batches. They count.
        heap_at_most: as `LiveBytes` has it.

    Raises:
        Exception: of many kinds, where what the model computes depends on the numbers in the batch.
    """
    if device.type == "cpu":
        device = torch.device("cpu")  # of several processes each has its own number, which tensors made inside lack
    was_training = model.training
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    casts, holds = {id(p) for p in cast}, {id(p) for p in held}
    lent: dict[int, Tensor] = {}  # of shared weights one
    step = _Step(model, label_smoothing)
    with fake:
        for weight in [*model.parameters(), *model.buffers()]:
            made = torch.empty_like(weight, device=device, dtype=dtype if id(weight) in casts else weight.dtype)
            if isinstance(weight, nn.Parameter):
                made = nn.Parameter(made, weight.requires_grad)
            lent[id(weight)] = made
    named = [
        *step.named_parameters(remove_duplicate=False),
        *step.named_buffers(remove_duplicate=False),
    ]
    weights = {name: lent[id(weight)] for name, weight in named}
    live = LiveBytes(heap_at_most)
    live.ignore(list(lent.values()))
    autocast = nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)
    apart = _shapes_apart(model, batch)
    model.train()
    try:
        with (
            fake,
            live,
            patch.object(torch._VF, "lstm", _lstm),
            patch.object(modeling_bi_encoder, "split_pairs", apart),
        ):
            for weight in holds:
                lent[weight].grad = torch.zeros_like(lent[weight])
            inputs = {name: torch.empty_like(tensor, device=device) for name, tensor in batch.items()}
            torch.func.functional_call(step, weights, (inputs, autocast), tie_weights=False)
    finally:
        model.train(was_training)
    return live


def _shapes_apart(model: nn.Module, batch: dict[str, Tensor]) -> Callable[..., tuple[Tensor, Tensor]]:
    """In the place of a bi-encoder's `split_pairs`, whose shapes the tokens decide: those of the real `batch`."""
    found = [m for m in model.modules() if isinstance(m, modeling_bi_encoder.BiEncoderForSequenceClassification)]
    if not found:
        return modeling_bi_encoder.split_pairs
    valid, types = batch["attention_mask"].bool(), batch.get("token_type_ids")
    ids, kept = modeling_bi_encoder.split_pairs(batch["input_ids"], valid, types, found[0].config)
    return lambda input_ids, *_: (input_ids.new_empty(ids.shape), input_ids.new_empty(kept.shape, dtype=torch.bool))


class _Kernel(torch.autograd.Function):
    """What an LSTM layer makes and keeps, in one direction: [t, b, e] -> [t, b, h]."""

    @staticmethod
    def forward(ctx, x: Tensor, workspace_bytes: int, dtype: torch.dtype, *weights: Tensor) -> Tensor:
        x = x.detach().to(dtype)
        states = x.new_empty(*x.shape[:2], weights[1].shape[1])
        workspace = torch.empty(workspace_bytes, dtype=torch.uint8, device=x.device)
        ctx.save_for_backward(x, states.detach(), workspace, *(weight.detach().to(dtype) for weight in weights))
        ctx.formats = [weight.dtype for weight in weights]
        return states

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, _, _, *weights = ctx.saved_tensors
        grads = [torch.empty_like(weight, dtype=dtype) for weight, dtype in zip(weights, ctx.formats, strict=True)]
        return torch.empty_like(x), None, None, *grads


def _lstm(x: Tensor, state: tuple[Tensor, Tensor], weights: list[Tensor], biases: bool, layers: int, *_: Any):
    """In the place of `torch._VF.lstm` for layers with biases, in one direction, of [t, b, e]."""
    device = x.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
    for layer in range(layers):
        own = weights[4 * layer : 4 * layer + 4]
        size = len(x) * _bytes_a_step(x.shape[1], x.shape[2], own[1].shape[1], dtype)
        x = _Kernel.apply(x, size, dtype, *own)
    return x, torch.empty_like(state[0]), torch.empty_like(state[1])


@lru_cache
def _bytes_a_step(b: int, e: int, h: int, dtype: torch.dtype) -> int:
    """What oneDNN's kernel keeps of every step in one direction; a GPU's is taken to be as large."""
    dtype = torch.bfloat16 if dtype == torch.float16 else dtype  # which this kernel lacks, and is as large
    sizes = []
    with _disable_current_modes(), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        for t in (1, 1 + MORE_STEPS):
            x, zeros = torch.zeros(t, b, e, dtype=dtype), torch.zeros(b, h, dtype=dtype)
            weights = [torch.zeros(4 * h, *width, dtype=dtype) for width in ((e,), (h,), (), ())]
            *_, workspace = torch.ops.aten.mkldnn_rnn_layer(
                x, *weights, zeros, zeros, False, [], LSTM_MODE, h, 1, True, False, False, True
            )
            sizes.append(workspace.numel() * workspace.element_size())
    return (sizes[1] - sizes[0]) // MORE_STEPS
