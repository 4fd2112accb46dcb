"""What only loading the libraries tells, found in a process of its own: `python -m hf_kit.doctor.probe_process`.

A library that kills its process (a missing CPU instruction, a broken driver) then takes this one and not the doctor.
Each stage writes one line of JSON when it begins and one when it ends, so that the last begun one is the culprit.
"""

import contextlib
import importlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable

from hf_kit.doctor.finding import in_one_line


def main(path: str, imports: dict[str, str]) -> None:
    """Write the stages to the file `path`. `imports`: what to import, per distribution."""
    with open(path, "w", encoding="utf-8") as out, contextlib.redirect_stdout(sys.stderr):

        def stage(name: str, run: Callable[[], dict]) -> dict:
            print(json.dumps({"stage": name}), file=out, flush=True)
            try:
                facts = run()
            except (Exception, SystemExit) as reason:
                facts = {"error": in_one_line(reason)}
            print(json.dumps({"stage": name, "facts": facts}), file=out, flush=True)
            return facts

        torch = stage("torch", torch_facts)
        for distribution, name in imports.items():
            stage(f"import {distribution}", lambda name=name: import_facts(name))
        if "error" in torch:
            return
        # Last, as it is here that a broken device hangs or crashes.
        stage("speed cpu", lambda: speed_facts("cpu", "bf16" if torch["cpu_bf16"] else "no"))
        if torch["accelerator"]:
            for i in range(torch["accelerator_count"]):
                name = f"{torch['accelerator']}:{i}"
                stage(f"speed {name}", lambda name=name: speed_facts(name, torch["precision"]))


def import_facts(name: str) -> dict:
    """Import it, and say how long that took."""
    start = time.perf_counter()
    importlib.import_module(name)
    return {"seconds": round(time.perf_counter() - start, 3)}


def torch_facts() -> dict:
    """Build, libraries and devices as torch sees them."""
    import torch

    from hf_kit.precision import choose_precision

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    chosen = choose_precision(
        "",
        bf16=None,
        fp16=None,
        launched=os.environ.get("ACCELERATE_MIXED_PRECISION", ""),
        use_cpu=accelerator is None,
    )
    on_cpu = choose_precision("", bf16=None, fp16=None, launched="", use_cpu=True)
    nccl = torch.distributed.is_available() and torch.distributed.is_nccl_available() and available
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "hip": torch.version.hip,
        "cuda_available": available,
        "cuda_warning": " ".join(str(w.message) for w in said)[:300],
        "arch_list": torch.cuda.get_arch_list() if available else [],
        "cudnn": torch.backends.cudnn.version() if available else None,
        "nccl": ".".join(map(str, torch.cuda.nccl.version())) if nccl else None,
        "gpus": [_gpu(i) for i in range(torch.cuda.device_count())] if available else [],
        "accelerator": accelerator and accelerator.type,
        "accelerator_count": torch.accelerator.device_count() if accelerator else 0,
        "precision": chosen.mixed_precision,
        "precision_reason": chosen.reason,
        "cpu_bf16": on_cpu.mixed_precision == "bf16",
        "threads": torch.get_num_threads(),
    }


def _gpu(index: int) -> dict:
    import torch

    with torch.cuda.device(index):
        free, total = torch.cuda.mem_get_info()
        return {
            "name": torch.cuda.get_device_name(),
            "free_bytes": free,
            "total_bytes": total,
            "compute_capability": torch.cuda.get_device_capability(),
            "bf16": torch.cuda.is_bf16_supported(including_emulation=False),
        }


def speed_facts(device: str, mixed_precision: str) -> dict:
    """Time one device; see `timing`."""
    from hf_kit.doctor.timing import measure

    return measure(device, mixed_precision)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
