"""Which number format a run computes in, and why.

Weights and optimizer stay in float32; autocast computes in the best format that the device really has: bf16 on GPUs
from Ampere on and on CPUs with bf16 instructions, else fp16 on GPUs and fp32 on CPUs. fp16 is never chosen for families
whose activations are known to overflow it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from hf_kit.errors import UserError

# Activations beyond 65,504 have been reported for these: T5 (huggingface/transformers#9295 and #10956), and the
# families trained in bf16 from the start.
OVERFLOWS_FP16 = frozenset({"t5", "mt5", "umt5", "longt5", "gemma", "gemma2", "gemma3_text", "deberta-v2", "m2m_100"})
# What each of accelerate's words computes in; of fp8 what is not in its linear layers.
DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp8": torch.bfloat16}
# The first compute capability with 8-bit matrix products (Ada; Hopper is 9.0).
FP8_FROM = (8, 9)


@dataclass(frozen=True)
class Precision:
    """`mixed_precision` is accelerate's word: "no", "bf16", "fp16" or "fp8"."""

    mixed_precision: str
    reason: str


def _cpu_has_bf16() -> bool:
    # mkldnn's own check is true for emulated bf16 as well, which is slower than fp32.
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _check_device(asked: str, who: str, use_cpu: bool) -> None:
    """transformers and accelerate find some of these late, and compute in another format for others."""
    on_gpu = not use_cpu and torch.cuda.is_available()
    named = torch.cuda.get_device_name() if on_gpu else "this device" if not use_cpu else "the CPU"
    if asked == "fp16" and use_cpu:
        raise UserError(f"fp16, asked for by {who}: it needs a GPU, and this run is on {named}; leave it out")
    if asked == "bf16" and on_gpu and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UserError(f"bf16, asked for by {who}: {named} does not have it; take fp16, or leave it out")
    if asked == "fp8" and not (on_gpu and torch.cuda.get_device_capability() >= FP8_FROM):
        raise UserError(
            f"fp8, asked for by {who}: {named} does not have it (compute capability {'.'.join(map(str, FP8_FROM))} "
            "and above); take bf16, or leave it out"
        )


def choose_precision(
    model_type: str, *, bf16: bool | None, fp16: bool | None, launched: str, use_cpu: bool
) -> Precision:
    """Settle the format from the user's flags, the launcher's setting and the device, in that order.

    Args:
        model_type: the family, for the fp16 exception.
        bf16, fp16: the flags; `None` where nobody set them, and a `False` that was set asks for fp32.
        launched: what `accelerate launch` put into `ACCELERATE_MIXED_PRECISION`; a plain launch says "no", which is
            taken as unset.
        use_cpu: the run stays on the CPU.

    Raises:
        UserError: a format that somebody asked for and the device does not have.
    """
    asked, who = (
        ("bf16", "--bf16") if bf16 else ("fp16", "--fp16") if fp16 else (launched, "the accelerate configuration")
    )
    if bf16 is not False and fp16 is not False:
        _check_device(asked, who, use_cpu)
    if bf16:
        return Precision("bf16", "asked for by --bf16")
    if fp16:
        return Precision("fp16", "asked for by --fp16")
    if bf16 is False or fp16 is False:
        return Precision("no", f"asked for by --{'bf16' if bf16 is False else 'fp16'}=False")
    if launched not in ("", "no"):
        return Precision(launched, "asked for by the accelerate configuration")
    if not use_cpu and torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Precision("bf16", f"{name} computes in bf16")
        if model_type in OVERFLOWS_FP16:
            return Precision("no", f"{name} has no bf16 and {model_type} overflows fp16")
        return Precision("fp16", f"{name} has fp16 but no bf16")
    if not use_cpu:
        return Precision("no", "fp32 on this device")
    if _cpu_has_bf16():
        return Precision("bf16", "this CPU has bf16 instructions")
    return Precision("no", "this CPU has no bf16 instructions")


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Let a CPU take numbers nearer to 0 than 1.2e-38 for 0 meanwhile; threads that torch has started before do not.

    Processors compute with them slowly, and a training has them: in the gradient of GELU where its input is far below
    zero, and in AdamW's moments of rows that are not looked up any more.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
