"""What machines that are not this one show to `hf-kit doctor`: files, answers of nvidia-smi, facts of torch."""

from pathlib import Path

from hf_kit.doctor import cards
from hf_kit.doctor.finding import Finding

WANTED = "torch<2.14,>=2.10"
TORCH = {
    "version": "2.13.0+cpu",
    "cuda": None,
    "hip": None,
    "cuda_available": False,
    "cuda_warning": "",
    "arch_list": [],
    "cudnn": None,
    "nccl": None,
    "gpus": [],
    "accelerator": None,
    "accelerator_count": 0,
    "precision": "no",
    "precision_reason": "this CPU has no bf16 instructions",
    "cpu_bf16": False,
    "threads": 2,
}
CARD = {
    "name": "NVIDIA A10",
    "free_bytes": 20 * 2**30,
    "total_bytes": 22 * 2**30,
    "compute_capability": (8, 6),
    "bf16": True,
}
CUDA_TORCH = TORCH | {
    "version": "2.13.0+cu130",
    "cuda": "13.0",
    "cuda_available": True,
    "arch_list": ["sm_75", "sm_80", "sm_86", "sm_90", "compute_120"],
    "cudnn": 91002,
    "nccl": "2.28.9",
    "gpus": [CARD],
    "accelerator": "cuda",
    "accelerator_count": 1,
}
SMI = """\
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 560.35.03              Driver Version: 560.35.03      CUDA Version: 12.6     |
|-----------------------------------------+------------------------+----------------------+
"""
CPU_SPEED = {
    "relative_error": {"fp32": 1e-7, "bf16": 4e-3},
    "fp32": 100e9,
    "bf16": 300e9,
    "copy": 20e9,
    "threads": 2,
    "fp32_one_thread": 52e9,
}
GPU_SPEED = {
    "relative_error": {"fp32": 1e-4, "bf16": 4e-3},
    "fp32": 18e12,
    "bf16": 70e12,
    "copy": 480e9,
    "upload": 12e9,
}


def files(root: Path, **texts: str) -> Path:
    """Write files below `root`; the names are paths."""
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def bus(root: Path, vendor: str, kind: str = "0x030000") -> Path:
    return files(root, **{f"sys/bus/pci/devices/0000:01:00.0/{k}": v for k, v in (("vendor", vendor), ("class", kind))})


def smi(cuda: str = "13.0") -> cards.Smi:
    return cards.Smi(driver="580.65.06", cuda=cuda, gpus=[])


def statuses(findings: list[Finding]) -> dict[str, str]:
    return {f.check: f.status for f in findings}
