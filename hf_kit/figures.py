"""Pictures of a run: the confusion matrix, the learning curves, predicted against true numbers.

Each is drawn on a `matplotlib.figure.Figure` of its own instead of through pyplot, so that no window, backend or
current figure of a notebook is touched. Colours are those of Okabe and Ito ("Color Universal Design",
https://jfly.uni-koeln.de/color) and one-hue scales, which survive colour blindness and grey printing.
matplotlib is imported at the first call.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
DPI = 150
MOST_NAMED_CLASSES = 20  # more names, or counts in the cells, could not be read
LONGEST_NAME = 29
LENGTH_BINS = 6  # of about equally many rows
NUMBERED = "The numbers are the places in run.json's list of label names, from 0."
TIMINGS = ("runtime", "samples_per_second", "steps_per_second")


def confusion_matrix_figure(
    labels: Sequence[int], predictions: Sequence[int], names: Sequence[str], path: str | Path
) -> None:
    """How often each label was taken for each other one, as a PNG.

    Cells are coloured by their share of the true label's rows and, up to 20 classes, show the number of rows. Classes
    are numbered, and the picture says so, when there are more, when the font lacks a character of a name, or when two
    names look the same after long ones were cut in the middle.

    Args:
        labels, predictions: [n] label ids, the true ones and the model's.
        names: [c] label names in the order of the ids.
        path: the file to write.
    """
    from matplotlib.colors import Normalize, PowerNorm

    c = len(names)
    pairs = np.asarray(labels, dtype=np.int64) * c + np.asarray(predictions, dtype=np.int64)  # [n]
    counts = np.bincount(pairs, minlength=c * c).reshape(c, c)  # [c, c]
    rows = counts.sum(axis=1, keepdims=True)  # [c, 1]
    shares = counts / np.maximum(rows, 1)  # [c, c]
    few = c <= MOST_NAMED_CLASSES
    ticks = [_shortened(name) for name in names]
    named = few and _font_has("".join(ticks)) and len(set(ticks)) == c
    if not named:
        ticks = [str(i) for i in range(c)]

    longest = max(len(tick) for tick in ticks)
    slanted = longest > 6
    side = max(3.2, 0.55 * c) if few else 7.0  # inches
    figure = _figure(side + 1.8 + 0.09 * longest, side + 1.2 + (0.06 * longest if slanted else 0))
    axes = figure.subplots()
    # Without counts in the cells a rare confusion must show by its colour alone: the scale's lower end is stretched.
    norm = Normalize(0, 1) if few else PowerNorm(0.5, 0, 1)
    image = axes.imshow(shares, cmap="Blues", norm=norm)
    bar = figure.colorbar(image, ax=axes, label="share of the true label's rows", shrink=0.85)
    bar.set_ticks([0, 0.2, 0.4, 0.6, 0.8, 1] if few else [0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1])
    axes.set(title=f"Confusion matrix of {counts.sum():,} rows", xlabel="predicted label", ylabel="true label")
    if few:
        # A dollar sign in a name is a dollar sign, not mathematics.
        axes.set_yticks(range(c), ticks, parse_math=False)
        axes.set_xticks(range(c), ticks, parse_math=False)
        if slanted:
            for tick in axes.get_xticklabels():
                tick.set(rotation=45, horizontalalignment="right", rotation_mode="anchor")
        for (i, j), count in np.ndenumerate(counts):
            axes.text(j, i, f"{count:,}", ha="center", va="center", size=9, color="w" if shares[i, j] > 0.5 else "k")
    if not named:
        figure.supxlabel(NUMBERED, size=9, color="0.3")
    figure.savefig(path, dpi=DPI)


def score_by_length_figure(lengths: np.ndarray, scores: np.ndarray, path: str | Path) -> None:
    """How well texts of each length are translated, as a PNG: quartiles of chrF, and how many there are.

    Args:
        lengths: characters of each source, `[n]`.
        scores: chrF of each translation alone, `[n]`, 0 to 100.
        path: the file to write.
    """
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, LENGTH_BINS + 1)).astype(int))
    bins = [(low, high) for low, high in pairwise(edges)] or [(edges[0], edges[0] + 1)]
    groups = [
        scores[(lengths >= low) & ((lengths <= high) if i == len(bins) - 1 else (lengths < high))]
        for i, (low, high) in enumerate(bins)
    ]
    names = [f"{low} to {high if i == len(bins) - 1 else high - 1}" for i, (low, high) in enumerate(bins)]
    figure = _figure(7, 4)
    axes = figure.subplots()
    drawn = axes.boxplot([group if len(group) else [np.nan] for group in groups], showfliers=False, patch_artist=True)
    for box in drawn["boxes"]:
        box.set(facecolor=BLUE, alpha=0.6)
    for line in drawn["medians"]:
        line.set(color="k")
    axes.set_xticks(
        range(1, len(groups) + 1), [f"{name}\n{len(g):,} rows" for name, g in zip(names, groups, strict=True)]
    )
    axes.set(title="Quality by length: quartiles of the rows' chrF", xlabel="characters of the source", ylabel="chrF")
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)
    figure.savefig(path, dpi=DPI)


def learning_curves_figure(
    log_history: list[dict[str, Any]], path: str | Path, metric: str | None = None, greater_is_better: bool = True
) -> None:
    """Training loss, validation loss and the score that chooses the model against the epoch, as a PNG.

    Args:
        log_history: `trainer.state.log_history`.
        path: the file to write.
        metric: the score, with or without `eval_`; the first one of the evaluations if it is not given.
        greater_is_better: whether the best epoch, which is marked, is the one with the greatest score.
    """
    metric = metric.removeprefix("eval_") if metric else _first_score(log_history)
    training, validation = _curve(log_history, "loss"), _curve(log_history, "eval_loss")
    scores = {} if metric == "loss" else _curve(log_history, f"eval_{metric}")
    chosen_by, choose = (scores, max if greater_is_better else min) if scores else (validation, min)

    figure = _figure(7, 6 if scores else 4)
    panels = figure.subplots(2 if scores else 1, sharex=True, squeeze=False)[:, 0]
    _draw(panels[0], training, "training", BLUE, marker="o" if len(training) < 30 else "")
    _draw(panels[0], validation, "validation", ORANGE, marker="s")
    panels[0].set(title="Learning curves", ylabel="loss")
    if scores:
        _draw(panels[1], scores, f"validation {metric}", GREEN, marker="D")
        panels[1].set(ylabel=metric)
    if chosen_by:
        best = choose(chosen_by, key=chosen_by.get)
        what = f"{metric if scores else 'validation loss'} {chosen_by[best]:.4f}"
        for panel in panels:
            panel.axvline(best, color="0.3", linestyle="--", linewidth=1, zorder=1.5)
        panels[-1].plot(
            best, chosen_by[best], "*", color="k", markersize=13, label=f"best: epoch {best:.3g}, {what}", zorder=3
        )
    last = max([*training, *validation, *scores], default=1)
    panels[-1].set(xlabel="epoch", xlim=(0, last * 1.03))
    panels[-1].xaxis.get_major_locator().set_params(integer=last >= 2)
    for panel in panels:
        panel.grid(color="0.9")
        panel.set_axisbelow(True)
        if panel.get_legend_handles_labels()[0]:
            panel.legend()
    figure.savefig(path, dpi=DPI)


def regression_figure(labels: Sequence[float], predictions: Sequence[float], path: str | Path) -> None:
    """Predicted against true numbers, [n] each in the unit of the labels, with the line where they agree, as a PNG."""
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    figure = _figure(5.5, 5.5)
    axes = figure.subplots()
    # Many points are drawn smaller and fainter, so that where they crowd together shows.
    crowd = min(1.0, 300 / len(labels))
    axes.scatter(labels, predictions, s=8 + 20 * crowd, alpha=0.2 + 0.5 * crowd, color=BLUE, linewidths=0)
    axes.axline((0, 0), slope=1, color="0.3", linestyle="--", label="predicted = true")
    both = np.concatenate([labels, predictions])
    margin = 0.05 * np.ptp(both) or 0.5
    limits = (both.min() - margin, both.max() + margin)
    axes.set(
        title=f"Predicted against true, {len(labels):,} rows",
        xlabel="true",
        ylabel="predicted",
        xlim=limits,
        ylim=limits,
        aspect="equal",
    )
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.legend(loc="upper left")
    figure.savefig(path, dpi=DPI)


def contact_sheet(
    images: Sequence[np.ndarray],
    captions: Sequence[tuple[str, str, float]],
    columns: int,
    title: str,
    path: str | Path,
) -> None:
    """Images side by side, each below its true label, the model's and how sure the model was, as a PNG.

    Args:
        images: `[h, w, 3]` uint8 each, of any size.
        columns: at most so many side by side.
        captions: of each image the true label, the predicted one, and its probability.
    """
    columns = max(3, min(columns, len(images)))  # the title needs some width
    rows = -(-len(images) // columns)
    figure = _figure(1.7 * columns, 2.2 * rows + 0.5)
    figure.suptitle(title)
    plain = _font_has("".join(name for true, guess, _ in captions for name in (true, guess)))
    for place, axes in enumerate(figure.subplots(rows, columns, squeeze=False).ravel()):
        axes.set_axis_off()
        if place < len(images):
            image = images[place]
            axes.imshow(image, interpolation="nearest" if max(image.shape[:2]) < 64 else "antialiased")
            true, guess, sure = captions[place]
            true, guess = (_shortened(name) if plain else "?" for name in (true, guess))
            text = f"is {true}\nsaid {guess}, {sure:.0%}"
            axes.set_title(text, size=8, parse_math=False)
    figure.savefig(path, dpi=DPI)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)  # inches of margin
    return figure


def _font_has(text: str) -> bool:
    """Whether the font file that matplotlib would draw `text` with holds all its characters."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return {ord(character) for character in text} <= set(get_font(findfont(FontProperties())).get_charmap())


def _shortened(name: str) -> str:
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[:half]}…{name[-half:]}"


def _curve(log_history: list[dict[str, Any]], key: str) -> dict[float, float]:
    """Epoch to value. The first of an epoch stays: a later one is that of the best model, reloaded at the end."""
    curve: dict[float, float] = {}
    for entry in log_history:
        if key in entry and math.isfinite(entry[key]):
            curve.setdefault(entry["epoch"], entry[key])
    return curve


def _first_score(log_history: list[dict[str, Any]]) -> str | None:
    names = [key.removeprefix("eval_") for entry in log_history for key in entry if key.startswith("eval_")]
    return next((name for name in names if name != "loss" and name not in TIMINGS), None)


def _draw(axes: Any, curve: dict[float, float], label: str, colour: str, marker: str) -> None:
    if curve:
        axes.plot(list(curve), list(curve.values()), color=colour, marker=marker, markersize=4, label=label)
