"""Processes on CPUs join one gloo group that waits no longer than `--ddp_timeout` for any of them.

Left alone, each launched process on a CPU believes itself alone, and transformers hands its timeout on for GPUs only:
a process that hangs would hold the others for half an hour, whatever the flag says.
"""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

import torch.distributed
from accelerate.utils import broadcast_object_list
from torch.distributed import DistNetworkError, DistStoreError

from hf_kit.errors import UserError

T = TypeVar("T")
NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def join_gloo(seconds: int) -> None:
    """Join the group that the launcher's environment describes, unless one is there.

    Raises:
        UserError: the port is taken, or not all of the processes came within `seconds`.
    """
    if torch.distributed.is_initialized() or not all(name in os.environ for name in NEEDED):
        return
    place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    try:
        torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=seconds))
    except (DistNetworkError, DistStoreError) as reason:
        said = str(reason).splitlines()[0]
        if "EADDRINUSE" in said:
            raise UserError(
                f"MASTER_PORT={os.environ['MASTER_PORT']} is in use by another program on this machine; set another "
                "one for all processes"
            ) from None
        raise UserError(
            f"not all of the {os.environ['WORLD_SIZE']} processes met at {place} within {seconds} s (--ddp_timeout): "
            f"{said[:200]}"
        ) from None


def from_main_process(make: Callable[[], T]) -> T:
    """What `make` gives in the main process, in all of them, which call this together. It can be pickled."""
    if not torch.distributed.is_initialized():
        return make()
    made = [make() if torch.distributed.get_rank() == 0 else None]
    return broadcast_object_list(made)[0]
