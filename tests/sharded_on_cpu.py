"""`recipes/train.py` under FSDP2 on CPU processes: `python -m torch.distributed.run ... sharded_on_cpu.py FLAGS`.

accelerate shards on accelerators only; torch does so on CPUs too. Here accelerate is told to, so everything of the kit
that meets a sharded model is run for real, over gloo.
"""

import runpy
import sys
from pathlib import Path

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

TRAIN = Path(__file__).parent.parent / "recipes/train.py"
make_state = AcceleratorState.__init__


def make_sharding_state(self, *args, fsdp_plugin=None, **kwargs):
    make_state(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
    if fsdp_plugin is not None:
        self.fsdp_plugin = fsdp_plugin
        self.distributed_type = PartialState._shared_state["distributed_type"] = DistributedType.FSDP


AcceleratorState.__init__ = make_sharding_state
sys.argv[0] = str(TRAIN)
runpy.run_path(sys.argv[0], run_name="__main__")
