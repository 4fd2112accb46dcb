"""The memory of a step is counted as it is, and a warning says what helps where there is less."""

import copy
from types import SimpleNamespace

import pytest
import torch
from tiny import FAMILIES
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    MarianConfig,
)

import hf_kit.models  # noqa: F401  registers our model types
from hf_kit import memory_estimate
from hf_kit.arguments import LoraArguments
from hf_kit.backbone import Backbone
from hf_kit.cpu_attention import attend_on_cpu
from hf_kit.dropout import cheapen_dropout
from hf_kit.first_token import compute_first_token_alone
from hf_kit.lora import add_lora
from hf_kit.memory_estimate import Estimate, describe_memory, estimate, process_bytes
from hf_kit.traced_step import LiveBytes, traced_bytes

ROWS, LENGTH = 8, 32
CPU = torch.device("cpu")


def classifier(family: str = "bert") -> nn.Module:
    config = AutoConfig.for_model(family, vocab_size=50, pad_token_id=0, **FAMILIES[family])
    return AutoModelForSequenceClassification.from_config(config)


def batch(rows: int = ROWS) -> dict[str, torch.Tensor]:
    ids = torch.randint(5, 50, (rows, LENGTH))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.zeros(rows, dtype=torch.long)}


def step(model: nn.Module, inputs: dict[str, torch.Tensor] | None = None, dtype=torch.float32, **options) -> int:
    inputs = batch() if inputs is None else inputs
    return traced_bytes(model, inputs, dtype=dtype, cast=[], **{"device": CPU, "held": []} | options).peak


def really(model: nn.Module) -> int:
    """The most that a step computed for real holds at one moment."""
    inputs = batch()
    inputs.pop("labels")
    live = LiveBytes(1000)
    live.ignore([*model.parameters(), *model.buffers(), *inputs.values()])
    with live:
        model.train()(**inputs).logits.float().sum().backward()
    return live.peak


