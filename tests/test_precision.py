import pytest
import torch

from hf_kit import precision
from hf_kit.errors import UserError


def choose(model_type="bert", bf16=None, fp16=None, launched="no", use_cpu=True):
    return precision.choose_precision(model_type, bf16=bf16, fp16=fp16, launched=launched, use_cpu=use_cpu)


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "no")])
def test_a_cpu_computes_in_bf16_where_it_is_native(monkeypatch, native, expected):
    monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: native)
    assert choose().mixed_precision == expected


def test_flags_win_over_launcher_and_device(monkeypatch):
    monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: True)
    assert choose(bf16=False).mixed_precision == "no"
    assert "--bf16=False" in choose(bf16=False).reason
    assert choose(bf16=True, launched="fp16").mixed_precision == "bf16"
    assert choose(launched="no").mixed_precision == "bf16"  # a plain launch says "no" for "unset"
    monkeypatch.setattr(precision, "_cpu_has_bf16", lambda: False)
    assert choose(launched="bf16").mixed_precision == "bf16"


@pytest.mark.parametrize(
    ("has_bf16", "model_type", "expected"),
    [(True, "t5", "bf16"), (False, "bert", "fp16"), (False, "t5", "no")],
)
def test_gpus(monkeypatch, has_bf16, model_type, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Card")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: has_bf16)
    chosen = choose(model_type, use_cpu=False)
    assert chosen.mixed_precision == expected
    assert "Card" in chosen.reason


@pytest.mark.parametrize(
    ("asked", "who", "use_cpu"),
    [
        ({"fp16": True}, "--fp16", True),
        ({"launched": "fp16"}, "the accelerate configuration", True),
        ({"bf16": True}, "--bf16", False),
        ({"launched": "bf16"}, "the accelerate configuration", False),
        ({"launched": "fp8"}, "the accelerate configuration", False),
        ({"launched": "fp8"}, "the accelerate configuration", True),
    ],
)
def test_a_format_that_the_device_lacks_is_an_error_that_names_who_asked(monkeypatch, asked, who, use_cpu):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Card")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: False)
    with pytest.raises(UserError, match=f"asked for by {who}: .*{'CPU' if use_cpu else 'Card'}"):
        choose(**asked, use_cpu=use_cpu)


def test_fp8_is_for_cards_that_have_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Card")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    assert choose(launched="fp8", use_cpu=False).mixed_precision == "fp8"
