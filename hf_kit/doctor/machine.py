"""Python, cores, memory and disk: what a run needs whatever it trains."""

import math
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

from hf_kit.doctor.cgroup import cpu_limit, memory_left
from hf_kit.doctor.finding import ERROR, OK, WARNING, Finding

GIB = 2**30
# Importing torch, transformers and datasets takes about 0.7 GiB; a base-size encoder trains in about 4 (its 110 M
# float32 weights, their gradients and Adam's two averages are 1.8, the rest is activations).
MEMORY_NEEDED, MEMORY_WISHED = 1 * GIB, 4 * GIB
# The quickstart writes some 30 MB; a base-size encoder's checkpoint is 1.3 GB and two are kept beside the model.
DISK_NEEDED, DISK_WISHED = GIB // 4, 5 * GIB


def python(requires: str | None) -> list[Finding]:
    """The interpreter against the kit's `Requires-Python`."""
    from packaging.specifiers import SpecifierSet

    version = "{}.{}.{}".format(*sys.version_info)
    found = f"{version} on {platform.system()} {platform.machine()}"
    values = {"version": version, "executable": sys.executable, "platform": platform.platform(), "tested": requires}
    if SpecifierSet(requires or "").contains(version, prereleases=True):
        return [Finding("python", OK, found, values=values)]
    commands = ("python3.12 -m venv .venv && . .venv/bin/activate",)
    return [Finding("python", ERROR, found, f"the kit needs Python {requires}", commands, values)]


def cores(root: Path = Path("/")) -> list[Finding]:
    """Cores of the machine, and how many of them this process may use."""
    import psutil

    logical, physical = psutil.cpu_count() or 1, psutil.cpu_count(logical=False)
    limit, usable = cpu_limit(root), usable_cores(root)
    found = f"{physical or 'unknown'} physical, {logical} logical"
    if limit is not None and limit < logical:
        found += f"; a cgroup limits this process to {limit:g}"
    elif usable < logical:
        found += f"; this process may use {usable}"
    values = {"physical": physical, "logical": logical, "cgroup_limit": limit, "usable": usable}
    return [Finding("cores", OK, found, values=values)]


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may keep busy: the machine's, less affinity and cgroup limit."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(count, math.ceil(cpu_limit(root) or count)))


def memory(root: Path = Path("/")) -> list[Finding]:
    """Memory of the machine, and what is left for this process."""
    import psutil

    total, available = psutil.virtual_memory().total, psutil.virtual_memory().available
    left = memory_left(root)
    free = available if left is None else min(available, max(left, 0))
    found = f"{free / GIB:.1f} GiB free of {total / GIB:.1f}"
    if left is not None and left < available:
        found += ", as a cgroup allows"
    values = {"total_bytes": total, "free_bytes": free, "cgroup_left_bytes": left}
    if free >= MEMORY_WISHED:
        return [Finding("memory", OK, found, values=values)]
    if free >= MEMORY_NEEDED:
        advice = f"enough for an LSTM; a base-size pretrained model wants {MEMORY_WISHED // GIB} GiB"
        commands = ("hf-kit train RECIPE.yaml --per_device_train_batch_size 4 --gradient_accumulation_steps 8",)
        return [Finding("memory", WARNING, found, advice, commands, values)]
    advice = f"a run needs {MEMORY_NEEDED // GIB} GiB at the very least: close what uses most, or raise the limit"
    return [Finding("memory", ERROR, found, advice, ("ps aux --sort=-rss | head",), values)]


def disk_here() -> list[Finding]:
    """The disk that run folders are written to by default."""
    remedy = ("cd A_FOLDER_WITH_ROOM", "hf-kit train RECIPE.yaml --output_dir A_FOLDER_WITH_ROOM/run")
    return [_disk("disk (run folders)", Path.cwd(), ERROR, remedy)]


def disk_of_caches() -> list[Finding]:
    """The disks that downloaded models and prepared data go to."""
    from huggingface_hub import constants

    data = os.environ.get("HF_DATASETS_CACHE") or os.path.join(constants.HF_HOME, "datasets")
    # Without a place for prepared data nothing trains; without one for downloads, local models still do.
    return [
        _disk("disk (Hub cache)", Path(constants.HF_HUB_CACHE), WARNING, ("export HF_HOME=A_FOLDER_WITH_ROOM",)),
        _disk("disk (data cache)", Path(data), ERROR, ("export HF_HOME=A_FOLDER_WITH_ROOM",)),
    ]


def _disk(check: str, folder: Path, severity: str, commands: tuple[str, ...]) -> Finding:
    # What is not there yet will be made: its nearest parent tells.
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free
    found = f"{free / GIB:.0f} GiB free at {folder}" if free >= GIB else f"{free / 2**20:.0f} MiB free at {folder}"
    values = {"folder": str(folder), "free_bytes": free}
    try:
        # Permission bits do not tell of read-only mounts and quotas; writing does.
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"0" * 65536)
    except OSError as reason:
        return Finding(check, severity, found, f"{there} cannot be written: {reason.strerror}", commands, values)
    if free < DISK_NEEDED:
        return Finding(check, severity, found, "too full to write a run", commands, values)
    if free < DISK_WISHED:
        advice = f"room for small models; a base-size one with its checkpoints wants {DISK_WISHED // GIB} GiB"
        return Finding(check, WARNING, found, advice, commands, values)
    return Finding(check, OK, found, values=values)
