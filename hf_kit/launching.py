"""`hf-kit train --accelerate_config NAME`: start the training as an accelerate setting says, and end as it ends.

The processes are started by accelerate, several of them by torch's own launcher below it. What is added here: mistakes
in the launch are one clear error before anything starts, an error of any process is told once, and the exit status is
that of the processes. Each runs in a process group of its own, so that Ctrl-C in a terminal reaches it once, from here.
"""

import importlib.util
import json
import logging
import os
import signal
import socket
import subprocess
import time
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_kit import console
from hf_kit.errors import UserError
from hf_kit.launch_settings import LAUNCHED, SETTING, find_setting, setting_names

# What of `accelerate launch` can be said beside it; everything else is the training's.
SINGLE_GPU = "single_gpu"
FLAGS = (
    "num_processes num_machines machine_rank main_process_ip main_process_port gpu_ids mixed_precision dynamo_backend "
    "num_cpu_threads_per_process max_restarts monitor_interval".split()
)
# A model with its optimizer may take minutes to save after SIGTERM; torch's 30 seconds would cut that off.
SAVING_SECONDS = 600
NO_MESSAGE = "<NONE>"  # torch's, of a process that left no error
LATE_SECONDS = 10  # between a process that dies and others that notice


@dataclass(frozen=True)
class Launch:
    """The words of one command, sorted.

    Attributes:
        setting: the accelerate configuration file.
        flags: those of `FLAGS` that were given.
        training: the words for `hf-kit train` itself.
    """

    setting: Path
    flags: dict[str, str]
    training: list[str]


def read_launch(argv: Sequence[str]) -> Launch | None:
    """What `argv` wants launched, None where it names no setting.

    Raises:
        UserError: a setting that is not there, a flag without its value, flags of a launch without a setting.
    """
    found: dict[str, str] = {}
    training, words = [], iter(argv)
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        name = name.replace("-", "_")
        if not word.startswith("--") or name not in (SETTING, *FLAGS):
            training.append(word)
            continue
        found[name] = value if equals else next(words, "")
        if not found[name]:
            raise UserError(f"--{name} is empty; give a value or leave the flag out")
    if SETTING not in found:
        if found:
            raise UserError(
                f"--{next(iter(found))} is of a launch: name one with --{SETTING} ({', '.join(setting_names())}), or "
                "use `accelerate launch`"
            )
        return None
    return Launch(find_setting(found.pop(SETTING)), found, training)


def launch(wanted: Launch) -> int:
    """Start the processes and wait for them; their exit status, 130 and 143 after SIGINT and SIGTERM.

    Raises:
        UserError: a launch that cannot work here; nothing was started.
    """
    if "RANK" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ:
        raise UserError(f"--{SETTING}: a launcher has started this process already; leave one of the two out")
    logging.getLogger("accelerate").setLevel(logging.ERROR)  # it tells of each default that it takes
    from accelerate.commands.launch import launch_command

    args = _checked(wanted)
    os.environ[LAUNCHED] = json.dumps(
        {"setting": wanted.setting.stem, "flags": sorted(wanted.flags), "threads": "OMP_NUM_THREADS" in os.environ}
    )
    if not (args.multi_gpu or args.use_fsdp or args.use_deepspeed):
        return _run_one(args)
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(SAVING_SECONDS))
    import torch.distributed.run  # noqa: F401 (its loggers are there now)
    from torch.distributed import DistNetworkError, DistStoreError
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    _silence_torch()
    try:
        launch_command(_parsed(wanted))
    except ChildFailedError as failed:
        return _tell_failure(failed.failures)
    except SignalException as stopped:
        return 128 + stopped.sigval
    except (DistNetworkError, DistStoreError) as reason:
        raise UserError(
            f"the machines did not find each other at {args.main_process_ip}:{args.main_process_port} "
            f"({str(reason).splitlines()[0][:200]}): give the command on all {args.num_machines} of them, with "
            "--machine_rank 0, 1, ... and the address of machine 0"
        ) from None
    return 0


def _parsed(wanted: Launch) -> Namespace:
    """accelerate's own reading of the command that this stands for."""
    from accelerate.commands.launch import launch_command_parser

    def refuse(message: str):
        raise UserError(f"--{SETTING} {wanted.setting.stem}: {message}")

    parser = launch_command_parser()
    parser.error = refuse
    flags = [word for name, value in wanted.flags.items() for word in (f"--{name}", value)]
    return parser.parse_args(
        ["--config_file", str(wanted.setting), *flags, "--module", "hf_kit.cli", "train", *wanted.training]
    )


