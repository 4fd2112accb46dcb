"""The last layer computes the first token alone, and nobody can tell."""

import copy

import pytest
import torch
from tiny import FAMILIES as SHAPES
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoModelForTokenClassification

from hf_kit.arguments import LoraArguments
from hf_kit.backbone import Backbone
from hf_kit.cpu_attention import attend_on_cpu
from hf_kit.dropout import cheapen_dropout
from hf_kit.first_token import FAMILIES, compute_first_token_alone
from hf_kit.lora import add_lora

SHAPE = SHAPES["bert"] | {"vocab_size": 60, "num_labels": 3}


def model(family: str, auto=AutoModelForSequenceClassification, **overrides):
    torch.manual_seed(0)
    return auto.from_config(AutoConfig.for_model(family, **SHAPE | overrides))


def batch() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    lengths = torch.tensor([9, 4, 1, 7])
    mask = (torch.arange(9) < lengths[:, None]).long()
    return {"input_ids": torch.randint(5, 60, (4, 9)) * mask + (1 - mask), "attention_mask": mask}


def outputs(model, inputs):
    logits = model(**inputs).logits
    model.zero_grad()
    logits.logsumexp(-1).sum().backward()
    return logits, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_answers_and_gradients_are_those_of_the_whole_layer(family, padded):
    whole = model(family).eval()
    short = copy.deepcopy(whole)
    assert compute_first_token_alone(short)
    widths = []
    last = short.base_model.encoder.layer[-1]
    last.intermediate.register_forward_pre_hook(lambda _, args: widths.append(args[0].shape[1]))
    inputs = batch() if padded else {"input_ids": batch()["input_ids"]}
    (expected, gradients), (got, own) = outputs(whole, inputs), outputs(short, inputs)
    assert widths == [1]
    torch.testing.assert_close(got, expected)
    torch.testing.assert_close(own, gradients)
    assert list(short.state_dict()) == list(whole.state_dict())


def test_with_adapters_cheap_dropout_and_checkpointing():
    whole = model("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=1e-7)
    short = copy.deepcopy(whole)
    results = []
    for own, shorten in ((whole, False), (short, True)):
        torch.manual_seed(2)
        adapted = add_lora(Backbone(own, True, []), LoraArguments(lora_r=2, lora_dropout=0.0), "SEQ_CLS")
        for name, p in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(p, std=0.1)
        own.gradient_checkpointing_enable({"use_reentrant": False})
        cheapen_dropout(adapted, own)
        attend_on_cpu(own)
        assert not shorten or compute_first_token_alone(own)
        results.append(outputs(adapted.train(), batch()))
    torch.testing.assert_close(results[1], results[0])


@pytest.mark.parametrize(
    "other",
    [
        lambda: model("bert", auto=AutoModelForTokenClassification),
        lambda: model("bert", attn_implementation="eager"),
        lambda: model("bert", output_hidden_states=True),
        lambda: model("mpnet"),
        lambda: model("albert", embedding_size=16),
    ],
)
def test_other_models_keep_their_last_layer(other):
    assert not compute_first_token_alone(other())
