"""FSDP2 on CPU processes.

accelerate shards on accelerators only; torch does so on CPUs too. Here accelerate is told to, so everything of the kit
that meets a sharded model is run for real, over gloo.
"""

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

make_state = AcceleratorState.__init__


def make_sharding_state(self, *args, fsdp_plugin=None, **kwargs):
    make_state(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if fsdp_plugin is not None:
        self.fsdp_plugin = fsdp_plugin
        self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP


def shard_on_cpu() -> None:
    """To be called in each process before it trains."""
    AcceleratorState.__init__ = make_sharding_state