def _checked(wanted: Launch) -> Namespace:
    """The launch in effect, after what accelerate and torch would only find out in the processes, or never.

    Raises:
        UserError: naming the flag or the file.
    """
    from accelerate.commands.launch import _validate_launch_command

    named = f"--{SETTING} {wanted.setting.stem}"
    try:
        args, _, _ = _validate_launch_command(_parsed(wanted))
    except (ValueError, TypeError, AttributeError, OSError) as reason:
        raise UserError(f"{named}: {' '.join(str(reason).split())}") from None
    machines, processes = args.num_machines or 1, args.num_processes
    if processes < 1 or processes % machines:
        raise UserError(
            f"{named}: {processes} processes on {machines} machine(s); --num_processes counts those of all machines, "
            "as many on each"
        )
    if args.use_deepspeed and importlib.util.find_spec("deepspeed") is None:
        raise UserError(f"{named}: the package deepspeed is not installed; `pip install deepspeed`, or take fsdp")
    if args.mixed_precision == "fp8" and importlib.util.find_spec("torchao") is None:
        raise UserError(f"{named}: the package torchao is not installed; `pip install torchao`, or take multi_gpu")
    if machines > 1:
        _check_machines(named, args, machines)
    _check_port(args, machines)
    if args.multi_gpu or args.use_fsdp or args.use_deepspeed:
        _check_cards(named, args, processes // machines, wanted.training)
    elif processes > 1:
        raise UserError(
            f"{named} starts one process, whatever number is given ({processes} here); take --{SETTING} multi_cpu or "
            "multi_gpu"
        )
    elif wanted.setting.stem == SINGLE_GPU:
        _check_cards(named, args, 1, wanted.training)
    return args


def _check_machines(named: str, args: Namespace, machines: int) -> None:
    if not args.main_process_ip:
        raise UserError(f"{named}: --main_process_ip is not set; give the address of machine 0, the same on all")
    if not 0 <= int(args.machine_rank) < machines:
        raise UserError(
            f"--machine_rank {args.machine_rank}: with {machines} machines (--num_machines) allowed are 0 to "
            f"{machines - 1}, each once"
        )
    if not args.main_process_port:
        raise UserError(f"{named}: --main_process_port is not set; the other machines must know the port of machine 0")


def _check_port(args: Namespace, machines: int) -> None:
    """accelerate would take another one on a single machine, which nobody asked for."""
    port = args.main_process_port
    if not port or (machines > 1 and int(args.machine_rank)):
        return
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("", port))
        except (OSError, OverflowError) as reason:
            remedy = "leave it out, and any free one is taken" if machines == 1 else "name another, on all machines"
            why = getattr(reason, "strerror", None) or str(reason)
            raise UserError(f"--main_process_port {port} cannot be used on this machine ({why}); {remedy}") from None


def _check_cards(named: str, args: Namespace, processes: int, training: list[str]) -> None:
    import torch

    on_cpu = "cpu" if processes == 1 else "multi_cpu"

    if args.use_cpu or any(word.startswith(("--use_cpu", "--use-cpu")) for word in training):
        return
    there = torch.cuda.device_count() if args.gpu_ids in (None, "all") else len(args.gpu_ids.split(","))
    if not torch.cuda.is_available():
        raise UserError(f"{named}: torch sees no GPU here; `hf-kit doctor` says why. On the CPU: --{SETTING} {on_cpu}")
    if processes > there:
        raise UserError(f"{named}: {processes} processes for this machine's {there} GPU(s); allowed: one each")


def _run_one(args: Namespace) -> int:
    """One process; signals go on to it."""
    from accelerate.utils.launch import prepare_simple_launcher_cmd_env

    command, environment = prepare_simple_launcher_cmd_env(args)
    process, early = None, []

    def hand_on(number: int, frame: object) -> None:
        if process is None:
            early.append(number)
        else:
            process.send_signal(number)

    before = {number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        for number in early:
            process.send_signal(number)
        status = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if status < 0:
        console.error(f"the process was ended by {_signal(-status)}")
    return status if status >= 0 else 128 - status


def _silence_torch() -> None:
    """torch's launcher logs whatever ends a process; we say it, once."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith(("torch.distributed.elastic", "torch.distributed.launcher")):
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _signal(number: int) -> str:
    name = signal.Signals(number).name
    return f"{name}, by the system for want of memory, most likely" if number == signal.SIGKILL else name


def _tell_failure(failures: dict[int, Any]) -> int:
    """Say the error with which it began; its process's exit status.

    NCCL ends a process that waits longer than `--ddp_timeout` for another with SIGABRT, which is that other's loss.

    Args:
        failures: torch's `ProcessFailure` by rank.
    """

    first = min(failure.timestamp for failure in failures.values())

    def order(rank: int) -> tuple[bool, bool, bool, int, int]:
        # What ends long after the first one was ended for it, by torch: a process that hangs, say. Most are ended so
        # within the second that both timestamps name.
        failure = failures[rank]
        late = failure.timestamp > first + LATE_SECONDS
        ended = failure.exitcode in (-signal.SIGTERM, 128 + signal.SIGTERM)
        lost = failure.error_file_data.get("lost", False) or failure.exitcode == -signal.SIGABRT
        return late, lost, ended, failure.timestamp, rank

    rank = min(failures, key=order)
    failure = failures[rank]
    told = failure.error_file_data
    if failure.exitcode == -signal.SIGABRT and len(failures) > 1:
        console.error(
            f"process {rank} gave up (SIGABRT; torch says why, above): another process did not answer within "
            "--ddp_timeout, most likely"
        )
        return 128 - failure.exitcode
    if failure.exitcode < 0:
        console.error(f"process {rank} was ended by {_signal(-failure.exitcode)}; the others were stopped")
        return 128 - failure.exitcode
    if told.get("message") not in (None, NO_MESSAGE) and not told.get("told"):
        console.error(f"process {rank}: {told['message']}" if rank else told["message"])
    return failure.exitcode


def leave_to_launcher(message: str, *, lost: bool = False, told: bool = False) -> bool:
    """Write a process's last error where torch's launcher looks for it; True if ours will tell it.

    Args:
        lost: it is only that another process is gone.
        told: the user has seen it.
    """
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not file:
        return False
    error = {"message": message, "timestamp": int(time.time()), "lost": lost, "told": told}
    # At once: half a file would be an error of the launcher.
    whole = Path(f"{file}.part")
    whole.write_text(json.dumps(error))
    whole.replace(file)
    return LAUNCHED in os.environ
