"""What the user left open is settled here: by the model's family and by the device; and shown, with who set what."""

import os
import platform

import psutil
import torch
from transformers import PreTrainedConfig
from transformers.trainer_utils import SchedulerType

from hf_kit import backbone, console, lora, word_vectors
from hf_kit.arguments import Arguments, KitTrainingArguments
from hf_kit.effective_settings import effective_rows
from hf_kit.errors import UserError, nearest
from hf_kit.families import family_defaults
from hf_kit.precision import DTYPES, choose_precision
from hf_kit.sharding import compute_with_deepspeed_in
from hf_kit.tasks import find_task
from hf_kit.tasks.task import Task


def use_the_cores(training: KitTrainingArguments) -> None:
    """Undo `accelerate launch`'s one thread per process where one process has the CPU to itself.

    The launcher writes OMP_NUM_THREADS=1 unless told otherwise, which halves the speed of two cores. More than one
    (`--num_cpu_threads_per_process 4`) is somebody's choice and stays.
    """
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ
    if launched and training.world_size == 1 and training.device.type == "cpu" and torch.get_num_threads() == 1:
        torch.set_num_threads(psutil.cpu_count(logical=False) or 1)


def _settle_task(arguments: Arguments) -> None:
    """Fill what the task decides where the user left it open."""
    task = find_task(arguments.task_name)
    if arguments.model.tokenizer_type is None:
        arguments.model.tokenizer_type = task.tokenizer_type
    if task.generates:
        arguments.set_default("predict_with_generate", True, "task")


def settle_settings(arguments: Arguments) -> PreTrainedConfig:
    """Fill what the user left open: by the model's family, by the device. The model's configuration, loaded."""
    training = arguments.training
    _settle_task(arguments)
    vectors = word_vectors.settle(arguments)
    config = backbone.load_config(arguments.model)
    config = find_task(arguments.task_name).arranged(arguments.task, arguments.model, config)
    if vectors:
        word_vectors.configure(arguments, config, vectors)
    pretrained = arguments.model.model_name_or_path is not None
    if arguments.lora.use_peft:
        lora.check_lora(arguments.lora, config.model_type, pretrained)
    family, values = family_defaults(
        config.model_type, pretrained=pretrained, use_peft=arguments.lora.use_peft, writes=config.is_encoder_decoder
    )
    for name, value in values.items():
        if name == "lr_scheduler_type":
            value = SchedulerType(value)
        arguments.set_default(name, value, f"family: {family}")

    precision = choose_precision(
        config.get_text_config().model_type,
        bf16=training.bf16 if arguments.is_set("bf16") else None,
        fp16=training.fp16 if arguments.is_set("fp16") else None,
        launched=os.environ.get("ACCELERATE_MIXED_PRECISION", ""),
        use_cpu=training.use_cpu,
    )
    training.mixed_precision = precision.mixed_precision
    training.bf16, training.fp16 = precision.mixed_precision == "bf16", precision.mixed_precision == "fp16"
    if training.deepspeed_plugin:
        compute_with_deepspeed_in(DTYPES[precision.mixed_precision], training.deepspeed_plugin.deepspeed_config)
    use_the_cores(training)
    if training.n_gpu > 1:
        # One process over several GPUs is torch's DataParallel: slower, and its loss is scaled otherwise.
        training._n_gpu = 1
        console.warn("several GPUs and one process: one GPU is used; start with --accelerate_config multi_gpu")
    name = torch.cuda.get_device_name() if training.device.type == "cuda" else platform.processor() or "CPU"
    word = {"no": "fp32"}.get(precision.mixed_precision, precision.mixed_precision)
    console.say(
        f"{training.world_size} process(es) on {training.device.type} ({name}, {torch.get_num_threads()} threads), "
        f"precision {word}: {precision.reason}"
    )
    return config


def settle_metric(arguments: Arguments, task: Task) -> None:
    """Which score chooses the best checkpoint, and whether more of it is better."""
    training = arguments.training
    if arguments.is_set("metric_for_best_model"):
        name = training.metric_for_best_model = training.metric_for_best_model.removeprefix("eval_")
        known = {"loss", *task.metric_names()}
        if task.generates and not training.predict_with_generate and name in task.metric_names():
            raise UserError(
                f"--metric_for_best_model {name} and --predict_with_generate False: nothing is written while training, "
                "so only loss can choose; leave one of them out"
            )
        if name not in known:
            raise UserError(
                f"--metric_for_best_model {name} is none of this task's scores{nearest(name, known)} "
                f"Scores: {', '.join(sorted(known))}"
            )
    else:
        written = training.predict_with_generate or not task.generates
        training.metric_for_best_model = task.metric_for_best_model if written else "loss"
        arguments.sources["metric_for_best_model"] = "task"
    if not arguments.is_set("greater_is_better"):
        training.greater_is_better = training.metric_for_best_model not in task.lower_is_better


def print_configuration(arguments: Arguments, config: PreTrainedConfig) -> None:
    """The values in effect that somebody set or that matter most, and who set each."""
    always = "seed per_device_train_batch_size gradient_accumulation_steps optim output_dir".split()
    values = arguments.values()
    if arguments.sources.get("embedding_dim"):
        values["embedding_dim"] = config.embedding_dim
    names = [n for n in values if n in always or arguments.sources.get(n)]
    order = {"command line": 0, "recipe": 1}
    names.sort(key=lambda n: order.get(arguments.sources.get(n, ""), 2))
    rows = [[n, str(values[n]), arguments.sources.get(n, "default")] for n in names]
    console.table(["setting", "value", "set by"], rows + effective_rows(arguments))
