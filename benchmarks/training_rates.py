"""Variants of a training run side by side, as rates: what the scripts that compare trainings share."""

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import side_by_side
from side_by_side import column, markdown_table, ratios, spread

KIT = "kit"  # the variant that the others are compared with
EXPLAINED = (
    "Outside the model: all but forward pass and loss, backward pass and optimizer step. Peak anonymous: memory that "
    "no file backs, of the whole process, loading and tokenizing included. Speed of hf_kit / this: within a round."
)


def measure(
    variants: Sequence[str], repeats: int, folder: Path, flops: Callable[[dict], float]
) -> tuple[dict[str, list[dict]], float]:
    """Run the script's variants in turn, the machine's matrix rate among them.

    Args:
        flops: of a measured epoch, from the numbers that its process wrote.

    Returns:
        `{variant: [numbers]}` with rates and `share` of the matrix rate, and that rate, the best one of all rounds.
    """
    own = {
        name: lambda name=name: side_by_side.measure_self(name, folder, ["--folder", str(folder)]) for name in variants
    }
    runs = side_by_side.in_turn({"matrix": lambda: side_by_side.matrix_rate(folder)} | own, repeats, tell="seconds")
    best = max(column(runs.pop("matrix"), "bf16_flops"))
    everyone = list(chain(*runs.values()))
    tokens = {numbers["tokens"] for numbers in everyone}
    assert len(tokens) == 1, f"the variants did not train on the same tokens: {tokens}"
    for numbers in everyone:
        numbers |= rates(numbers, flops(numbers), best)
        del numbers["lengths"]
    return runs, best


def rates(numbers: dict, flops: float, best: float) -> dict:
    """A measured epoch's rates; `outside` is the share of its time spent outside the model, where it is known."""
    seconds = numbers["seconds"]
    out = {
        "examples_per_second": numbers["rows"] / seconds,
        "tokens_per_second": numbers["tokens"] / seconds,
        "step_ms": 1000 * seconds / numbers["steps"],
        "share": flops / seconds / best,
    }
    if "inside_seconds" in numbers:
        out["outside"] = 1 - numbers["inside_seconds"] / seconds
    return out


def table(runs: dict[str, list[dict]], names: dict[str, str]) -> str:
    head = ["variant", "ms a step", "examples/s", "real tokens/s", "speed of hf_kit / this", "share of bf16 rate"]
    head += ["outside the model", "peak anonymous MB"]
    lines = []
    for name, own in runs.items():
        lines.append(
            [
                names[name],
                f"{spread(column(own, 'step_ms')):,.0f}",
                f"{spread(column(own, 'examples_per_second')):,.1f}",
                f"{spread(column(own, 'tokens_per_second')):,.0f}",
                "" if name == KIT else f"{ratios(column(own, 'seconds'), column(runs[KIT], 'seconds')):.2f}",
                f"{spread(column(own, 'share')):.1%}",
                f"{spread(column(own, 'outside')):.1%}" if "outside" in own[0] else "",
                f"{spread(column(own, 'peak_anonymous_mb')):,.0f}",
            ]
        )
    return markdown_table(head, lines)


def about(what: str, numbers: dict, repeats: int, warmup: int, formula: str, best: float) -> list[str]:
    """What a reader has to know of the table."""
    return [
        f"{what}: {numbers['rows']:,} rows, {numbers['tokens']:,} real tokens, each row once after {warmup} steps of "
        f"warm-up. Median (least..most) of {repeats} rounds, every measurement a process of its own, the variants in "
        "turn. Nothing is scored or saved meanwhile.",
        f"Share: {formula}, per second, over {best / 1e9:,.0f} GFLOP/s, the best bf16 product of "
        f"{side_by_side.MATRIX} x {side_by_side.MATRIX} matrices in this run. {EXPLAINED}",
    ]


def draw(name: str, runs: dict[str, list[dict]], names: dict[str, str]) -> None:
    panels = {"real tokens/s": "tokens_per_second", "share of bf16 rate": "share", "peak MB": "peak_anonymous_mb"}
    bars = {title: {names[n]: column(own, key) for n, own in runs.items()} for title, key in panels.items()}
    side_by_side.draw(name, bars)
