"""Attention on a CPU: the library's answers, with dropout and without gradients."""

import copy

import pytest
import torch
from tiny import FAMILIES, MARIAN
from torch import nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification, MarianConfig

from hf_kit import cpu_attention
from hf_kit.cpu_attention import attend, attend_on_cpu

NO_MODULE = nn.Module()
NO_MODULE.is_causal = False


@pytest.mark.parametrize("kind", ["none", "bool", "numbers"])
def test_attention_is_that_of_the_library_where_nothing_happens_to_be_dropped(kind):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 5, 4, requires_grad=True) for _ in range(3))
    keep = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], dtype=torch.bool)[:, None, None, :].expand(2, 1, 5, 5)
    mask = {"none": None, "bool": keep, "numbers": torch.zeros(2, 1, 5, 5).masked_fill(~keep, -1e9)}[kind]
    ours, _ = attend(NO_MODULE, query, key, value, mask, dropout=1e-6)
    theirs = scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn_like(ours)
    for a, b in zip(
        *(torch.autograd.grad((out * weights).sum(), (query, key, value)) for out in (ours, theirs)), strict=True
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("width", [5, 16, 25, 32, 40, 130])
def test_learning_in_16_bits_is_as_near_as_they_are(width, dtype, monkeypatch):
    monkeypatch.setattr(cpu_attention, "SCORES", 4 * 7 * width)  # 7 rows at a time, which 30 are no multiple of
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, t, 3, 8).transpose(1, 2) for t in (5, width, width))  # [b, n, t, d]
    bias = torch.randn(1, 3, 5, width).masked_fill(torch.arange(width) == 2, -1e9)
    given = [x.to(dtype).requires_grad_() for x in (query, key, value, bias)]
    exact = [x.detach().float().requires_grad_() for x in given]
    weights = torch.randn(2, 5, 3, 8)
    ours, _ = attend(NO_MODULE, *given, dropout=1e-6, scaling=0.7)
    theirs = scaled_dot_product_attention(*exact[:3], attn_mask=exact[3], scale=0.7).transpose(1, 2)
    ours.backward(weights.to(dtype))
    theirs.backward(weights)
    tolerance = {"atol": 0.05, "rtol": 0.03} if dtype == torch.bfloat16 else {"atol": 1e-5, "rtol": 1e-5}
    for a, b in zip([ours, *(x.grad for x in given)], [theirs, *(x.grad for x in exact)], strict=True):
        assert a.dtype == dtype
        torch.testing.assert_close(a.float(), b, **tolerance)


@pytest.mark.parametrize("together", [1, 2 * 3 * 5 * 7, 2**20], ids="one two all".split())
@pytest.mark.parametrize("kind", ["none", "bool", "numbers", "of all texts"])
def test_without_gradients_as_near_as_the_library_comes(kind, together, monkeypatch):
    monkeypatch.setattr(cpu_attention, "SCORES", together)
    monkeypatch.setattr(cpu_attention, "sdpa_attention_forward", None)
    torch.manual_seed(0)
    query, key, value = (torch.randn(3, n, 3, 4).transpose(1, 2) for n in (5, 7, 7))  # [b, n, t, d]
    keep = (torch.arange(7) < torch.tensor([7, 4, 1])[:, None])[:, None, None].expand(3, 1, 5, 7)
    masks = {"none": None, "bool": keep, "numbers": torch.zeros(3, 1, 5, 7).masked_fill(~keep, -1e9)}
    mask = (masks | {"of all texts": torch.randn(1, 3, 5, 7)})[kind]
    low = [x.bfloat16() for x in (query, key, value)]
    with torch.no_grad():
        got, _ = attend(NO_MODULE, *low, mask, scaling=0.7)
        exact = scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=0.7).transpose(1, 2)
    assert got.shape == (3, 5, 3, 4) and got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), exact, atol=0.03, rtol=0.02)


def test_what_has_gradients_looks_back_only_or_is_long_is_the_librarys(monkeypatch):
    calls = []
    monkeypatch.setattr(cpu_attention, "sdpa_attention_forward", lambda *args, **kwargs: calls.append(1))
    query = torch.randn(2, 3, 5, 4).bfloat16()
    attend(NO_MODULE, query, query, query, None)
    with torch.no_grad():
        attend(NO_MODULE, query.float(), query.float(), query.float(), None)
        attend(NO_MODULE, query, query, query, None, is_causal=True)
        attend(NO_MODULE, query[:, :, :1], query, query, None)
        attend(NO_MODULE, query, query[:, :1], query[:, :1], None)
        monkeypatch.setattr(cpu_attention, "MOST_SCORES", 3 * 5 * 5 - 1)
        attend(NO_MODULE, query, query, query, None)
    assert len(calls) == 6


def test_a_translator_writes_what_it_wrote():
    config = MarianConfig(
        vocab_size=60, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=32,
        pad_token_id=1, eos_token_id=2, decoder_start_token_id=1, forced_eos_token_id=None, init_std=0.3,
    )  # fmt: skip
    torch.manual_seed(0)
    model = AutoModelForSeq2SeqLM.from_config(config).eval()
    batch = {
        "input_ids": torch.randint(5, 60, (3, 9)),
        "attention_mask": (torch.arange(9) < torch.tensor([9, 6, 2])[:, None]).long(),
    }
    before = model.generate(**batch, max_new_tokens=8, num_beams=2)
    attend_on_cpu(model)
    assert torch.equal(model.generate(**batch, max_new_tokens=8, num_beams=2), before)


@pytest.mark.parametrize("family", ["bert", "distilbert", "marian"])
def test_what_query_key_and_value_read_is_rounded_once(family):
    """The answers are those of autocast, bit for bit, and the gradients as near as three sums in its format are."""
    make = AutoModelForSeq2SeqLM if family == "marian" else AutoModelForSequenceClassification
    sizes = MARIAN | {"pad_token_id": 0, "decoder_start_token_id": 0} if family == "marian" else FAMILIES[family]
    torch.manual_seed(0)
    model = make.from_config(AutoConfig.for_model(family, vocab_size=50, **sizes)).eval()
    other = copy.deepcopy(model)
    attend_on_cpu(other)
    read = []
    keys = [layer for name, layer in other.named_modules() if name.endswith((".query", ".q_lin", ".self_attn.q_proj"))]
    keys += [layer for name, layer in other.named_modules() if name.endswith((".key", ".k_lin", ".self_attn.k_proj"))]
    assert keys
    for layer in keys:
        layer.register_forward_pre_hook(lambda layer, args: read.append(args[0]))
    batch = {"input_ids": torch.randint(5, 50, (4, 9)), "attention_mask": torch.ones(4, 9, dtype=torch.long)}
    batch["labels"] = batch["input_ids"] if family == "marian" else torch.tensor([0, 1, 0, 1])
    losses = []
    for own in (model, other):
        with torch.autocast("cpu", torch.bfloat16):
            losses.append(own(**batch).loss)
        losses[-1].backward()
    assert torch.equal(*losses)
    assert {x.dtype for x in read} == {torch.bfloat16}
    assert len({x.data_ptr() for x in read}) == len(read) / 2  # query and key read the same numbers
    for (name, one), two in zip(model.named_parameters(), other.parameters(), strict=True):
        if one.requires_grad:
            assert (one.grad - two.grad).norm() <= 0.02 * one.grad.norm() + 1e-6, name
