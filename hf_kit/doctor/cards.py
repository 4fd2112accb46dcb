"""Graphics cards as the machine shows them, whether or not torch can use them: the PCI bus and `nvidia-smi`."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

NVIDIA, AMD = "0x10de", "0x1002"
SMI_FIELDS = ("name", "driver_version", "memory.total", "compute_cap")


@dataclass(frozen=True)
class Smi:
    """What `nvidia-smi` says. `cuda` is the newest CUDA that the driver takes; `error` why there is no answer."""

    driver: str | None = None
    cuda: str | None = None
    gpus: list[dict] = field(default_factory=list)
    error: str | None = None


def on_the_bus(vendor: str, root: Path = Path("/")) -> int:
    """How many display or compute cards of a vendor the PCI bus holds (Linux; 0 elsewhere)."""
    devices = (root / "sys/bus/pci/devices").glob("*")
    return sum(_word(d / "vendor") == vendor and _word(d / "class").startswith("0x03") for d in devices)


def kernel_driver(root: Path = Path("/")) -> str | None:
    """Version of the NVIDIA kernel module that is loaded; in a container it is the host's."""
    match = re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", _text(root / "proc/driver/nvidia/version"))
    return match[1] if match else None


def in_container(root: Path = Path("/")) -> bool:
    """Docker, Podman or Kubernetes."""
    marks = [root / ".dockerenv", root / "run/.containerenv"]
    groups = _text(root / "proc/1/cgroup")
    return any(m.exists() for m in marks) or any(w in groups for w in ("docker", "kubepods", "containerd", "libpod"))


def in_wsl(root: Path = Path("/")) -> bool:
    """Linux inside Windows, where the driver is Windows' own."""
    return "microsoft" in _text(root / "proc/sys/kernel/osrelease").lower()


def ask_nvidia_smi() -> Smi | None:
    """Run `nvidia-smi`; `None` where there is none."""
    # WSL keeps it where few look.
    program = shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path="/usr/lib/wsl/lib")
    if program is None:
        return None
    plain = _run([program])
    if isinstance(plain, str):
        return Smi(error=plain)
    query = _run([program, f"--query-gpu={','.join(SMI_FIELDS)}", "--format=csv,noheader,nounits"])
    if isinstance(query, str) or query.returncode:
        # Drivers before 510 do not know the last field.
        query = _run([program, f"--query-gpu={','.join(SMI_FIELDS[:-1])}", "--format=csv,noheader,nounits"])
    return parse_smi(plain.stdout + plain.stderr, plain.returncode, "" if isinstance(query, str) else query.stdout)


def parse_smi(plain: str, status: int, query: str) -> Smi:
    """Read the heading of `nvidia-smi` and the rows of its query."""
    driver = re.search(r"Driver Version:\s*(\d[\d.]*)", plain)
    cuda = re.search(r"CUDA (?:UMD )?Version:\s*(\d[\d.]*)", plain)
    if status or not driver:
        lines = [line.strip() for line in plain.splitlines() if line.strip()]
        return Smi(error=" ".join(lines[:2])[:200] or f"it ended with status {status}")
    gpus = []
    for line in query.splitlines():
        values = [value.strip() for value in line.split(",")]
        if len(values) >= 3:
            memory = int(values[2]) * 2**20 if values[2].isdigit() else None
            capability = values[3] if len(values) > 3 else None
            gpus.append({"name": values[0], "memory_bytes": memory, "compute_capability": capability})
    return Smi(driver=driver[1], cuda=cuda[1] if cuda else None, gpus=gpus)


def _run(command: list[str]) -> subprocess.CompletedProcess | str:
    # A card that has fallen off the bus lets nvidia-smi hang.
    environment = os.environ | {"LC_ALL": "C"}
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=10, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        return "nvidia-smi did not answer in 10 seconds"
    except OSError as reason:
        return f"nvidia-smi cannot be started: {reason.strerror}"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _word(path: Path) -> str:
    return _text(path).strip().lower()
