"""Gradient checkpointing computes the same gradients, of adapters too, with less memory."""

import copy

import pytest
import torch
from tiny import FAMILIES, IMAGE_FAMILIES
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    MarianConfig,
)

from hf_kit.arguments import KitTrainingArguments, LoraArguments
from hf_kit.backbone import Backbone
from hf_kit.gradient_checkpointing import enable_gradient_checkpointing
from hf_kit.lora import add_lora

IDS = torch.randint(5, 50, (3, 12), generator=torch.Generator().manual_seed(0))
TEXT = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}
MARIAN = {
    **{"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16},
    **{"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 32},
    **{"vocab_size": 50, "pad_token_id": 0, "decoder_start_token_id": 0, "eos_token_id": 1, "forced_eos_token_id": 1},
}


def text(family):
    config = AutoConfig.for_model(family, vocab_size=50, pad_token_id=0, **FAMILIES[family])
    return AutoModelForSequenceClassification.from_config(config), TEXT, "SEQ_CLS"


def translator():
    return AutoModelForSeq2SeqLM.from_config(MarianConfig(**MARIAN)), TEXT | {"decoder_input_ids": IDS}, "SEQ_2_SEQ_LM"


def image(family):
    model = AutoModelForImageClassification.from_config(AutoConfig.for_model(family, **IMAGE_FAMILIES[family]))
    return model, {"pixel_values": torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))}, None


MADE = {
    "bert": lambda: text("bert"),
    "distilbert": lambda: text("distilbert"),
    "llama": lambda: text("llama"),
    "marian": translator,
    "vit": lambda: image("vit"),
}


def gradients(model, inputs) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)  # the dropout of both
    model.train()(**inputs).logits.float().pow(2).sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("peft", [False, True])
@pytest.mark.parametrize("family", MADE)
def test_the_gradients_are_the_same(family, peft):
    torch.manual_seed(0)
    plain, inputs, kind = MADE[family]()
    saving = copy.deepcopy(plain)
    training = KitTrainingArguments(output_dir="run", use_cpu=True)
    counts = []
    for model, wanted in ((plain, False), (saving, True)):
        torch.manual_seed(2)
        adapted = add_lora(Backbone(model, True, []), LoraArguments(lora_r=2), kind) if peft else model
        if wanted:
            enable_gradient_checkpointing(model, training)
            assert model.is_gradient_checkpointing
        for name, p in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(p, std=0.1, generator=torch.Generator().manual_seed(3))
        calls = []
        adapted.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        counts.append(gradients(adapted, inputs))
    expected, got = counts
    assert expected.keys() == got.keys()
    named = [name for name, grad in expected.items() if grad is not None and grad.abs().sum() > 0]
    assert any("lora_A" in name for name in named) == peft
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], msg=name)
