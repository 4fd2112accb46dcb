"""A run's model before its first step: the backbone with its head, its word vectors and its adapters."""

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedConfig

from hf_kit import backbone, console, lora, word_vectors
from hf_kit.arguments import Arguments
from hf_kit.exact_head import compute_numbers_exactly
from hf_kit.pair_encoding import start_at_cosines
from hf_kit.precision import DTYPES
from hf_kit.quantization import quantization_config
from hf_kit.sharding import in_one_piece
from hf_kit.tasks.task import Task
from hf_kit.vector_file import VectorFile


@dataclass(frozen=True)
class Built:
    """A model, and what it was made of.

    Attributes:
        model: what is trained: that of `base`, or a `PeftModel` around it.
        head: names of the modules of `base` that the task put on it.
    """

    model: nn.Module
    base: backbone.Backbone
    head: list[str]


@in_one_piece()
def build_model(arguments: Arguments, task: Task, config: PreTrainedConfig, processor: Any, rows: Any | None) -> Built:
    """The model that a run starts from, on the CPU; the same one whenever it is asked for.

    Args:
        rows: preprocessed training rows, in which the words of `--word_vectors` are counted; None: they are left out,
            for a model whose weights come from elsewhere.
    """
    quantized = _quantization(arguments, config, task)
    base = backbone.load_model(arguments.model, config, task.auto_class, arguments.training.seed, quantized)
    backbone.start_outputs_at(base, task.output_bias(), task.output_unit())
    task.finish_model(base.model, arguments.training)
    if arguments.model.word_vectors and rows is not None:
        word_vectors.fill_embedding(base.model, processor, VectorFile(arguments.model.word_vectors), rows)
    if "classifier" in base.new_modules and rows is not None:
        start_at_cosines(base.model, rows, processor, task.output_range())
    head = backbone.head_modules(base.model)
    compute_numbers_exactly(base.model)
    model = lora.add_lora(base, arguments.lora, task.peft_task_type) if arguments.lora.use_peft else base.model
    return Built(model, base, head)


def describe_model(built: Built) -> None:
    trained, total = lora.trainable_share(built.model)
    base = built.base
    kind = "pretrained" if base.pretrained else "fresh"
    console.say(
        f"{type(base.model).__name__} ({kind}): {total:,} parameters, {trained:,} trained ({trained / total:.2%})"
    )
    if base.new_modules:
        console.say(f"  not in the checkpoint, so new: {', '.join(base.new_modules)}")


def _quantization(arguments: Arguments, config: PreTrainedConfig, task: Task) -> Any:
    """How the frozen weights are held while adapters are trained; None: exactly."""
    if not arguments.model.quantized:
        return None
    empty = backbone.empty_model(arguments.model, config, task.auto_class)
    return quantization_config(arguments.model, empty, DTYPES[arguments.training.mixed_precision])
