"""Cheap dropout: torch's distribution, torch's generator."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, BertConfig

from hf_kit.cpu_attention import ATTENTION, attend_on_cpu
from hf_kit.dropout import AT_ONCE, CheapDropout, cheapen_dropout, dropout, random_words


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_the_share_dropped_and_the_scale_are_those_of_torch(dtype, p):
    torch.manual_seed(0)
    x = torch.ones(400, 999, dtype=dtype)
    y = dropout(x, p)
    assert y.shape == x.shape and y.dtype == dtype
    # Five standard deviations of a binomial share.
    assert abs((y == 0).double().mean().item() - p) < 5 * (p * (1 - p) / x.numel()) ** 0.5
    assert y.unique().tolist() == [0, nn.functional.dropout(x, p).max().item()]


def test_neighbours_and_calls_are_independent():
    torch.manual_seed(0)
    first, second = (dropout(torch.ones(1 << 20), 0.5) / 2 for _ in range(2))
    for other in (second, first.roll(1), first.roll(2), first.roll(3), first.roll(4)):
        assert abs((first * other).mean().item() - 0.25) < 5 * (0.25 * 0.75 / len(first)) ** 0.5


def test_many_numbers_are_those_of_splitmix64():
    """Against the paper's algorithm in Python's integers, at the ends of the parts that are made together too."""

    def mixed(z: int) -> int:
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        return z ^ z >> 31

    torch.manual_seed(5)
    words = random_words(2 * AT_ONCE + 5)
    torch.manual_seed(5)
    seed = torch.empty((), dtype=torch.int64).random_(-(2**63), None).item()
    for place in (0, 1, 2, 1000, AT_ONCE - 1, AT_ONCE, 2 * AT_ONCE - 1, 2 * AT_ONCE + 4):
        assert words[place].item() % 2**64 == mixed((seed + place * 0x9E3779B97F4A7C15) % 2**64)


@pytest.mark.parametrize("count", [1000, 100_000])
def test_every_bit_is_as_often_set_as_not(count):
    torch.manual_seed(0)
    words = torch.cat([random_words(count) for _ in range(200_000 // count)])
    for bit in range(64):
        assert abs((words >> bit & 1).double().mean().item() - 0.5) < 5 * (0.25 / len(words)) ** 0.5


def test_masks_follow_the_seed_and_the_gradient_follows_the_mask():
    x = torch.randn(7, 11, requires_grad=True)
    torch.manual_seed(3)
    y = dropout(x, 0.4)
    torch.manual_seed(3)
    assert torch.equal(y, dropout(x, 0.4))
    y.sum().backward()
    assert torch.equal(x.grad != 0, y != 0)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_nothing_and_everything_can_be_dropped(p):
    assert torch.equal(dropout(torch.ones(5), p), torch.ones(5) * (1 - p))


def test_a_module_drops_in_training_only():
    module = nn.Dropout(0.5)
    module.__class__ = CheapDropout
    x = torch.ones(1000)
    assert not torch.equal(module(x), x)
    assert torch.equal(module.eval()(x), x)


def test_a_model_keeps_its_names_its_answers_and_its_configuration(tmp_path):
    config = BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, num_labels=3
    )
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    batch = {
        "input_ids": torch.randint(5, 50, (4, 9)),
        "attention_mask": (torch.arange(9) < torch.tensor([9, 5, 3, 1])[:, None]).long(),
    }
    names = list(model.state_dict())
    with torch.no_grad():
        before = model.eval()(**batch).logits
        cheapen_dropout(model, model)
        attend_on_cpu(model)
        torch.testing.assert_close(model(**batch).logits, before)
        assert model.config._attn_implementation == ATTENTION
        model.train()
        torch.manual_seed(1)
        drawn = model(**batch).logits
        assert not torch.equal(drawn, before)
        many = torch.stack([model(**batch).logits for _ in range(300)])
    assert abs(many.mean(0) - before).max() < 0.1  # dropout moves the answers around their place
    assert list(model.state_dict()) == names
    assert sum(isinstance(m, CheapDropout) for m in model.modules()) == sum(
        isinstance(m, nn.Dropout) for m in model.modules()
    )
    model.save_pretrained(tmp_path)
    assert ATTENTION not in (tmp_path / "config.json").read_text()
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert again.config._attn_implementation == "sdpa"


@pytest.mark.slow
def test_a_process_forked_after_the_import_can_compute():
    """Threads that torch had started by then would not be there, and it would wait for them for ever."""
    code = (
        "import hf_kit.run, os, torch\n"
        "if os.fork():\n"
        "    assert os.wait()[1] == 0\n"
        "else:\n"
        "    torch.arange(1 << 20).mul_(3), os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"OMP_NUM_THREADS": "2"}, check=True, timeout=120)
