import pytest
import torch

from hf_kit import precision


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
    assert choose(launched="fp16").mixed_precision == "fp16"
    assert choose(bf16=True, launched="fp16").mixed_precision == "bf16"
    assert choose(launched="no").mixed_precision == "bf16"  # a plain launch says "no" for "unset"


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
