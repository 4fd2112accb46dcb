"""Are the measured speeds plausible? What is not shows a device that is throttled, shared or badly installed."""

import math
import os

from hf_kit.doctor.finding import ERROR, OK, WARNING, Finding

# Rounding alone gives about 1e-7 in float32 (1e-3 where a GPU uses TF32), 4e-3 in bf16: what is beyond is broken.
LARGEST_ERROR = 0.03


def speeds(facts: dict[str, dict], usable_cores: int) -> list[Finding]:
    """Rows of the stages called "speed DEVICE"."""
    devices = {name.removeprefix("speed "): f for name, f in facts.items() if name.startswith("speed ")}
    rows = []
    for device, measured in devices.items():
        # A device that torch offers is one that a run would use.
        where = ("hf-kit train RECIPE.yaml --use_cpu True",) if device != "cpu" else ()
        if "error" in measured:
            advice = f"it cannot compute: {measured['error']}"
            rows.append(Finding(f"speed {device}", ERROR, "none", advice, where, measured))
            continue
        worst = max(measured["relative_error"].values(), key=lambda error: (math.isnan(error), error))
        if not worst <= LARGEST_ERROR:  # so that nan is one as well
            advice = f"its products are wrong (relative error {worst:.2g}): faulty hardware or driver"
            # JSON knows no nan.
            errors = {k: v if math.isfinite(v) else None for k, v in measured["relative_error"].items()}
            values = measured | {"relative_error": errors}
            rows.append(Finding(f"speed {device}", ERROR, _told(measured), advice, where, values))
            continue
        advice, commands = _cpu(measured, usable_cores) if device == "cpu" else _gpu(device, devices)
        rows.append(Finding(f"speed {device}", WARNING if advice else OK, _told(measured), advice, commands, measured))
    return rows


def _told(measured: dict) -> str:
    parts = [f"{name} {_rate(measured[name])}" for name in ("fp32", "bf16", "fp16") if name in measured]
    if "threads" in measured:
        parts[0] += f" with {measured['threads']} thread{'s' if measured['threads'] > 1 else ''}"
        if measured["threads"] > 1:
            parts[0] += f" ({_rate(measured['fp32_one_thread'])} with one)"
    parts.append(f"copies {measured['copy'] / 1e9:.0f} GB/s")
    if "upload" in measured:
        parts.append(f"from the CPU {measured['upload'] / 1e9:.1f} GB/s")
    return ", ".join(parts)


def _rate(flops: float) -> str:
    return f"{flops / 1e12:.1f} TFLOP/s" if flops >= 1e12 else f"{flops / 1e9:.0f} GFLOP/s"


def _reduced(measured: dict) -> str | None:
    return next((name for name in ("bf16", "fp16") if name in measured), None)


def _cpu(measured: dict, usable_cores: int) -> tuple[str, tuple[str, ...]]:
    threads, asked = measured["threads"], os.environ.get("OMP_NUM_THREADS")
    if threads > usable_cores:
        advice = f"{threads} threads share {usable_cores} usable core(s) and hinder each other"
        return advice, (f"export OMP_NUM_THREADS={usable_cores}",)
    # Torch takes the physical cores, which may be half of the logical ones.
    if threads * 2 < usable_cores or (asked and threads < usable_cores):
        advice = f"{threads} of {usable_cores} cores are used" + (f", as OMP_NUM_THREADS={asked} asks" if asked else "")
        return advice, ("unset OMP_NUM_THREADS" if asked else f"export OMP_NUM_THREADS={usable_cores}",)
    if threads > 1 and measured["fp32"] < 1.2 * measured["fp32_one_thread"]:
        advice = f"{threads} threads are hardly faster than one: other programs use the cores, or a limit holds them"
        return advice, ("top -b -n 1 -o %CPU | head -n 15",)
    reduced = _reduced(measured)
    if reduced and measured[reduced] < measured["fp32"]:
        return f"{reduced} is slower than fp32 here", (f"hf-kit train RECIPE.yaml --{reduced} False",)
    return "", ()


def _gpu(device: str, devices: dict[str, dict]) -> tuple[str, tuple[str, ...]]:
    measured, cpu = devices[device], devices.get("cpu", {})
    look = ("nvidia-smi -q -d PERFORMANCE,TEMPERATURE,CLOCK,UTILIZATION",) if device.startswith("cuda") else ()
    for what in ("fp32", "copy"):
        if measured[what] < cpu.get(what, 0):
            told = "multiplies" if what == "fp32" else "copies"
            return f"it {told} slower than the CPU: throttled, used by another program, or badly installed", look
    reduced = _reduced(measured)
    if reduced and measured[reduced] < 1.2 * measured["fp32"]:
        advice = f"{reduced} is hardly faster than fp32, which keeps more digits"
        return advice, (f"hf-kit train RECIPE.yaml --{reduced} False", *look)
    peers = [m[reduced or "fp32"] for n, m in devices.items() if n != "cpu" and (reduced or "fp32") in m]
    if measured[reduced or "fp32"] < 0.7 * max(peers):
        return f"it has {measured[reduced or 'fp32'] / max(peers):.0%} of the fastest GPU's speed", look
    if measured["upload"] < 1e9:
        return "data comes to it slowly: a narrow slot, a riser, or a virtual machine", look
    return "", ()
