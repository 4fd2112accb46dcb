"""Training on a CPU takes large blocks in large pages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hf_kit import cli
from hf_kit.huge_pages import HEAP_AT_MOST, MAPPED_FROM, ask_for_huge_pages

SCRIPT = """
import resource, sys
from hf_kit.huge_pages import ask_for_huge_pages
if sys.argv[1] == "kit":
    ask_for_huge_pages(["--model_type", "hf_kit_lstm"])
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
def test_torch_takes_them_once_asked():
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    faults = {}
    for how in ("kit", "plain"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True, env=environment
        )
        faults[how] = int(done.stdout)
    assert faults["kit"] < faults["plain"] / 4


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("", True),  # the quickstart
        ("text_classification/lstm.yaml --train_file x.csv", True),
        ("--model_type=hf_kit_lstm", True),
        ("text_classification/finetune.yaml --model-type hf_kit_lstm", True),
        ("text_classification/lora.yaml --model_name_or_path trained", True),
        ("text_classification/lstm.yaml --model_type bert", False),
        ("text_classification/lstm.yaml --model_name_or_path roberta-base", False),
        ("text_classification/finetune.yaml", False),
        ("text_classification/finetune.yaml --gradient_checkpointing", True),
        ("text_classification/finetune.yaml --gradient-checkpointing --bf16=False", True),
        ("text_classification/finetune.yaml --gradient_checkpointing true", True),
        ("text_classification/finetune.yaml --gradient_checkpointing=False", False),
        ("own.yaml", True),
        ("own.yaml --gradient_checkpointing no", False),
        ("no_such_recipe.yaml", False),
        ("--model_type", False),
    ],
)
def test_training_asks_before_torch_loads(words, asked, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("trained").mkdir()
    Path("own.yaml").write_text("model_name_or_path: roberta-base\ngradient_checkpointing: true\n")
    Path("trained/config.json").write_text('{"model_type": "hf_kit_lstm"}')
    # Set and taken away again, so that monkeypatch knows what to restore.
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "")
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE")
    ask_for_huge_pages(words.split())
    assert (os.environ.get("THP_MEM_ALLOC_ENABLE") == "1") == asked


def test_the_command_asks(monkeypatch):
    asked = []
    monkeypatch.setattr(cli, "ask_for_huge_pages", asked.append)
    assert cli.main(["train", "--no_such_flag=1"]) == 1
    assert asked == [["--no_such_flag=1"]]


def test_a_setting_of_the_user_stays(monkeypatch):
    monkeypatch.setenv("THP_MEM_ALLOC_ENABLE", "0")
    ask_for_huge_pages([])
    assert os.environ["THP_MEM_ALLOC_ENABLE"] == "0"


BLOCKS = """
import os, sys
os.environ["THP_MEM_ALLOC_ENABLE"] = sys.argv[1]
from hf_kit.huge_pages import map_blocks_for_themselves
most = map_blocks_for_themselves()
import psutil, torch
torch.ones(1 << 22)  # once such a block is gone, glibc takes smaller ones from its heap
blocks = [(torch.ones(5 << 18), torch.ones(1000)) for _ in range(8)]
before = psutil.Process().memory_info().rss
for place, (_, small) in enumerate(blocks):
    blocks[place] = small
print(most, before - psutil.Process().memory_info().rss)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_freed_blocks_go_back_at_once():
    """Though blocks above them are in use, below which a heap keeps what is free."""
    most, given_back = {}, {}
    for switch in "01":
        done = subprocess.run([sys.executable, "-c", BLOCKS, switch], capture_output=True, text=True, check=True)
        most[switch], given_back[switch] = map(int, done.stdout.split())
    assert most == {"0": HEAP_AT_MOST, "1": MAPPED_FROM}
    size = 8 * 5 * 2**20
    assert given_back["0"] < size / 4 and given_back["1"] > size * 3 / 4, given_back
