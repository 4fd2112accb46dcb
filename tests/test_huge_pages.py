"""Training on a CPU takes large blocks in large pages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import resource, sys
from hf_kit.cli import main
if sys.argv[1] == "kit":
    main(["no such command"])
import torch
torch.ones(1 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(64, 1 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(
    not SETTING.is_file() or "[madvise]" not in SETTING.read_text(), reason="large pages are not given on request here"
)
def test_the_command_asks_for_them_before_torch_loads():
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    faults = {}
    for how in ("kit", "plain"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True, env=environment
        )
        faults[how] = int(done.stdout)
    assert faults["kit"] < faults["plain"] / 4


def test_a_setting_of_the_user_stays(monkeypatch):
    from hf_kit.huge_pages import ask_for_huge_pages

    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
    ask_for_huge_pages()
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == "0"
