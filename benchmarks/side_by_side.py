"""Variants of the same work side by side: every measurement a fresh process, in turn (A B C A B C ...), medians.

A script calls itself once per measurement, with `--measure VARIANT --result FILE` behind its own flags; that process
does the work and writes its numbers, as JSON, to FILE. Its memory is watched from outside, so that nothing of the
watching runs in it.
"""

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

HERE = Path(__file__).parent
WATCH = 0.1  # seconds between two looks at a process: each costs the machine about 2 ms
MATRIX = 2048
MATRIX_SECONDS = 3


class Spread(NamedTuple):
    median: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}} ({self.low:{spec}}..{self.high:{spec}})"


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def ratios(over: Sequence[float], under: Sequence[float]) -> Spread:
    """`over / under`, round by round: what slows the machine down for a while slows both down."""
    return spread([a / b for a, b in zip(over, under, strict=True)])


def column(runs: list[dict], name: str) -> list[float]:
    return [run[name] for run in runs]


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def parser(doc: str, repeats: int) -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("--repeats", type=int, default=repeats, help=f"rounds over all variants (default {repeats})")
    out.add_argument("--measure", help=argparse.SUPPRESS)
    out.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    return out


def needed(name: str) -> str:
    """The value of an environment variable without which nothing can be measured."""
    if name not in os.environ:
        sys.exit(f"set {name} (what it is stands in benchmarks/README.md)")
    return os.environ[name]


