"""One query reads a text without keys and values: what it reads and all gradients are those with them."""

import pytest
import torch
from torch import nn

from hf_kit.dropout import keep_mask
from hf_kit.one_query import attend_once, can_read_so

B, N, T, D = 3, 2, 7, 8


def material(bias: bool = True):
    torch.manual_seed(0)
    key, value = (nn.Linear(D, D, bias=bias) for _ in range(2))
    query, x = torch.randn(B, N, D // N, requires_grad=True), torch.randn(B, T, D, requires_grad=True)
    return query, key, value, x


def with_keys_and_values(query, key, value, x, keep, scaling, dropout):
    k, v = (layer(x).unflatten(-1, (N, -1)).transpose(1, 2) for layer in (key, value))  # [b, n, t, d/n]
    scores = (query[:, :, None] @ k.transpose(-1, -2)).squeeze(2) * scaling  # [b, n, t]
    weights = scores.masked_fill(~keep, -1e9).softmax(-1)
    if dropout:
        weights = weights * keep_mask(weights, dropout)
    return (weights[:, :, None] @ v).squeeze(2)


def read_and_gradients(read, query, key, value, x):
    torch.manual_seed(1)
    weights = torch.randn(B, N, D // N)
    inputs = [query, x, *key.parameters(), *value.parameters()]
    return [read, *torch.autograd.grad((read.float() * weights).sum(), inputs)]


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("kind", ["bool", "numbers", "none"])
@pytest.mark.parametrize("bias", [True, False])
def test_it_reads_what_keys_and_values_give(kind, dropout, bias):
    query, key, value, x = material(bias)
    lengths = torch.tensor([7, 4, 1] if kind != "none" else [7, 7, 7])
    keep = (torch.arange(T) < lengths[:, None])[:, None]  # [b, 1, t]
    mask = {"bool": keep, "numbers": torch.zeros(B, 1, T).masked_fill(~keep, -1e9), "none": None}[kind]
    results = []
    for read in (
        lambda: attend_once(query, key, value, x, mask, 0.7, dropout),
        lambda: with_keys_and_values(query, key, value, x, keep, 0.7, dropout),
    ):
        torch.manual_seed(2)
        results.append(read_and_gradients(read(), query, key, value, x))
    torch.testing.assert_close(*results)


def test_under_autocast_as_near_as_bf16_is_and_the_keys_bias_has_a_gradient_of_zero():
    query, key, value, x = material()
    keep = torch.ones(B, 1, T, dtype=torch.bool)
    exact = read_and_gradients(with_keys_and_values(query, key, value, x, keep, 0.7, 0.0), query, key, value, x)
    with torch.autocast("cpu", torch.bfloat16):
        read = attend_once(query.bfloat16(), key, value, x, keep, 0.7)
    got = read_and_gradients(read, query, key, value, x)
    assert got[0].dtype == torch.bfloat16 and all(gradient.dtype == torch.float32 for gradient in got[1:])
    torch.testing.assert_close([y.float() for y in got], exact, atol=0.05, rtol=0.03)
    of_key_bias = got[4]
    assert torch.equal(of_key_bias, torch.zeros(D))


def test_only_plain_layers_that_nobody_listens_to():
    _, key, value, x = material()
    assert can_read_so(key, value, x)
    assert not can_read_so(key, value, x.to("meta"))

    class Adapted(nn.Linear):
        pass

    assert not can_read_so(Adapted(D, D), value, x)
    assert not can_read_so(key, Adapted(D, D), x)
    value.register_forward_hook(lambda *_: None)
    assert not can_read_so(key, value, x)