@pytest.mark.parametrize("family", ["bert", "distilbert", "llama"])
def test_a_traced_step_holds_what_a_real_one_does(family):
    model = classifier(family)
    # More where a mask without padding, which no trace can see, lets a decoder go without one.
    assert 0.95 < step(model) / really(model) < (1.15 if family == "llama" else 1.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_makes_a_cpu_fast_is_traced_and_works_afterwards(dtype):
    model = classifier()
    cheapen_dropout(model, model)
    attend_on_cpu(model)
    assert compute_first_token_alone(model)
    assert 0 < step(model, dtype=dtype) < 2 * step(classifier(), dtype=dtype)
    # Nothing of the trace, which holds no numbers, is kept for the steps that do.
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        assert model.train()(**batch()).loss.isfinite()


def test_a_cpu_with_a_number_is_a_cpu():
    model, inputs = classifier(), batch()
    assert step(model, inputs, device=torch.device("cpu", 0)) == step(model, inputs)


def test_tracing_leaves_model_and_random_numbers_alone():
    model, inputs = classifier().eval(), batch()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    step(model, inputs)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training and all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_more_rows_take_more_and_checkpointing_and_bf16_less():
    model = classifier()
    plain = step(model)
    assert step(model, batch(2 * ROWS)) > 1.5 * plain
    assert step(model, dtype=torch.bfloat16) < plain
    model.gradient_checkpointing_enable({"use_reentrant": False})
    assert step(model) < 0.7 * plain


def test_the_workspace_of_an_lstm_counts_each_step():
    model = classifier("hf_kit_lstm")
    inputs = batch()
    half = {name: value[:, : LENGTH // 2] if value.dim() > 1 else value for name, value in inputs.items()}
    assert step(model, inputs) > 1.5 * step(model, half)
    # Four gates, a cell and a hidden state of every step are the least that its backward pass reads.
    assert step(model, inputs) > 6 * 4 * ROWS * LENGTH * FAMILIES["hf_kit_lstm"]["hidden_dim"]


def test_a_writer_holds_its_scores_in_float32_more_than_once():
    size = {"d_model": 8, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
    heads = {"encoder_attention_heads": 1, "decoder_attention_heads": 1, "max_position_embeddings": 64}
    config = MarianConfig(vocab_size=2000, pad_token_id=0, decoder_start_token_id=0, **size, **heads)
    model = AutoModelForSeq2SeqLM.from_config(config)
    inputs = batch()
    inputs["labels"] = inputs["decoder_input_ids"] = inputs["input_ids"]
    assert step(model, inputs) > 2 * 4 * ROWS * LENGTH * config.vocab_size


def settings(**changes) -> SimpleNamespace:
    values = {
        "device": CPU,
        "mixed_precision": "no",
        "gradient_accumulation_steps": 1,
        "world_size": 1,
        "optim": "adamw_torch_fused",
        "per_device_train_batch_size": 8,
        "max_tokens_per_batch": None,
        "gradient_checkpointing": False,
    }
    return SimpleNamespace(**values | changes)


@pytest.mark.parametrize(
    ("launch", "weights", "optimizer", "buckets"),
    [
        ({}, 1, 1, 1),
        ({"ACCELERATE_USE_FSDP": "true"}, 2, 2, 0),
        ({"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}, 1, 2, 0),
        ({"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "3"}, 2, 2, 0),
    ],
)
def test_of_what_is_sharded_each_process_has_its_part(launch, weights, optimizer, buckets, monkeypatch):
    model = classifier()
    size = sum(4 * p.numel() for p in model.parameters())
    one = estimate(model, batch(), settings(), before=process_bytes())
    for name, word in launch.items():
        monkeypatch.setenv(name, word)
    two = estimate(model, batch(), settings(world_size=2), before=process_bytes())
    assert (two.weights, two.optimizer) == (one.weights // weights, one.optimizer // optimizer)
    assert (two.step - one.step > size * 0.9) == bool(buckets)


def test_the_optimizer_keeps_two_numbers_of_each_trained_one_or_as_its_name_says():
    model = classifier()
    trained = sum(p.numel() for p in model.parameters())
    kept = {"adamw_torch_fused": 8, "sgd": 0, "adafactor": 0, "adamw_bnb_8bit": 2, "lion_32bit": 4}
    for optim, size in kept.items():
        assert estimate(model, batch(), settings(optim=optim), before=0).optimizer == size * trained, optim
    adapted = add_lora(Backbone(model, True, []), LoraArguments(lora_r=2), "SEQ_CLS")
    few = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert estimate(adapted, batch(), settings(), before=0).optimizer == 8 * few < 8 * trained


def test_a_model_that_looks_at_its_numbers_is_estimated_without_activations():
    model = classifier()
    model.register_forward_pre_hook(lambda _, __, kwargs: bool(kwargs["input_ids"].max() > 3), with_kwargs=True)
    found = estimate(model, batch(), settings(), before=0)
    assert not found.traced and "more than" in str(found)
    assert found.step == sum(p.numel() * 4 for p in model.parameters())


@pytest.mark.parametrize("free", [10**9, 10**12])
def test_too_little_memory_is_a_warning_with_what_helps(free, monkeypatch, capsys):
    monkeypatch.setattr(memory_estimate, "free_bytes", lambda _: free)
    arguments = SimpleNamespace(
        training=settings(),
        model=SimpleNamespace(model_name_or_path="some/model"),
        lora=SimpleNamespace(use_peft=False),
        task=SimpleNamespace(max_length=None),
    )
    needed = Estimate(process=0, weights=10**10, optimizer=2 * 10**10, step=10**10, traced=True, shape=(8, 128))
    describe_memory(arguments, classifier(), needed, checkpointing=True)
    out = " ".join("".join(capsys.readouterr()).split())
    assert "a step of 8 x 128 10 GB" in out
    assert ("warning" in out) == (free == 10**9)
    for words in (
        "--per_device_train_batch_size 4 --gradient_accumulation_steps 2",
        "--gradient_checkpointing",
        "--use_peft",
        "--max_length",
    ):
        assert (words in out) == (free == 10**9), words


def test_only_blocks_of_the_heap_are_counted_as_such():
    live = LiveBytes(1000)
    with live:
        small, large = torch.empty(1000, dtype=torch.uint8), torch.empty(1001, dtype=torch.uint8)
    assert (live.peak, live.in_heap) == (len(small) + len(large), len(small))


def test_what_was_there_before_does_not_count():
    kept = torch.zeros(10)
    live = LiveBytes(1000)
    live.ignore([kept])
    with live:
        kept.add_(1)
        assert live.now == 0
        made = kept + 1
        assert live.now == 40
        del made
    assert (live.now, live.peak) == (0, 40) and isinstance(live, TorchDispatchMode)
