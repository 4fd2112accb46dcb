"""Unpadded encoders: the layers compute the tokens of a batch, none of its padding.

Embeddings are looked up on the padded batch, so that positions and token types are those of the model. Before the stack
of layers the tokens are gathered into one row `[1, n, d]`; behind it they are put back into `[b, t, d]`, zeros at the
padding, for heads and poolers to find. In between every text attends to itself only (`packed_attention`). Logits and
gradients are those of the padded batch. The weights, the saved files and the configuration do not change.
"""

import inspect
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from hf_kit.arguments import KitTrainingArguments
from hf_kit.cpu_attention import ATTENTION as CPU_ATTENTION
from hf_kit.packed_attention import Packing, flash_attention, kernel_fault, plain_attention
from hf_kit.precision import DTYPES

# The stack of layers in each family whose attention is a plain softmax over the text, without a bias of its own by
# distance (MPNet, DeBERTa, T5) and without rotary positions, which its layers get per padded row (ModernBERT).
STACKS = {
    "bert": "encoder",
    "camembert": "encoder",
    "data2vec-text": "encoder",
    "distilbert": "transformer",
    "electra": "encoder",
    "ernie": "encoder",
    "roberta": "encoder",
    "xlm-roberta": "encoder",
}
ATTENTION = "hf_kit_unpadded"


def unpad_where_it_pays(model: nn.Module, training: KitTrainingArguments) -> str:
    """Unpad `model` if its family can be and the device has a kernel for it; a line for the user that says which.

    Args:
        model: as the trainer takes it, with or without adapters.
    """
    device, dtype = training.device, DTYPES[training.mixed_precision]
    reason = obstacle(model)
    if not reason and device.type != "cuda":
        reason = "only GPUs have a kernel for packed texts"
    if not reason and dtype == torch.float32:
        reason = "the kernel for packed texts computes in bf16 or fp16 only"
    if not reason and training.torch_compile:
        reason = "--torch_compile wants few shapes, and packed texts have one for every batch"
    if not reason:
        config, _ = _find_stack(model)
        heads = config.num_attention_heads
        fault = kernel_fault(device, dtype, heads, config.hidden_size // heads)
        reason = f"the kernel for packed texts does not work here: {fault}" if fault else ""
    if reason:
        return f"padding is computed: {reason}"
    unpad(model)
    return "padding is not computed: the texts of a batch are packed (FlashAttention)"


def obstacle(model: nn.Module) -> str:
    """Why `model` cannot be unpadded, or ""."""
    found = _find_stack(model)
    if found is None:
        return "this family's layers are not known to work on packed texts"
    config, _ = found
    if getattr(config, "is_decoder", False) or getattr(config, "add_cross_attention", False):
        return "a decoder's layers look at more than their own text"
    if config.chunk_size_feed_forward:
        return "chunk_size_feed_forward cuts the batch into pieces of one length"
    # The attention of CPUs is put in before the model goes to its device, and is plain sdpa on a GPU.
    if config._attn_implementation not in ("sdpa", CPU_ATTENTION):
        return f"the model is set to {config._attn_implementation} attention"
    return ""


def unpad(model: nn.Module) -> None:
    """Let the layers of `model`, which has no `obstacle`, compute on packed tokens from now on.

    A forward pass is padded as ever where texts are padded on the left, where it asks for hidden states or attentions,
    and where a GPU computes it in fp32.
    """
    config, stack = _find_stack(model)
    # Kept by the configuration in memory alone: transformers leaves it out of config.json.
    config._attn_implementation = ATTENTION
    stack.register_forward_pre_hook(_pack, with_kwargs=True)
    stack.register_forward_hook(_unpack, with_kwargs=True)


def _find_stack(model: nn.Module) -> tuple[PreTrainedConfig, nn.Module] | None:
    """The backbone's configuration and its stack of layers, wherever adapters and heads have put it."""
    for module in model.modules():
        if isinstance(module, PreTrainedModel) and module.config.model_type in STACKS:
            stack = getattr(module, STACKS[module.config.model_type], None)
            if isinstance(stack, nn.Module) and isinstance(getattr(stack, "layer", None), nn.ModuleList):
                return module.config, stack
    return None


def _padding_mask(*, attention_mask: torch.Tensor | None = None, **_: Any) -> torch.Tensor | None:
    """The mask that transformers hands to the stack: `[b, t]`, true at tokens, as the batch has it."""
    return attention_mask


def _pack(stack: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]] | None:
    """Before the stack: gather the tokens, and put a `Packing`, which its layers pass on, in the mask's place."""
    inputs = dict(zip(inspect.signature(stack.forward).parameters, args, strict=False)) | kwargs
    mask = inputs["attention_mask"]
    if mask is None or mask.dim() != 2:  # nothing is padded, or a mask of the caller's own
        return None
    hidden = inputs["hidden_states"]  # [b, t, d]
    b, t = mask.shape
    tokens, begun = torch.stack([mask.sum(), mask[:, 0].sum()]).tolist()
    if tokens == b * t:
        inputs["attention_mask"] = None
    # Heads read the first position, whatever stands there: padding on the left is computed as ever.
    elif begun == b and _can_run_packed(hidden) and not _shows_layers(stack, inputs):
        packing = Packing.of(mask)
        hidden = hidden.flatten(0, 1).index_select(0, packing.tokens)[None]
        inputs |= {"hidden_states": hidden, "attention_mask": None, "packing": packing}
    # Reentrant checkpointing and transformers' recorders look for the first argument by its place.
    return (inputs.pop("hidden_states"),), inputs


