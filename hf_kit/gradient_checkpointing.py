"""Gradient checkpointing (Chen et al. 2016, arXiv:1604.06174): a layer's activations are computed anew where the
backward pass needs them, instead of being kept.

Switched on by `Trainer` as well, and again, when it trains; here before, so that the memory of a step can be estimated.
"""

from typing import Any

from transformers import PreTrainedModel

from hf_kit.arguments import KitTrainingArguments

OLD_NAME = "gradient_checkpointing_enable"


def enable_gradient_checkpointing(model: PreTrainedModel, training: KitTrainingArguments) -> None:
    """Switch it on in `model` as `training` asks for, below adapters and all."""
    options: dict[str, Any] = dict(training.gradient_checkpointing_kwargs or {})
    # Of transformers, from 5.24 on; the others are torch's.
    own = {name: options.pop(name) for name in ("every_n_layers", "offload") if name in options}
    name = "activation_checkpointing_enable" if hasattr(model, "activation_checkpointing_enable") else OLD_NAME
    getattr(model, name)(options or None, **own)
