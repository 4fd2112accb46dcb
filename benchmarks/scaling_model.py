"""A step's time on n devices as compute + host + exchange: held against what was measured, then carried further.

    python benchmarks/scaling_model.py

Nothing is trained: it reads `scaling.json` (made with `--apart`) and `communication.json`, and writes
`scaling_model.md` and `.json`; `docs/scaling.md` explains both.

The part that is held against measurements: n processes on this machine take the time of as many that exchange nothing,
and what one all-reduce of all gradients takes by the fit (on CPUs nothing of it hides behind the backward pass: the
same cores compute both).

The part that is carried further has no measurement behind it here, but figures of the hardware and of what is reached
of them, all of them in `GPU`, `NODE` and `NETWORK` below with their sources. Compute: 6 x parameters x tokens
operations a step. Host: launching a layer's kernels, the loop of `Trainer`, the optimizer. Exchange: gradients in
float32 (their format while weights are float32), in a ring among the GPUs of a node and another among nodes, hidden
behind the backward pass but for the last bucket of 25 MB.
"""

import json
import statistics
import sys
from dataclasses import dataclass

import side_by_side
from side_by_side import HERE, markdown_table


@dataclass(frozen=True)
class Device:
    flops: float  # a second, dense bf16
    share: float  # of them that training reaches
    launch: float  # seconds of host time for one layer, forward and backward and its part of the optimizer
    step: float  # seconds of host time for a step beside that


@dataclass(frozen=True)
class Link:
    rate: float  # bytes a second and GPU, in one direction
    share: float  # of them that an all-reduce reaches
    hop: float  # seconds


# 989e12: NVIDIA's data sheet of the H100 SXM. The rest is assumed: 35 % is common for encoders of this size, and 60
# kernels a layer at 5 us each.
GPU = Device(flops=989e12, share=0.35, launch=300e-6, step=4e-3)
# 900 GB/s in both directions together, NVLink 4, and 8 x 400 Gb/s of InfiniBand for 8 GPUs: data sheet of the DGX H100.
# What is reached of them, and the time for a hop, are assumed.
NODE = Link(rate=450e9, share=0.75, hop=3e-6)
NETWORK = Link(rate=50e9, share=0.8, hop=10e-6)
A_NODE = 8  # GPUs
BUCKET = 25 * 2**20  # bytes: DistributedDataParallel's
BACKWARD = 2 / 3  # of the operations


@dataclass(frozen=True)
class Work:
    name: str
    computed: float  # parameters that every token is multiplied by
    exchanged: float  # trained parameters
    layers: int
    tokens: int  # a GPU and step


WORKS = [
    Work("MiniLM-L6, 32 texts of 128 tokens", 10.6e6, 22.7e6, 6, 32 * 128),
    Work("BERT-base, 32 texts of 128 tokens", 85e6, 110e6, 12, 32 * 128),
    Work("XLM-R large, 16 texts of 512 tokens", 303e6, 560e6, 24, 16 * 512),
    Work("XLM-R large, LoRA", 303e6, 4e6, 24, 16 * 512),
]
GPUS = [1, 8, 64, 512]


def main() -> int:
    side_by_side.parser(__doc__, repeats=1).parse_args()
    scaling = json.loads((HERE / "scaling.json").read_text())
    exchange = json.loads((HERE / "communication.json").read_text())
    held = held_against(scaling, exchange)
    ahead = [{"work": work.name, "gpus": n, **predicted(work, n)} for work in WORKS for n in GPUS]
    first = [
        [
            row["work"],
            str(row["processes"]),
            *(f"{1000 * row[key]:.0f}" for key in ("one", "apart", "exchange", "predicted", "measured")),
            f"{row['predicted'] / row['measured'] - 1:+.0%}",
        ]
        for row in held
    ]
    second = [
        [
            row["work"],
            str(row["gpus"]),
            *(f"{1000 * row[key]:.1f}" for key in ("compute", "host", "exchange", "exposed", "step")),
            f"{row['efficiency']:.0%}",
            f"{row['tokens_a_second']:,.0f}",
        ]
        for row in ahead
    ]
    about = ["Milliseconds a step. First: measured, and what the model makes of it. Second: predicted, not measured."]
    tables = [
        markdown_table(
            ["work", "processes", "one process", "apart", "exchange", "predicted", "measured", "off by"], first
        ),
        markdown_table(
            ["work", "GPUs", "compute", "host", "exchange", "not hidden", "step", "of n times one", "tokens/s"], second
        ),
    ]
    side_by_side.write_results("scaling_model", about, tables, {"held_against": held, "predicted": ahead})
    return 0


def held_against(scaling: dict, exchange: dict) -> list[dict]:
    """Seconds a step of every measured work on several processes, predicted and measured."""
    out = []
    for name, own in scaling["runs"].items():
        work, n, *apart = name.split("-")
        if apart or n == "1" or n not in exchange["fits"]:
            continue
        step = {
            key: statistics.median(run["seconds"] / run["steps"] for run in scaling["runs"][of])
            for key, of in {"one": f"{work}-1", "apart": f"{name}-apart", "measured": name}.items()
        }
        taken = ring(4 * own[0]["parameters"], int(n), exchange["fits"][n]["rate"]) + exchange["fits"][n]["start"]
        row = {"work": work, "processes": int(n), "exchange": taken, "predicted": step["apart"] + taken}
        out.append(row | step)
    return out


def ring(size: float, n: int, rate: float, hop: float = 0.0) -> float:
    """Seconds of an all-reduce of `size` bytes in a ring of `n`: each link carries 2 (n - 1) / n of them."""
    return 2 * (n - 1) / n * size / rate + 2 * (n - 1) * hop


def predicted(work: Work, gpus: int) -> dict[str, float]:
    """Seconds of a step's parts, and what share of `gpus` times one GPU's speed is left."""
    compute = 6 * work.computed * work.tokens / (GPU.flops * GPU.share)
    host = work.layers * GPU.launch + GPU.step
    size = 4 * work.exchanged
    exchange = all_reduce(size, gpus)
    last = all_reduce(min(size, BUCKET), gpus)
    alone = max(compute, host)  # the host runs ahead of the device, or the device waits for it
    exposed = 0.0 if gpus == 1 else max(last, exchange - BACKWARD * alone)
    step = alone + exposed
    parts = {"compute": compute, "host": host, "exchange": exchange, "exposed": exposed, "step": step}
    return parts | {"efficiency": alone / step, "tokens_a_second": gpus * work.tokens / step}


def all_reduce(size: float, gpus: int) -> float:
    """Within each node every GPU ends with its share of the sum; shares meet across nodes, and go round the node."""
    here = min(gpus, A_NODE)
    nodes = gpus // here
    inside = ring(size, here, NODE.rate * NODE.share, NODE.hop)
    return inside + (ring(size / here, nodes, NETWORK.rate * NETWORK.share, NETWORK.hop) if nodes > 1 else 0.0)


if __name__ == "__main__":
    sys.exit(main())
