"""Answers that are numbers: exact under autocast, learned whatever their size."""

import random

import pytest
import torch
from tiny import FAMILIES, GOOD, PLAIN, write_csv
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification

import hf_kit
from hf_kit.arguments import LoraArguments
from hf_kit.backbone import Backbone
from hf_kit.cli import main
from hf_kit.exact_head import ExactLinear, compute_numbers_exactly
from hf_kit.frozen_weights import linear_weights
from hf_kit.lora import add_lora

NAMES = "hf_kit_lstm bert distilbert roberta albert deberta-v2 mpnet llama".split()


def model(family: str, **more):
    torch.manual_seed(0)
    shape = FAMILIES[family] | {"vocab_size": 60, "num_labels": 1, "problem_type": "regression", "pad_token_id": 0}
    return AutoModelForSequenceClassification.from_config(AutoConfig.for_model(family, **shape | more)).eval()


def years(model, amp: bool) -> torch.Tensor:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=amp):
        ids = torch.arange(5, 55).view(10, 5)
        return model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.float()[:, 0]


@pytest.mark.parametrize("family", NAMES)
def test_under_autocast_the_number_is_not_rounded_and_nothing_else_changes(family):
    own = model(family)
    (head,) = [m for m in own.modules() if type(m) is nn.Linear and m.out_features == 1]
    with torch.no_grad():
        head.weight.mul_(0.01)
        if head.bias is None:
            head.bias = nn.Parameter(torch.zeros(1))
        head.bias.fill_(2001.0)  # bf16 knows 2000 and 2008
    exact, rounded, names = years(own, False), years(own, True), list(own.state_dict())
    assert (rounded - exact).abs().max() >= 0.9
    compute_numbers_exactly(own)
    assert torch.equal(years(own, False), exact)
    torch.testing.assert_close(years(own, True), exact, atol=0.01, rtol=0)
    assert list(own.state_dict()) == names
    assert not {id(p) for p in head.parameters()} & {id(p) for p in linear_weights(own)}


def test_classifiers_keep_their_head():
    own = model("bert", problem_type="single_label_classification", num_labels=2)
    compute_numbers_exactly(own)
    assert not any(isinstance(m, ExactLinear) for m in own.modules())


def test_beside_adapters_the_trained_head_is_exact():
    own = model("bert")
    compute_numbers_exactly(own)
    adapted = add_lora(Backbone(own, True, []), LoraArguments(lora_r=2), "SEQ_CLS")
    assert [n for n, m in adapted.named_modules() if isinstance(m, ExactLinear) and "modules_to_save" in n]


@pytest.mark.parametrize("base, step", [(2000, 1), (50_000, 4_000), (0, 0.001)])
def test_numbers_of_any_size_are_learned_and_come_back(tmp_path, base, step):
    rng = random.Random(0)
    rows = [(rng.choices(PLAIN, k=4) + [GOOD[k % 8]] * 3, base + step * (k % 8)) for k in range(240)]
    write_csv(tmp_path / "numbers.csv", [(" ".join(words), value) for words, value in rows])
    words = "train text_classification/lstm.yaml --train_file numbers.csv --problem_type regression --output_dir out"
    words += " --num_train_epochs 20 --learning_rate 0.01 --vocab_size 100 --baselines False --disable_tqdm True"
    assert main([*words.split(), '--config_overrides={"embedding_dim":16,"hidden_dim":16}']) == 0
    run = hf_kit.load("out")
    assert run.results["test"]["r2"] > 0.9
    texts, values = zip(*((" ".join(words), value) for words, value in rows[:40]), strict=True)
    answers = [answer["score"] for answer in run.predict(texts)]
    assert sum(abs(a - b) for a, b in zip(answers, values, strict=True)) / 40 < step
