"""Frozen weights in 8 or 4 bits while adapters are trained, by bitsandbytes (QLoRA: Dettmers et al. 2023,
arXiv:2305.14314).

Only while they are trained: afterwards the adapters are put on the checkpoint's exact weights, and what is scored,
merged and saved is that model. PEFT's own merge rounds the sum to 4 bits again, and the result needs bitsandbytes to be
loaded; it is neither what was trained nor what others get who put the adapter on its base. The exact weights need room
once, without gradients.
"""

import importlib.util

import torch
from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from transformers import BitsAndBytesConfig, PreTrainedConfig

from hf_kit.arguments import Arguments, ModelArguments
from hf_kit.backbone import Backbone, head_modules, load_model
from hf_kit.errors import UserError
from hf_kit.lora import add_lora, output_layer, pooler
from hf_kit.models import own_model_types


def check_quantization(arguments: Arguments, model_type: str) -> None:
    """What cannot be had, said before any work.

    Raises:
        UserError: without LoRA, both at once, on a model of ours, without bitsandbytes, or an option that has no use.
    """
    model = arguments.model
    if not model.quantized:
        for name in ("bnb_4bit_quant_type", "use_bnb_nested_quant"):
            if arguments.is_set(name):
                raise UserError(f"--{name} does nothing without --load_in_4bit: add it, or leave --{name} out")
        return
    flag = "--load_in_4bit" if model.load_in_4bit else "--load_in_8bit"
    if model.load_in_4bit and model.load_in_8bit:
        raise UserError("--load_in_8bit and --load_in_4bit: weights are held in one of the two; leave one out")
    if not arguments.lora.use_peft:
        raise UserError(
            f"{flag} without --use_peft: rounded weights cannot be trained; add --use_peft, or leave it out"
        )
    if model_type in own_model_types():
        raise UserError(f"{flag}: the weights of {model_type} are not rounded; leave it out")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(f"{flag} needs bitsandbytes: pip install 'hf_kit[quantization]'")


def quantization_config(
    arguments: ModelArguments, empty: Backbone, compute_dtype: torch.dtype
) -> BitsAndBytesConfig | None:
    """How `from_pretrained` is to hold the weights; None: as they are.

    Args:
        empty: the model without memory; its head and what else is trained whole stay exact.
        compute_dtype: what a layer's weights are unpacked to when it computes.
    """
    if not arguments.quantized:
        return None
    return BitsAndBytesConfig(
        load_in_8bit=arguments.load_in_8bit,
        load_in_4bit=arguments.load_in_4bit,
        bnb_4bit_quant_type=arguments.bnb_4bit_quant_type,
        bnb_4bit_use_double_quant=arguments.use_bnb_nested_quant,
        bnb_4bit_compute_dtype=compute_dtype,
        llm_int8_skip_modules=[
            *head_modules(empty.model),
            *pooler(empty.model, None),
            *output_layer(empty.model),
        ],
    )


def on_exact_weights(
    trained: PeftModel, arguments: Arguments, config: PreTrainedConfig, auto_class: type, task_type: str | None
) -> PeftModel:
    """The adapters and whole modules of `trained` on the checkpoint's own weights, on the CPU."""
    base = load_model(arguments.model, config, auto_class, arguments.training.seed)
    model = add_lora(base, arguments.lora, task_type)
    set_peft_model_state_dict(model, get_peft_model_state_dict(trained))
    return model
