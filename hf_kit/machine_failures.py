"""What ends a run without being a mistake in flags or data: no memory left, a data worker or another process gone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import TrainingArguments

from hf_kit.checkpoints.names import last_checkpoint
from hf_kit.errors import LostProcess, ProcessError

# torch raises a plain RuntimeError for these.
DEAD_WORKER = ("DataLoader worker", "exited unexpectedly", "is killed by signal")
NO_MEMORY_ON_CPU = "DefaultCPUAllocator"
# So do gloo and NCCL where another process no longer answers.
NO_ANSWER = ("Timed out", "timed out", "timeout")
COLLECTIVES = ("gloo", "NCCL", "pair closure")  # gloo leaves its name out where an earlier wait has closed the pair


@contextmanager
def told_by_its_process(training: TrainingArguments) -> Iterator[None]:
    """Turn them into one error with the flags that help.

    Raises:
        ProcessError: the device, or the machine, is out of memory; a data worker is gone.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as reason:
        text = str(reason)
        worker, *ends = DEAD_WORKER
        if worker in text and any(end in text for end in ends):
            what = _dead_worker(training, text)
        elif isinstance(reason, (torch.OutOfMemoryError, MemoryError)) or NO_MEMORY_ON_CPU in text:
            what = _no_memory(training, text)
        else:
            raise
        last = last_checkpoint(Path(training.output_dir))
        then = f"The run then goes on from {last}" if last else "Nothing was saved yet"
        raise ProcessError(f"{what}. {then}") from reason


@contextmanager
def lost_processes_told(training: TrainingArguments) -> Iterator[None]:
    """Name the process that failed as the cause, where this one only hears nothing of it any more.

    Raises:
        LostProcess: another process is gone, or did not answer for `--ddp_timeout` seconds.
    """
    try:
        yield
    except RuntimeError as reason:
        text = str(reason)
        talking = isinstance(reason, torch.distributed.DistError) or any(name in text for name in COLLECTIVES)
        if training.world_size == 1 or not talking:
            raise
        if any(word in text for word in NO_ANSWER):
            what = (
                f"another process did not answer for {training.ddp_timeout} s: it hangs, or its machine is cut off; "
                "work that may take longer needs a larger --ddp_timeout"
            )
        else:
            what = "another process is gone; its own error, beside this one or on its machine, says why"
        raise LostProcess(f"{what}. The same command goes on from the last checkpoint") from reason


def _dead_worker(training: TrainingArguments, text: str) -> str:
    return (
        f"a data worker died ({text.split('. ')[0].strip()}), killed for memory, most likely: give the same command "
        f"with a smaller --dataloader_num_workers (now {training.dataloader_num_workers}; 0: no workers), or more "
        "shared memory (/dev/shm)"
    )


def _no_memory(training: TrainingArguments, text: str) -> str:
    rows, steps = training.per_device_train_batch_size, training.gradient_accumulation_steps
    return (
        f"{training.device} is out of memory ({text.split('. ')[0].strip()}): halve --per_device_train_batch_size (now "
        f"{rows}) and double --gradient_accumulation_steps (now {steps}), which trains the same; or "
        "--auto_find_batch_size; or cut texts at a smaller --max_length. In evaluation: a smaller "
        f"--per_device_eval_batch_size (now {training.per_device_eval_batch_size})"
    )