def evenly(lines: Sequence[str], count: int) -> list[str]:
    """`count` of the lines, drawn evenly: files are often sorted by class."""
    count = min(count, len(lines))
    return [lines[i * len(lines) // count] for i in range(count)]


def data_lines(*names: str) -> list[str]:
    """The lines of a file below HF_KIT_DATA."""
    with Path(needed("HF_KIT_DATA"), *names).open(encoding="utf-8", newline="\n") as file:  # reviews hold odd line ends
        return list(file)


def anonymous_bytes(process: psutil.Process) -> int:
    """Memory of a process and its children that no file backs (RssAnon); 0 where the system does not tell."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            lines = Path(f"/proc/{one.pid}/status").read_text().splitlines()
        except OSError:  # it has ended, or there is no /proc
            continue
        total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))
    return total


def watched(command: Sequence[str], folder: Path, on_line: Callable[[str, float], None] | None = None) -> dict:
    """Run a command to its end: `process_seconds` and `peak_anonymous_mb`; its output goes to `folder/log`.

    Args:
        on_line: called with each line of output and the seconds since the start.

    Raises:
        SystemExit: the command failed; the end of its output is shown.
    """
    log = folder / "log"
    start, peak, read = time.perf_counter(), 0, 0
    with log.open("w") as output:
        process = psutil.Popen(list(command), stdout=output, stderr=subprocess.STDOUT)
    try:
        while True:
            ended = process.poll() is not None
            seconds = time.perf_counter() - start
            if on_line:
                with log.open(errors="replace") as lines:
                    lines.seek(read)
                    while (line := lines.readline()).endswith("\n"):
                        on_line(line.rstrip("\n"), seconds)
                        read = lines.tell()
            if ended:
                break
            with suppress(psutil.NoSuchProcess):  # it has just ended
                peak = max(peak, anonymous_bytes(process))
            time.sleep(WATCH)
    finally:
        if process.poll() is None:  # we were interrupted
            process.kill()
    if process.returncode:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
        sys.exit(f"\n{end}\n\nfailed with status {process.returncode}: {shlex.join(command)}")
    return {"process_seconds": seconds, "peak_anonymous_mb": peak / 1e6}


def measure_self(variant: str, folder: Path, extra: Sequence[str] = ()) -> dict:
    """This script again, as the process that measures `variant`: what it wrote, and what `watched` saw."""
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    command = [sys.executable, *sys.argv, *extra, "--measure", variant, "--result", str(result)]
    seen = watched(command, folder)
    return json.loads(result.read_text()) | seen


def finish(numbers: dict, result: Path) -> None:
    """Write what was measured and end the process, whatever its library would do next."""
    result.write_text(json.dumps(numbers))
    os._exit(0)


def in_turn(variants: dict[str, Callable[[], dict]], repeats: int, tell: str = "process_seconds") -> dict:
    """`{variant: [numbers of each round]}`, round by round.

    Args:
        tell: the number shown while this runs.
    """
    runs: dict[str, list[dict]] = {name: [] for name in variants}
    for turn in range(repeats):
        for name, measure in variants.items():
            numbers = measure()
            runs[name].append(numbers)
            shown = numbers.get(tell, numbers["process_seconds"])
            what = tell if tell in numbers else "process_seconds"
            print(f"round {turn + 1}/{repeats}  {name:24s} {what} {shown:,.2f}", flush=True)
    return runs


def matrix_rate(folder: Path) -> dict:
    """`bf16_flops`: the best rate of a square bf16 product here and now, from a process of its own."""
    result = folder / "result.json"
    seen = watched([sys.executable, str(HERE / "side_by_side.py"), str(result)], folder)
    return json.loads(result.read_text()) | seen


def measure_matrix_rate() -> float:
    """FLOP/s (multiply-adds counted twice) of the fastest of the bf16 products that fit into some seconds."""
    import torch

    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    a, b = (torch.randn(MATRIX, MATRIX).to(device, torch.bfloat16) for _ in range(2))  # [n, n]
    out, best, until = torch.empty_like(a), float("inf"), time.perf_counter() + MATRIX_SECONDS
    while time.perf_counter() < until:
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        if device.type != "cpu":
            torch.accelerator.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * MATRIX**3 / best


def machine() -> str:
    """One line: processor, cores, threads asked for, versions."""
    import torch
    import transformers

    cpuinfo = Path("/proc/cpuinfo")
    names = [line for line in cpuinfo.read_text().splitlines() if "model name" in line] if cpuinfo.exists() else []
    name = names[0].split(":")[1].strip() if names else platform.machine()
    return (
        f"{name}, {psutil.cpu_count()} cores ({torch.get_num_threads()} threads), Python {platform.python_version()}, "
        f"torch {torch.__version__}, transformers {transformers.__version__}"
    )


def write_results(name: str, about: Sequence[str], tables: Sequence[str], data: dict) -> None:
    """`<name>.md` and `<name>.json` beside the scripts; the tables are printed as well."""
    command = shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    here = machine()
    parts = [f"Made by `{command}` on {here}.", *about, *tables]
    (HERE / f"{name}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    (HERE / f"{name}.json").write_text(json.dumps({"command": command, "machine": here} | data, indent=2) + "\n")
    print("\n" + "\n\n".join(tables))


def draw(name: str, panels: dict[str, dict[str, Sequence[float]]]) -> None:
    """`<name>.png`: a panel per quantity, a bar per variant, its whiskers from the least to the most.

    Args:
        panels: `{quantity with its unit: {variant: values}}`.
    """
    from matplotlib.figure import Figure

    rows = max(len(bars) for bars in panels.values())
    figure = Figure(figsize=(2.6 * len(panels) + 3.6, 0.45 * rows + 1.1), layout="constrained")
    places = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (quantity, bars) in zip(places, panels.items(), strict=True):
        for place, (variant, values) in enumerate(reversed(bars.items())):
            middle, low, high = spread(values)
            colour = "#0072B2" if variant.startswith("hf_kit") else "0.65"
            axes.barh(place, middle, xerr=[[middle - low], [high - middle]], color=colour, capsize=3)
            shown = f"{middle:,.0f}" if middle >= 100 else f"{middle:.3g}"
            axes.annotate(f"  {shown}", (high, place), va="center", size=8)
        axes.set_yticks(range(len(bars)), list(reversed(bars)), size=8)
        axes.set_title(quantity, size=9)
        axes.margins(x=0.3)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(HERE / f"{name}.png", dpi=150)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps({"bf16_flops": measure_matrix_rate()}))
