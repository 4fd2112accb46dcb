"""How fast a device multiplies and copies, and whether it multiplies right."""

import time
from collections.abc import Callable

import torch

REDUCED = {"bf16": torch.bfloat16, "fp16": torch.float16}
LONG_ENOUGH = 0.05  # seconds of work per measurement, far above what starting it costs


def measure(device: str, mixed_precision: str) -> dict:
    """Measured speed of one device.

    Args:
        device: of torch, such as "cpu" or "cuda:0".
        mixed_precision: accelerate's word; "bf16" or "fp16" is measured beside float32.

    Returns:
        Multiply-adds counted twice, in FLOP/s, per format: `fp32`, `bf16` or `fp16`; `fp32_one_thread` on a CPU.
        `copy`: bytes/s moved within the device's memory, read and written ones counted; `upload`: bytes/s from the
        CPU's memory to a GPU. `relative_error` per format: |product - exact| / |exact| of a small product.
    """
    formats = {"fp32": torch.float32} | {name: dtype for name, dtype in REDUCED.items() if name == mixed_precision}
    facts = {"relative_error": {name: relative_error(device, dtype) for name, dtype in formats.items()}}
    facts |= {name: matmul_rate(device, dtype) for name, dtype in formats.items()}
    facts["copy"] = copy_rate(device)
    if device != "cpu":
        return facts | {"upload": upload_rate(device)}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    one = matmul_rate(device, torch.float32)
    torch.set_num_threads(threads)
    return facts | {"threads": threads, "fp32_one_thread": one}


def matmul_rate(device: str, dtype: torch.dtype) -> float:
    """FLOP/s of a square product, of 1024 rows on a CPU and 4096 on a GPU."""
    size = 1024 if device == "cpu" else 4096
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))  # [n, n]
    out = torch.empty_like(a)
    return 2 * size**3 / seconds(lambda: torch.mm(a, b, out=out), device)


def copy_rate(device: str) -> float:
    """Bytes/s read and written by a copy of 128 MB, more than caches hold."""
    source = torch.ones(32 * 10**6, device=device)
    target = torch.zeros_like(source)
    return 2 * source.nbytes / seconds(lambda: target.copy_(source), device)


def upload_rate(device: str) -> float:
    """Bytes/s of a copy of 128 MB from the CPU's memory (locked, as the loader's batches are)."""
    source = torch.ones(32 * 10**6)
    source = source.pin_memory() if device.startswith("cuda") else source
    target = torch.empty(source.shape, device=device)
    return source.nbytes / seconds(lambda: target.copy_(source, non_blocking=True), device)


def relative_error(device: str, dtype: torch.dtype) -> float:
    """How far a product on the device is from the one in float64 on the CPU."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(256, 256, generator=generator) for _ in range(2))  # [n, n]
    exact = a.double() @ b.double()
    product = (a.to(device).to(dtype) @ b.to(device).to(dtype)).cpu().double()
    return ((product - exact).norm() / exact.norm()).item()


def seconds(run: Callable[[], object], device: str) -> float:
    """The best of three timings of one call, after one that warms up."""
    count = 1
    _timed(run, 1, device)
    while (elapsed := _timed(run, count, device)) < LONG_ENOUGH and count < 4096:
        count *= 2
    if elapsed > 10 * LONG_ENOUGH:  # a slow device need not do it again
        return elapsed / count
    return min(elapsed, _timed(run, count, device), _timed(run, count, device)) / count


def _timed(run: Callable[[], object], count: int, device: str) -> float:
    start = time.perf_counter()
    for _ in range(count):
        run()
    if device != "cpu":
        torch.accelerator.synchronize(torch.device(device))
    return time.perf_counter() - start
