"""The kept gradient of a big embedding is autograd's, step after step."""

import copy

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, BertConfig

from hf_kit.embedding_gradient import LEAST_ROWS, RowGradientEmbedding, clip_grad_norm, keep_row_gradients

WIDTH = 6


def network(padding_idx: int | None = 0) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(LEAST_ROWS, WIDTH, padding_idx=padding_idx), nn.Linear(WIDTH, 1))


@pytest.mark.parametrize("padding_idx", [0, None])
@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("clip", [1e-3, 1e9])
def test_training_is_that_of_a_plain_embedding(padding_idx, accumulation, clip):
    plain = network(padding_idx)
    ours = copy.deepcopy(plain)
    keep_row_gradients(ours)
    assert type(ours[0]) is RowGradientEmbedding
    optimizers = [torch.optim.AdamW(model.parameters(), lr=0.1, fused=True) for model in (plain, ours)]
    for _ in range(4):
        batches = [torch.randint(0, 40, (3, 7)) * (torch.rand(3, 7) > 0.3) for _ in range(accumulation)]
        for model in (plain, ours):
            for batch in batches:
                model(batch).pow(2).sum().backward()
        norms = clip_grad_norm(ours, clip), nn.utils.clip_grad_norm_(plain.parameters(), clip)
        torch.testing.assert_close(*norms)
        torch.testing.assert_close(ours[0].weight.grad, plain[0].weight.grad)
        for model, optimizer in zip((plain, ours), optimizers, strict=True):
            optimizer.step()
            model.zero_grad()
    torch.testing.assert_close(ours.state_dict(), plain.state_dict())


def test_the_rows_of_a_step_leave_nothing_to_the_next():
    model = network()
    keep_row_gradients(model)
    model(torch.tensor([[5, 7]])).sum().backward()
    first = model[0].weight.grad
    model.zero_grad()
    model(torch.tensor([[9]])).sum().backward()
    assert model[0].weight.grad is first  # no new memory
    assert model[0].weight.grad.abs().sum(1).nonzero().flatten().tolist() == [9]


def test_frozen_shared_and_small_tables_are_left_alone():
    frozen = network()
    frozen[0].weight.requires_grad_(False)
    shared = nn.ModuleList([nn.Embedding(LEAST_ROWS, WIDTH), nn.Linear(WIDTH, LEAST_ROWS, bias=False)])
    shared[1].weight = shared[0].weight
    small = nn.Sequential(nn.Embedding(LEAST_ROWS - 1, WIDTH))
    for model in (frozen, shared, small):
        keep_row_gradients(model)
        assert type(model[0]) is nn.Embedding


def test_a_whole_model_gets_the_same_gradients():
    config = BertConfig(
        vocab_size=LEAST_ROWS, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32
    )
    torch.manual_seed(0)
    plain = AutoModelForSequenceClassification.from_config(config).eval()
    ours = copy.deepcopy(plain)
    keep_row_gradients(ours)
    batch = {"input_ids": torch.randint(5, 99, (4, 9)), "labels": torch.tensor([0, 1, 1, 0])}
    for model in (plain, ours):
        model(**batch).loss.backward()
    gradients = [{n: p.grad for n, p in model.named_parameters()} for model in (ours, plain)]
    torch.testing.assert_close(*gradients)
    assert list(ours.state_dict()) == list(plain.state_dict())
