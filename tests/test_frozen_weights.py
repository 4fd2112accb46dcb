"""Frozen weights in autocast's format: the same numbers, the exact weights afterwards; adapters with less work."""

from contextlib import nullcontext

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import Linear
from tiny import FAMILIES
from torch import nn
from transformers import AutoModelForSequenceClassification, BertConfig, BertForMaskedLM

from hf_kit.adapter_layers import LeanLoraLinear, lighten_adapters
from hf_kit.arguments import LoraArguments, ModelArguments
from hf_kit.backbone import load_config, load_model
from hf_kit.frozen_weights import frozen_linear_weights, linear_weights, weights_in
from hf_kit.lora import add_lora

IDS = torch.arange(1, 49).view(4, 12)
LABELS = torch.tensor([0, 1, 1, 0])


def adapted(lean: bool, **flags) -> nn.Module:
    """BERT with adapters, the same weights every time; with `lean=False` as PEFT made it."""
    torch.manual_seed(1)
    BertForMaskedLM(BertConfig(vocab_size=50, **FAMILIES["bert"])).save_pretrained("mlm")
    arguments = ModelArguments(model_name_or_path="mlm", config_overrides={})
    backbone = load_model(arguments, load_config(arguments), AutoModelForSequenceClassification, seed=0)
    model = add_lora(backbone, LoraArguments(lora_r=4, **flags), "SEQ_CLS")
    layers = [module for module in model.modules() if type(module) is LeanLoraLinear]
    assert len(layers) == 12
    for layer in () if lean else layers:
        layer.__class__ = Linear
    return model


def steps(model: nn.Module, number: int = 4, dtype: torch.dtype | None = torch.bfloat16) -> list[float]:
    """Train the adapters a little; the losses."""
    torch.manual_seed(2)
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    losses = []
    for _ in range(number):
        with torch.autocast("cpu", dtype) if dtype else nullcontext():
            loss = model(input_ids=IDS, labels=LABELS).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_frozen_weights_cast_once_train_to_the_same_bits_and_come_back_exactly():
    plain, cast = adapted(lean=False), adapted(lean=False)
    before = weights(cast)
    frozen = frozen_linear_weights(cast)
    assert frozen and not any(p.requires_grad for p in frozen)
    with weights_in(torch.bfloat16, frozen):
        assert all(p.dtype == torch.bfloat16 for p in frozen)
        kept = {p.dtype for name, p in cast.named_parameters() if "LayerNorm" in name or "embeddings" in name}
        assert kept == {torch.float32}
        assert all(p.dtype == torch.float32 for p in cast.parameters() if p.requires_grad)
        assert steps(cast) == steps(plain)
    for name, value in plain.state_dict().items():
        other = cast.state_dict()[name]
        assert other.dtype == torch.float32 and torch.equal(other, value), name
        assert "lora_" in name or "modules_to_save" in name or torch.equal(other, before[name]), name
    merged, expected = cast.merge_and_unload().state_dict(), plain.merge_and_unload().state_dict()
    assert all(torch.equal(merged[name], expected[name]) for name in expected)


def test_frozen_weights_come_back_after_an_error_and_stay_in_float32_without_autocast():
    model = adapted(lean=True)
    before = weights(model)
    with pytest.raises(ZeroDivisionError), weights_in(torch.bfloat16, frozen_linear_weights(model)):
        raise ZeroDivisionError
    with weights_in(torch.float32, frozen_linear_weights(model)):
        assert all(p.dtype == torch.float32 for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_lean_adapters_equal_those_of_peft_within_the_rounding_of_bf16():
    plain, lean = adapted(lean=False, lora_dropout=0.0), adapted(lean=True, lora_dropout=0.0)
    for model in (plain, lean):  # only LoRA's arithmetic is compared, not BERT's own dropout
        for module in model.modules():
            module.p = 0.0 if isinstance(module, nn.Dropout) else getattr(module, "p", None)
    start = weights(lean)
    with weights_in(torch.bfloat16, frozen_linear_weights(lean)):
        assert steps(lean) == pytest.approx(steps(plain), rel=0.01)
        plain.eval(), lean.eval()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            ours, theirs = lean(input_ids=IDS).logits, plain(input_ids=IDS).logits
    assert torch.allclose(ours.float(), theirs.float(), atol=0.02)
    names = [name for name in start if "lora_" in name]
    first, ours, theirs = (
        torch.cat([state[name].flatten() for name in names]) for state in (start, lean.state_dict(), plain.state_dict())
    )
    assert (theirs - first).norm() > 0
    assert (ours - theirs).norm() < 0.02 * (theirs - first).norm()


@pytest.mark.parametrize("flags", [{}, {"lora_dropout": 0.5}, {"use_dora": True}])
def test_without_autocast_adapters_are_those_of_peft_to_the_bit(flags):
    plain, lean = adapted(lean=False, **flags), adapted(lean=True, **flags)
    assert steps(lean, dtype=None) == steps(plain, dtype=None)


def test_dora_reads_the_exact_weights():
    plain, lean = adapted(lean=False, use_dora=True), adapted(lean=True, use_dora=True)
    with weights_in(torch.bfloat16, frozen_linear_weights(lean)):
        assert steps(lean) == steps(plain)
    assert all(torch.equal(value, lean.state_dict()[name]) for name, value in plain.state_dict().items())


def test_every_layer_draws_a_mask_of_its_own_at_the_rate_asked_for():
    torch.manual_seed(0)
    base = nn.ModuleDict({"a": nn.Linear(1000, 1), "b": nn.Linear(1000, 1)})
    config = LoraConfig(r=1000, lora_alpha=1000, lora_dropout=0.25, target_modules=["a", "b"])
    model = inject_adapter_in_model(config, base)
    lighten_adapters(model)
    masks = []
    for layer in (model["a"], model["b"]):
        nn.init.zeros_(layer.base_layer.weight)
        nn.init.zeros_(layer.base_layer.bias)
        nn.init.eye_(layer.lora_A["default"].weight)
        layer.lora_B["default"] = nn.Identity()
        with torch.autocast("cpu", torch.bfloat16):
            masks.append(layer(torch.ones(1, 1000))[0] != 0)
    assert all(0.2 < 1 - mask.float().mean() < 0.3 for mask in masks)
    assert not torch.equal(*masks)


def test_nothing_frozen_gets_a_gradient_or_a_place_in_the_optimizer():
    model = adapted(lean=True)
    frozen = [p for p in model.parameters() if not p.requires_grad]
    embedding = model.get_base_model().get_input_embeddings().weight
    assert any(p is embedding for p in frozen)
    below = []  # of the first adapter: no gradient arrives at the embeddings' output
    model.get_base_model().bert.embeddings.register_forward_hook(lambda *a: below.append(a[2].requires_grad))
    with weights_in(torch.bfloat16, frozen_linear_weights(model)):
        steps(model, 1)
        with torch.autocast("cpu", torch.bfloat16):
            model(input_ids=IDS, labels=LABELS).loss.backward()
        assert all(p.grad is None for p in frozen)
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    assert below == [False, False]


def test_an_embedding_that_an_output_layer_shares_is_no_linear_weight():
    model = nn.ModuleDict({"embedding": nn.Embedding(5, 3), "inner": nn.Linear(3, 3), "output": nn.Linear(3, 5)})
    model["output"].weight = model["embedding"].weight
    assert {id(p) for p in linear_weights(model)} == {
        id(p) for p in (model["inner"].weight, model["inner"].bias, model["output"].bias)
    }
