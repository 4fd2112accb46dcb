"""Frozen weights in 4 or 8 bits: what cannot be had is one error; what is saved stands on the exact weights."""

import importlib.util
import json

import pytest
import torch
from peft import PeftModel
from tiny import FAMILIES, reviews, write_csv
from transformers import AutoModelForSequenceClassification, BertConfig, BertTokenizerFast

from hf_kit import run
from hf_kit.errors import UserError
from hf_kit.parsing import parse_arguments
from hf_kit.quantization import check_quantization

# Blocks of 64 numbers are rounded together.
WIDE = FAMILIES["bert"] | {"hidden_size": 64, "intermediate_size": 128, "vocab_size": 200}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--load_in_4bit"], ["--load_in_4bit", "--use_peft"]),
        (["--load_in_8bit"], ["--load_in_8bit", "--use_peft"]),
        (["--use_peft", "--load_in_8bit", "--load_in_4bit"], ["--load_in_8bit", "--load_in_4bit", "one"]),
        (["--use_peft", "--use_bnb_nested_quant"], ["--use_bnb_nested_quant", "--load_in_4bit"]),
        (["--use_peft", "--bnb_4bit_quant_type", "fp4"], ["--bnb_4bit_quant_type", "--load_in_4bit"]),
    ],
)
def test_a_combination_that_means_nothing_is_one_error(flags, words):
    arguments = parse_arguments(["--model_name_or_path", "some/model", *flags])
    with pytest.raises(UserError) as error:
        check_quantization(arguments, "bert")
    assert all(word in str(error.value) for word in words), error.value


def test_without_bitsandbytes_its_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    arguments = parse_arguments(["--model_name_or_path", "some/model", "--use_peft", "--load_in_4bit"])
    with pytest.raises(UserError, match=r"hf_kit\[quantization\]"):
        check_quantization(arguments, "bert")


def test_a_model_of_ours_is_not_rounded():
    arguments = parse_arguments(["--model_name_or_path", "some/model", "--use_peft", "--load_in_4bit"])
    with pytest.raises(UserError, match="are not rounded"):
        check_quantization(arguments, "hf_kit_lstm")


@pytest.fixture
def checkpoint():
    torch.manual_seed(0)
    words = sorted({word for text, _ in reviews() for word in text.split()})
    lines = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    AutoModelForSequenceClassification.from_config(BertConfig(**WIDE)).save_pretrained("base")
    BertTokenizerFast(vocab={word: place for place, word in enumerate(lines)}).save_pretrained("base")
    write_csv("reviews.csv", reviews())
    return "base"


@pytest.mark.parametrize("flag", ["--load_in_4bit", "--load_in_8bit"])
def test_an_adapter_is_trained_on_rounded_weights_and_saved_on_exact_ones(flag, checkpoint, monkeypatch):
    bitsandbytes = pytest.importorskip("bitsandbytes")
    kinds = {"--load_in_4bit": bitsandbytes.nn.Linear4bit, "--load_in_8bit": bitsandbytes.nn.Linear8bitLt}
    seen = {}

    def fit(trainer, folder, fit=run.fit):
        model = trainer.model.get_base_model()
        seen["kinds"] = {type(layer.base_layer) for layer in model.modules() if hasattr(layer, "base_layer")}
        seen["head"] = type(model.classifier.modules_to_save["default"])
        return fit(trainer, folder)

    monkeypatch.setattr(run, "fit", fit)
    flags = ["--train_file", "reviews.csv", "--model_name_or_path", checkpoint, "--use_peft", flag]
    few = ["--max_steps", "2", "--baselines", "False", "--output_dir", "run", "--bf16=False"]
    folder = run.train(parse_arguments(["--task", "text_classification", *flags, *few]))
    assert seen == {"kinds": {kinds[flag]}, "head": torch.nn.Linear}

    merged = AutoModelForSequenceClassification.from_pretrained(folder / "merged")
    assert "quantization_config" not in json.loads((folder / "merged" / "config.json").read_text())
    assert {p.dtype for p in merged.parameters()} == {torch.float32}
    exact = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    adapted = PeftModel.from_pretrained(exact, folder)
    assert any(p.abs().sum() > 0 for name, p in adapted.named_parameters() if "lora_B" in name)
    ids = torch.randint(5, 20, (4, 8))
    torch.testing.assert_close(merged.eval()(ids).logits, adapted.eval()(ids).logits, atol=1e-5, rtol=1e-5)
