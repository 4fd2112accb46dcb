"""LoRA: what is adapted, what is trained whole, what the saved adapter must hold."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from tiny import FAMILIES
from transformers import AutoModelForSequenceClassification, BertConfig, BertForMaskedLM

from hf_kit.arguments import LoraArguments, ModelArguments
from hf_kit.backbone import load_config, load_model
from hf_kit.errors import UserError
from hf_kit.lora import add_lora, check_lora, finish_adapter_folder, trainable_share


@pytest.fixture
def backbone():
    BertForMaskedLM(BertConfig(vocab_size=50, **FAMILIES["bert"])).save_pretrained("mlm")
    arguments = ModelArguments(model_name_or_path="mlm", config_overrides={})
    return load_model(arguments, load_config(arguments), AutoModelForSequenceClassification, seed=0)


def trained(model) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def test_linear_layers_are_adapted_and_new_modules_trained_whole(backbone):
    model = add_lora(backbone, LoraArguments(lora_r=2), "SEQ_CLS")
    names = trained(model)
    whole = {name for name in names if "lora_" not in name}
    assert any("pooler" in name for name in whole) and any("classifier" in name for name in whole)
    for layer in ("query", "key", "value", "attention.output.dense", "intermediate.dense"):
        assert any(layer in name for name in names), layer
    some, every = trainable_share(model)
    assert 0 < some < every / 2


def test_a_pooler_that_the_checkpoint_brings_is_trained_whole_unless_named():
    config = BertConfig(vocab_size=30, **FAMILIES["bert"])
    AutoModelForSequenceClassification.from_config(config).save_pretrained("classifier")
    arguments = ModelArguments(model_name_or_path="classifier", config_overrides={})
    for flags, whole in (
        ({}, True),
        ({"lora_target_modules": ["query"]}, True),
        ({"lora_target_modules": ["dense"]}, False),
    ):
        base = load_model(arguments, load_config(arguments), AutoModelForSequenceClassification, seed=0)
        assert not base.new_modules
        names = trained(add_lora(base, LoraArguments(lora_r=2, **flags), "SEQ_CLS"))
        assert any("pooler.modules_to_save.default.dense.weight" in name for name in names) == whole
        assert any("pooler" in name and "lora_" in name for name in names) != whole


def test_named_targets_and_variants_reach_the_model(backbone):
    model = add_lora(
        backbone, LoraArguments(lora_r=2, lora_target_modules=["query"], use_dora=True, use_rslora=True), "SEQ_CLS"
    )
    config = model.peft_config["default"]
    assert config.use_dora and config.use_rslora and config.target_modules == {"query"}
    assert not any("value.lora" in name for name in trained(model))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"lora_target_modules": ["q_proj"]}, ["q_proj", "query"]),
        ({"lora_modules_to_save": ["poolr"]}, ["poolr", "`pooler`"]),
    ],
)
def test_names_that_match_nothing_are_errors(backbone, flags, words):
    with pytest.raises(UserError) as error:
        add_lora(backbone, LoraArguments(**flags), "SEQ_CLS")
    assert all(word in str(error.value) for word in words), str(error.value)


def test_what_peft_cannot_do_is_refused_before_any_work():
    with pytest.raises(UserError, match="fresh model"):
        check_lora(LoraArguments(), "bert", pretrained=False)
    with pytest.raises(UserError, match="lora_dropout"):
        check_lora(LoraArguments(lora_dropout=0.1), "hf_kit_lstm", pretrained=True)
    with pytest.raises(UserError, match="use_dora"):
        check_lora(LoraArguments(use_dora=True), "hf_kit_lstm", pretrained=True)
    check_lora(LoraArguments(use_rslora=True), "hf_kit_lstm", pretrained=True)
    check_lora(LoraArguments(lora_dropout=0.1, use_dora=True), "bert", pretrained=True)


def test_a_saved_adapter_without_its_head_is_caught_and_a_local_path_taken_out(backbone):
    add_lora(backbone, LoraArguments(lora_r=2), "SEQ_CLS").save_pretrained("adapter")
    folder = Path("adapter")
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "mlm"
    finish_adapter_folder(folder, ["classifier"])
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] is None
    assert not (folder / "README.md").exists()
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({k: v for k, v in weights.items() if "classifier" not in k}, folder / "adapter_model.safetensors")
    with pytest.raises(RuntimeError, match="classifier"):
        finish_adapter_folder(folder, ["classifier"])
