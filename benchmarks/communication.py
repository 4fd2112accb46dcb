"""What exchanging gradients costs: gloo's all-reduce between processes of one machine, by size.

    python benchmarks/communication.py

Every size is reduced together again and again by 2 and by 4 processes of one thread each. To the medians of each number
of processes two numbers are fitted (least squares of the relative error), the model of Hockney 1994 (Parallel Computing
20): seconds = start + bytes / rate, where a ring takes 2 (n - 1) / n of the bytes over each link. Writes
`communication.md` and `.json` beside this file; `scaling_model.py` goes on from there.
"""

import json
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import side_by_side
from side_by_side import markdown_table, spread

SIZES = [2**k for k in range(12, 28, 3)]  # float32 numbers: 16 KiB to 512 MiB
SECONDS = 2.0  # for each size
LEAST = 3  # reductions


def main() -> int:
    parser = side_by_side.parser(__doc__, repeats=3)
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4], help="default: 2 4")
    flags = parser.parse_args()
    if flags.measure:
        reduce_together(flags.result)
        return 0
    with tempfile.TemporaryDirectory(prefix="communication_") as folder:
        turn = {str(n): partial(launch, n, Path(folder)) for n in flags.processes}
        runs = side_by_side.in_turn(turn, flags.repeats)
    fits = {n: fit(own, int(n)) for n, own in runs.items()}
    table = [
        [n, f"{4 * size / 1e6:,.3f}", f"{spread([1000 * run['seconds'][i] for run in own]):.2f}"]
        for n, own in runs.items()
        for i, size in enumerate(SIZES)
    ]
    fitted = [[n, f"{1e3 * f['start']:.2f}", f"{f['rate'] / 1e9:.2f}", f"{f['off']:.0%}"] for n, f in fits.items()]
    about = [
        f"Float32, processes of one thread each. Medians (least..most) of {flags.repeats} rounds, each the median of "
        f"{SECONDS:.0f} s. Fitted: start and rate; off: the median distance of the fit from what was measured."
    ]
    tables = [
        markdown_table(["processes", "MB", "ms"], table),
        markdown_table(["processes", "start ms", "rate GB/s a link", "off"], fitted),
    ]
    side_by_side.write_results("communication", about, tables, {"sizes": SIZES, "runs": runs, "fits": fits})
    return 0


def launch(processes: int, folder: Path) -> dict:
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    seen = side_by_side.watched([*torchrun, __file__, "--measure", "all", "--result", str(result)], folder)
    return json.loads(result.read_text()) | seen


def reduce_together(result: Path) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    seconds = []
    for size in SIZES:
        numbers, taken = torch.ones(size), []
        dist.all_reduce(numbers)
        until, going = time.perf_counter() + SECONDS, torch.ones(1)
        while going.item():
            dist.barrier()
            start = time.perf_counter()
            dist.all_reduce(numbers.fill_(1))
            taken.append(time.perf_counter() - start)
            going.fill_(len(taken) < LEAST or time.perf_counter() < until)
            dist.broadcast(going, 0)  # all stop together
        seconds.append(statistics.median(taken))
    if dist.get_rank() == 0:
        result.write_text(json.dumps({"seconds": seconds}))
    dist.destroy_process_group()


def fit(runs: list[dict], processes: int) -> dict[str, float]:
    """`start` in seconds and `rate` in bytes a second over each link of a ring."""
    seconds = np.array([statistics.median(run["seconds"][i] for run in runs) for i in range(len(SIZES))])
    over_links = 4 * np.array(SIZES) * 2 * (processes - 1) / processes
    both = np.stack([np.ones(len(SIZES)), over_links], axis=1) / seconds[:, None]  # relative: small sizes count as much
    (start, each), *_ = np.linalg.lstsq(both, np.ones(len(SIZES)), rcond=None)
    off = np.abs(start + over_links * each - seconds) / seconds
    return {"start": float(start), "rate": float(1 / each), "off": float(np.median(off))}


if __name__ == "__main__":
    sys.exit(main())
