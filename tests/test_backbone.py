"""Loading and building models: what is refused, what is new, in which precision."""

from pathlib import Path

import pytest
import torch
from hub_server import HubServer, connect
from tiny import FAMILIES
from transformers import AutoModelForSequenceClassification, BertConfig, BertForMaskedLM

from hf_kit.arguments import ModelArguments
from hf_kit.backbone import head_modules, load_config, load_model, resolve_checkpoint, start_outputs_at
from hf_kit.errors import UserError


def load(num_labels: int = 2, **arguments):
    arguments = ModelArguments(**{"config_overrides": {}} | arguments)
    config = load_config(arguments)
    config.num_labels = num_labels
    return load_model(arguments, config, AutoModelForSequenceClassification, seed=0)


@pytest.fixture
def checkpoint():
    """A masked language model as people finetune it: bf16 on disk, no pooler, no classification head."""
    BertForMaskedLM(BertConfig(vocab_size=50, **FAMILIES["bert"])).to(torch.bfloat16).save_pretrained("mlm")
    return "mlm"


def test_weights_are_float32_and_what_the_checkpoint_lacks_is_named(checkpoint):
    loaded = load(model_name_or_path=checkpoint, num_labels=5)
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert loaded.pretrained and loaded.new_modules == ["bert.pooler.dense", "classifier"]
    assert loaded.model.classifier.out_features == 5


def test_a_model_on_the_hub_that_is_a_pickle_is_refused_before_it_is_downloaded(checkpoint, monkeypatch):
    files = {path.name: path.read_bytes() for path in Path(checkpoint).iterdir()}
    weights = files.pop("model.safetensors")
    with HubServer() as server:
        connect(monkeypatch, server)
        server.add_repo("me/pickled", files | {"pytorch_model.bin": b"x"})
        with pytest.raises(UserError, match=r"me/pickled: it has no weights as safetensors.*refs/pr/NUMBER"):
            load_config(ModelArguments(model_name_or_path="me/pickled"))
        assert not list(Path("hf_home").rglob("pytorch_model.bin"))
        server.repos["me/pickled"].commit("main", "safetensors", files | {"model.safetensors": weights})
        assert load(model_name_or_path="me/pickled").pretrained


def test_a_head_of_another_size_is_replaced_and_named():
    first = load(model_type="hf_kit_lstm", config_overrides=FAMILIES["hf_kit_lstm"], num_labels=3)
    first.model.save_pretrained("saved")
    again = load(model_name_or_path="saved", num_labels=7)
    assert again.new_modules == ["classifier"] and again.model.classifier.out_features == 7
    assert torch.equal(again.model.lstm.weight_hh_l0, first.model.lstm.weight_hh_l0)


def test_the_seed_decides_a_fresh_model():
    one, two = (load(model_type="bert", config_overrides=FAMILIES["bert"]).model for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.parametrize(
    ("family", "head"),
    [
        ("bert", ["classifier"]),
        ("distilbert", ["pre_classifier", "classifier"]),
        ("deberta-v2", ["pooler", "classifier"]),
        ("modernbert", ["head", "classifier"]),
        ("llama", ["score"]),
        ("hf_kit_lstm", ["classifier"]),
    ],
)
def test_the_head_is_found_whatever_its_name(family, head):
    assert head_modules(load(model_type=family, config_overrides=FAMILIES[family]).model) == head


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model_type": "bertt"}, ["bertt", "`bert`"]),
        ({"model_type": "bert", "config_overrides": {"hidden_sise": 8}}, ["hidden_sise", "`hidden_size`"]),
        ({"model_type": "bert", "config_overrides": {"hidden_size": "wide"}}, ["hidden_size", "wide"]),
        ({"model_type": "hf_kit_lstm", "config_overrides": {"pooling": "middle"}}, ["middle", "attention"]),
        ({"model_type": "resnet"}, ["resnet"]),
        ({"model_name_or_path": "./nowhere"}, ["./nowhere", "no such folder"]),
        ({"model_name_or_path": "someone/nothing"}, ["someone/nothing"]),
    ],
)
def test_what_cannot_be_is_one_clear_error(arguments, words):
    with pytest.raises(UserError) as error:
        load(**arguments)
    assert all(word in str(error.value) for word in words), str(error.value)
    assert "\n" not in str(error.value)


def test_overrides_of_a_checkpoint_are_checked_too(checkpoint):
    assert (
        load_config(
            ModelArguments(model_name_or_path=checkpoint, config_overrides={"classifier_dropout": 0.5})
        ).classifier_dropout
        == 0.5
    )
    with pytest.raises(UserError, match="classifier_droput"):
        load(model_name_or_path=checkpoint, config_overrides={"classifier_droput": 0.5})


def test_a_folder_without_a_model_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"config\.json"):
        resolve_checkpoint("empty")


def test_a_new_head_starts_at_the_given_outputs_and_a_trained_one_stays(checkpoint):
    # As many labels as the new pooler has outputs: it is no head.
    bias = [float(i) for i in range(FAMILIES["bert"]["hidden_size"])]
    loaded = load(model_name_or_path=checkpoint, num_labels=len(bias))
    start_outputs_at(loaded, bias)
    assert loaded.model.classifier.bias.tolist() == bias
    assert loaded.model.bert.pooler.dense.bias.abs().max() < 1
    start_outputs_at(loaded, None)
    loaded.new_modules = []
    start_outputs_at(loaded, [9.0] * len(bias))
    assert loaded.model.classifier.bias.tolist() == bias


@pytest.mark.parametrize("family", FAMILIES)
def test_every_familys_fresh_head_starts_there_or_has_no_bias(family):
    loaded = load(model_type=family, config_overrides=FAMILIES[family] | {"pad_token_id": 0}, num_labels=3)
    start_outputs_at(loaded, [0.5, -2.0, -4.0])
    heads = [m for m in loaded.model.modules() if isinstance(m, torch.nn.Linear) and m.out_features == 3]
    assert len(heads) == 1
    assert heads[0].bias is None or heads[0].bias.tolist() == [0.5, -2.0, -4.0]
    assert (heads[0].bias is None) == (family in ("llama", "qwen2", "qwen3"))
