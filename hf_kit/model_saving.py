"""A trained model into its run folder, with what it answers; after LoRA the merged one beside the adapter."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from hf_kit import console, lora, run_folder
from hf_kit.arguments import Arguments
from hf_kit.model_building import Built
from hf_kit.precision import DTYPES
from hf_kit.proof.reference import write_reference
from hf_kit.tasks.task import Prepared, Task
from hf_kit.trainer import KitTrainer


def save(
    trainer: KitTrainer,
    arguments: Arguments,
    task: Task,
    prepared: Prepared,
    folder: Path,
    built: Built,
    rebuild: Callable[[], Built],
) -> None:
    """The model and its processor into the run folder; after LoRA the adapter there and the merged model below.

    Beside them what the model answers, for the proof.

    Args:
        built: the model that was trained, as training started from it.
        rebuild: makes that once more, for weights that are sharded.
    """
    trainer.save_model(str(folder), _internal_call=True)  # which does not push
    model = _in_one_piece(trainer, rebuild)
    if model is None:
        return
    write_reference(folder, model, task, trainer.processing_class, prepared)
    if arguments.lora.use_peft:
        commit = trainer.facts["fingerprint_of"]["checkpoint"].partition("@")[2]  # none of a folder's
        named = arguments.model.model_revision not in (None, "main")
        lora.finish_adapter_folder(folder, built.head, commit=commit or None, named=named)
        model.merge_and_unload().save_pretrained(folder / run_folder.MERGED)
        trainer.processing_class.save_pretrained(folder / run_folder.MERGED)


def _in_one_piece(trainer: KitTrainer, rebuild: Callable[[], Built]) -> nn.Module | None:
    """The trained model with all its weights, on the main process; None on the others.

    All processes must ask: of a sharded model each has a part, and the whole is put together in the main one's memory.
    """
    eight_bits = trainer.args.mixed_precision == "fp8"  # which is built into the layers
    if not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled or eight_bits):
        # Without the wrapper that computes in less than float32.
        model = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
        return model if console.is_main_process() else None
    sharded = trainer.model_wrapped if trainer.is_deepspeed_enabled else trainer.model
    weights = trainer.accelerator.get_state_dict(sharded)
    if not console.is_main_process():
        return None
    model = rebuild().model
    # Frozen weights were in the format of the run meanwhile (see `frozen_weights.py`); these are the exact ones.
    dtype = DTYPES[trainer.args.mixed_precision]
    exact = {
        name: own
        for name, own in model.named_parameters(remove_duplicate=False)
        if not own.requires_grad and torch.equal(own.to(dtype), weights[name].to(own.device, dtype))
    }
    model.load_state_dict(weights | exact)
    return model
