"""A process that hears nothing of the others any more says so, whichever words the library has for it."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
from torch import distributed

from hf_kit.errors import LostProcess
from hf_kit.machine_failures import lost_processes_told

TWO = SimpleNamespace(world_size=2, ddp_timeout=1)


def two_processes():
    """The two ends of one gloo group, both in this process."""
    store = distributed.HashStore()
    with ThreadPoolExecutor(2) as pool:
        return pool.map(lambda rank: distributed.ProcessGroupGloo(store, rank, 2, timedelta(seconds=1)), range(2))


def test_one_that_does_not_answer_is_named_at_every_call():
    one, other = two_processes()
    for _ in range(2):  # the second call finds a closed pair, and words of its own: "... caused pair closure"
        with pytest.raises(LostProcess, match="did not answer for 1 s"), lost_processes_told(TWO):
            one.allreduce([torch.ones(3)]).wait()
    del other


def test_one_that_is_gone_is_named():
    one, other = two_processes()
    del other
    for _ in range(2):
        with pytest.raises(LostProcess, match="another process is gone"), lost_processes_told(TWO):
            one.allreduce([torch.ones(3)]).wait()


def test_an_error_of_our_own_stays_what_it_is():
    with pytest.raises(RuntimeError, match="timeout of the data"), lost_processes_told(TWO):
        raise RuntimeError("timeout of the data")
