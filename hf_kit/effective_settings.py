"""Settings with several sources: flags, recipe, accelerate's configuration, environment, machine.

accelerate, torch and transformers settle most contradictions in silence, each its own way. Here two explicit words that
cannot both hold are an error that names both, and what holds in the end is shown with who said it.
"""

from typing import Any

import psutil
import torch

from hf_kit.arguments import Arguments
from hf_kit.errors import UserError
from hf_kit.launch_environment import ACCUMULATION, CLIPPING, MIXED_PRECISION, LaunchEnvironment

OF_DEEPSPEED = {"gradient_accumulation_steps": ACCUMULATION, "max_grad_norm": CLIPPING}


def settle_conflicts(arguments: Arguments, given: dict[str, Any]) -> None:
    """Take over what only the launcher says.

    Args:
        given: the values of recipe and command line as they were written.

    Raises:
        UserError: it says another thing than a flag or the recipe.
    """
    training, launched = arguments.training, arguments.launched

    def refuse(flag: str, value: Any, name: str, variable: str) -> None:
        said = f"{launched.source(name, variable)} says {name} {launched.get(variable)}"
        raise UserError(
            f"--{flag} {value} ({arguments.sources[flag]}), and {said}: they exclude each other; take one of them out"
        )

    precision = launched.get(MIXED_PRECISION)
    for flag in ("bf16", "fp16"):
        if precision and flag in given and (precision == flag) != given[flag]:
            refuse(flag, given[flag], "mixed_precision", MIXED_PRECISION)
    for flag, variable in OF_DEEPSPEED.items():
        word = launched.get(variable)
        if word is None:
            continue
        value = type(getattr(training, flag))(float(word))
        if flag not in given:
            arguments.set_default(flag, value, launched.source(flag, variable))
        elif given[flag] != value:
            refuse(flag, given[flag], flag, variable)
    if launched.get("ACCELERATE_USE_CPU") and given.get("use_cpu") is False:
        refuse("use_cpu", False, "use_cpu", "ACCELERATE_USE_CPU")
    dynamo = launched.get("ACCELERATE_DYNAMO_BACKEND")
    if dynamo and given.get("torch_compile") is False:
        refuse("torch_compile", False, "dynamo_backend", "ACCELERATE_DYNAMO_BACKEND")
    if dynamo and given.get("torch_compile_backend", dynamo.lower()) != dynamo.lower():
        refuse("torch_compile_backend", given["torch_compile_backend"], "dynamo_backend", "ACCELERATE_DYNAMO_BACKEND")


def effective_rows(arguments: Arguments) -> list[list[str]]:
    """`[setting, value, set by]` for what flags, recipe, launcher and machine may all have a word in."""
    training, launched = arguments.training, arguments.launched
    rows = [["mixed_precision", training.mixed_precision, _precision_source(arguments)]]
    several = launched.get("WORLD_SIZE") is not None
    who = launched.source("num_processes", "WORLD_SIZE") if several else "no launcher"
    rows.append(["processes", str(training.world_size), who])
    if several:
        kinds = {"ACCELERATE_USE_FSDP": "FSDP", "ACCELERATE_USE_DEEPSPEED": "DeepSpeed"}
        on_gpus = training.device.type != "cpu"
        found = [(name, variable) for variable, name in kinds.items() if launched.get(variable) and on_gpus]
        name, variable = found[0] if found else ("DDP", "WORLD_SIZE")
        rows.append(["distribution", name, launched.source("distributed_type", variable)])
        place = f"{launched.get('MASTER_ADDR')}:{launched.get('MASTER_PORT')}"
        rows.append(["meeting at", place, launched.source("main_process_port", "MASTER_ADDR, MASTER_PORT")])
    rows.append(["device", str(training.device), _device_source(arguments)])
    rows.append(["threads", str(torch.get_num_threads()), _thread_source(launched)])
    if launched.get("ACCELERATE_DYNAMO_BACKEND") and not training.torch_compile:
        backend = launched.get("ACCELERATE_DYNAMO_BACKEND").lower()
        rows.append(["dynamo_backend", backend, launched.source("dynamo_backend", "ACCELERATE_DYNAMO_BACKEND")])
    return rows


def _precision_source(arguments: Arguments) -> str:
    for flag in ("bf16", "fp16"):
        if arguments.is_set(flag):
            return f"{arguments.sources[flag]} (--{flag})"
    if arguments.launched.get(MIXED_PRECISION):
        return arguments.launched.source("mixed_precision", MIXED_PRECISION)
    return "this machine"


def _device_source(arguments: Arguments) -> str:
    if arguments.is_set("use_cpu") and arguments.training.use_cpu:
        return f"{arguments.sources['use_cpu']} (--use_cpu)"
    if arguments.launched.get("ACCELERATE_USE_CPU"):
        return arguments.launched.source("use_cpu", "ACCELERATE_USE_CPU")
    return "this machine"


def _thread_source(launched: LaunchEnvironment) -> str:
    word = launched.get("OMP_NUM_THREADS")
    # OpenMP takes a list, one number for each level of nesting, and the first is that of the outer level, torch's.
    first = (word or "").split(",")[0].strip()
    # What is no number was still somebody's choice: how the runtime reads it is not known here.
    if word is None or (first.isdecimal() and int(first) != torch.get_num_threads()):
        return f"this machine ({psutil.cpu_count(logical=False) or 1} cores)"
    if launched.user_threads:
        return "environment (OMP_NUM_THREADS)"
    return launched.source("num_cpu_threads_per_process", "OMP_NUM_THREADS")
