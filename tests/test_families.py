import pytest

from hf_kit.families import family_defaults


@pytest.mark.parametrize(
    ("model_type", "pretrained", "use_peft", "family", "learning_rate"),
    [
        ("hf_kit_lstm", False, False, "hf_kit_lstm", 1e-3),
        ("bert", True, False, "pretrained", 2e-5),
        ("bert", False, False, "fresh transformer", 5e-4),
        ("bert", True, True, "LoRA", 2e-4),
        ("hf_kit_lstm", True, True, "LoRA", 2e-4),
    ],
)
def test_each_family_brings_its_own(model_type, pretrained, use_peft, family, learning_rate):
    name, values = family_defaults(model_type, pretrained=pretrained, use_peft=use_peft)
    assert (name, values["learning_rate"]) == (family, learning_rate)
    assert {"num_train_epochs", "lr_scheduler_type", "warmup_steps", "weight_decay"} < set(values)
