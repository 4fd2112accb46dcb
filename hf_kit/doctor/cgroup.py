"""What a container or a scheduler lets this process use, which is often less than what the machine has (Linux).

Read from control groups, version 2 (`cpu.max`, `memory.max`) and version 1 (`cpu.cfs_quota_us`,
`memory.limit_in_bytes`). A group's limit binds everything below it, so the tightest one on the way up counts.
"""

from collections.abc import Iterator
from pathlib import Path


def cpu_limit(root: Path = Path("/")) -> float | None:
    """How many cores' worth of time this process may use; `None` without a limit."""
    limits = []
    for folder in _folders(root, "cpu"):
        quota, *period = _read(folder / "cpu.max").split() or _read(folder / "cpu.cfs_quota_us").split() or ["max"]
        period = period or _read(folder / "cpu.cfs_period_us").split()
        if quota not in ("max", "-1") and period:
            limits.append(int(quota) / int(period[0]))
    return min(limits, default=None)


def memory_left(root: Path = Path("/")) -> int | None:
    """Bytes this process's groups may still take; `None` without a limit. File caches count as free."""
    left = []
    for folder in _folders(root, "memory"):
        limit = _read(folder / "memory.max") or _read(folder / "memory.limit_in_bytes")
        used = _read(folder / "memory.current") or _read(folder / "memory.usage_in_bytes")
        # Version 1 says "no limit" with a number near 2**63.
        if limit.isdigit() and used.isdigit() and int(limit) < 2**60:
            stat = dict(line.split() for line in _read(folder / "memory.stat").splitlines())
            left.append(int(limit) - int(used) + int(stat.get("total_inactive_file", stat.get("inactive_file", 0))))
    return min(left, default=None)


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """The group of this process and those above it, per hierarchy that may hold the controller."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mounts = [controllers, controller] if controllers else ["", "unified"]
        for top in {root / "sys/fs/cgroup" / mount for mount in mounts}:
            # In a container the path may be the host's; its own group is then the top of the mount.
            group = Path(path.lstrip("/"))
            yield from (top / folder for folder in (group, *group.parents))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