def _can_run_packed(hidden: torch.Tensor) -> bool:
    """Whether `_attend` has an attention for a forward pass as it is now: evaluation may be in another format."""
    if not hidden.is_cuda:
        return hidden.device.type == "cpu"
    dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else hidden.dtype
    return dtype in (torch.bfloat16, torch.float16)


def _shows_layers(stack: nn.Module, inputs: dict[str, Any]) -> bool:
    """Whether the caller asked for what the layers compute, which transformers records where they stand."""
    config = next(module.config for module in stack.modules() if hasattr(module, "config"))
    return any(inputs.get(name, getattr(config, name, False)) for name in ("output_hidden_states", "output_attentions"))


def _unpack(stack: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> Any:
    """Behind the stack: put the tokens back into the padded batch.

    Raises:
        RuntimeError: not every layer has kept the texts apart, so that the result would be wrong.
    """
    packing = kwargs.get("packing")
    if packing is None:
        return None
    if packing.layers != len(stack.layer):
        raise RuntimeError(
            f"{packing.layers} of {len(stack.layer)} layers computed packed texts: this release of transformers does "
            "not hand the packing on"
        )
    hidden = output.last_hidden_state[0]  # [n, d]
    b, t = packing.shape
    padded = hidden.new_zeros(b * t, hidden.shape[1]).index_copy(0, packing.tokens, hidden)
    output.last_hidden_state = padded.view(b, t, -1)
    return output


def _attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    packing: Packing | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """The attention of every layer: `[b, heads, t, head size]` in, `[b, t, heads, head size]` out; packed, b is 1."""
    if packing is None:
        if attention_mask is not None and attention_mask.dim() == 2:
            attention_mask = attention_mask[:, None, None, :].expand(-1, 1, query.shape[2], -1)
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    packing.layers += 1
    query, key, value = (x[0].transpose(0, 1) for x in (query, key, value))
    if torch.is_autocast_enabled(query.device.type):  # which knows scaled_dot_product_attention, not the operator
        query, key, value = (x.to(torch.get_autocast_dtype(query.device.type)) for x in (query, key, value))
    attention = flash_attention if query.is_cuda else plain_attention
    return attention(query, key, value, packing, dropout, scaling)[None], None


AttentionInterface.register(ATTENTION, _attend)
AttentionMaskInterface.register(ATTENTION, _padding_mask)
