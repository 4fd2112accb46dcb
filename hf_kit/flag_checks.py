"""Flags whose values cannot be meant, or contradict each other: found before anything is loaded.

Beyond what argparse (types, choices) and `transformers.TrainingArguments` find by themselves.
"""

import dataclasses
import math
from typing import Any

from transformers.integrations import get_available_reporting_integrations
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from hf_kit.arguments import Arguments, LoraArguments
from hf_kit.errors import UserError, nearest
from hf_kit.tasks import find_task
from hf_kit.tokenizer_training import smallest_vocab_size

POSITIVE = (
    "eval_steps save_steps logging_steps lora_alpha adam_epsilon generation_num_beams generation_max_length".split()
)
NOT_NEGATIVE = "weight_decay max_grad_norm dataloader_num_workers".split()
BELOW_ONE = ("adam_beta1", "adam_beta2", "lora_dropout")
SEEDS = ("seed", "data_seed")
GENERATION = "predict_with_generate generation_max_length generation_num_beams generation_config".split()
MAPPINGS = ("lr_scheduler_kwargs", "gradient_checkpointing_kwargs")


def check_given(given: dict[str, Any]) -> None:
    """Look at what the user wrote, before transformers fills and replaces values.

    Raises:
        UserError: an empty value (an unset shell variable, mostly), or a number out of its range.
    """
    for name, value in given.items():
        if value in ("", []) or (isinstance(value, list) and "" in value):
            raise UserError(f"--{name} is empty; give a value or leave the flag out")
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"--{name} is {value}; it must be a finite number")
        if name in POSITIVE and not value > 0:
            raise UserError(f"--{name} is {value}; it must be greater than 0")
        if name in NOT_NEGATIVE and value < 0:
            raise UserError(f"--{name} is {value}; it must not be negative")
        if name in BELOW_ONE and not 0 <= value < 1:
            raise UserError(f"--{name} is {value}; allowed: 0 up to below 1")
        if name in SEEDS and not 0 <= value < 2**32:
            raise UserError(f"--{name} is {value}; allowed: 0 to {2**32 - 1}")
        if name == "max_steps" and value < 1 and value != -1:
            raise UserError(f"--max_steps is {value}; it must be greater than 0 (-1: as many as the epochs have)")


def check_flags(arguments: Arguments) -> None:
    """Look at the values in effect.

    Raises:
        UserError: naming the flag, its value and what is allowed.
    """
    training, model = arguments.training, arguments.model
    for name in MAPPINGS:
        value = getattr(training, name)
        if value and not isinstance(value, dict):
            raise UserError(f"--{name} {value!r} must be a JSON object, as '{{\"key\": value}}'")
    _check_reporting(training.report_to)
    _check_lora_is_used(arguments)
    _check_averaging(arguments)
    _check_batch_size_finder(arguments)
    task = find_task(arguments.task_name)
    if not task.generates:
        for name in GENERATION:
            if arguments.is_set(name) and getattr(training, name):
                raise UserError(f"--{name}: {arguments.task_name} generates nothing; leave it out")
    if model.model_type and not model.tokenizer_name:
        kind = model.tokenizer_type or task.tokenizer_type
        least = smallest_vocab_size(kind)
        if model.vocab_size < least:
            raise UserError(
                f"--vocab_size {model.vocab_size} is too small for a {kind} tokenizer; it needs at least {least}"
            )


def _check_reporting(names: list[str]) -> None:
    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            known = sorted(INTEGRATION_TO_CALLBACK)
            raise UserError(f"--report_to {name} is not known{nearest(name, known)} Known: none, {', '.join(known)}")
        if name not in get_available_reporting_integrations():
            raise UserError(f"--report_to {name}: the package is not installed; `pip install {name}`, or leave it out")


def _check_averaging(arguments: Arguments) -> None:
    """There must be checkpoints at regular distances."""
    training, number = arguments.training, arguments.training.average_checkpoints
    if number == 1:
        return
    if number < 1:
        raise UserError(f"--average_checkpoints is {number}; it must be greater than 0 (1: none are averaged)")
    if arguments.lora.use_peft:
        raise UserError(
            "--average_checkpoints with --use_peft: the average of two adapters is not the adapter of the average; "
            "leave one of them out"
        )
    if training.save_strategy not in ("steps", "epoch"):
        raise UserError(
            f"--average_checkpoints {number} with --save_strategy {training.save_strategy}: which checkpoints there "
            "will be is not known; allowed: steps, epoch"
        )


def _check_batch_size_finder(arguments: Arguments) -> None:
    """A step is tried before the model is taken apart."""
    sharded = [arguments.launched.get(f"ACCELERATE_USE_{kind}") for kind in ("FSDP", "DEEPSPEED")]
    if arguments.training.auto_find_batch_size and any(sharded):
        raise UserError(
            "--auto_find_batch_size: not for a model that FSDP or DeepSpeed takes apart; leave it out, and lower "
            "--per_device_train_batch_size where memory does not suffice"
        )


def _check_lora_is_used(arguments: Arguments) -> None:
    """A recipe's own LoRA flags may stand idle where the command line switches LoRA off."""
    if arguments.lora.use_peft:
        return
    idle = [f.name for f in dataclasses.fields(LoraArguments) if f.name != "use_peft" and arguments.is_set(f.name)]
    if arguments.is_set("use_peft"):
        idle = [name for name in idle if arguments.sources[name] == "command line"]
    if idle:
        raise UserError(f"--{idle[0]} does nothing without LoRA: add --use_peft, or leave it out")
