"""The order of weights in memory changes no result."""

import copy

import pytest
import torch
from torch import nn

from hf_kit.channels_last import match_layout, put_channels_last


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 2))


def test_weights_and_outputs_stay_the_same():
    plain, other = network().eval(), network().eval()
    put_channels_last(other)
    assert other[0].weight.is_contiguous(memory_format=torch.channels_last) and not other[0].weight.is_contiguous()
    images = torch.randn(4, 3, 8, 8)
    assert torch.equal(plain[0].weight, other[0].weight)
    assert torch.allclose(plain(images), other(images), atol=1e-5)


@pytest.mark.parametrize("fused", [True, False])
def test_an_optimizer_goes_on_as_it_would_have(fused):
    images, labels = torch.randn(4, 3, 8, 8), torch.tensor([0, 1, 0, 1])

    def step(model, optimizer):
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    model = network()
    put_channels_last(model)
    optimizer = torch.optim.AdamW(model.parameters(), fused=fused)
    for _ in range(3):
        step(model, optimizer)
    resumed = copy.deepcopy(model)
    again = torch.optim.AdamW(resumed.parameters(), fused=fused)
    saved = copy.deepcopy(optimizer.state_dict())
    for state in saved["state"].values():
        state |= {name: value.contiguous() for name, value in state.items()}
    again.load_state_dict(saved)
    match_layout(again)
    step(model, optimizer)
    step(resumed, again)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), resumed.parameters(), strict=True))
