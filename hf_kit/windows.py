"""A long text read whole: in overlapping windows of what the model takes, their logits averaged.

Neighbouring windows share a quarter of the room or a little more (transformers' word for the shared tokens is
`stride`). Deliberately different from `return_overflowing_tokens`: the windows are spread evenly, so that all of them
are full (a last piece of three tokens would weigh as much as all that came before it), and of a pair only the longer
text is read in windows (the library makes every combination of pieces).
"""

import numpy as np

from hf_kit.truncation import cut, text_places


def window_starts(length: int, room: int) -> np.ndarray:
    """Where the windows of a text of `length` tokens begin: the fewest `[w]` that share at least `room // 4` tokens."""
    if length <= room:
        return np.zeros(1, dtype=np.int64)
    gaps = -(-(length - room) // (room - room // 4))  # rounded up
    return np.arange(gaps + 1) * (length - room) // gaps


def window_tokens(sequence_ids: list[int | None], max_length: int, side: str) -> list[list[int]]:
    """Which tokens each window of an encoding holds; all special ones stand in every window.

    Of a pair, the shorter text stands whole in every window, or with half of the room where it has more; then it is cut
    on `side`, as it would be without windows. So no pair is ever refused.
    """
    special, first, second = text_places(sequence_ids)
    room = max_length - len(special)
    short, long = (second, first) if len(first) > len(second) else (first, second)
    short = cut(short, room // 2, side) if len(long) + len(short) > room else short
    room -= len(short)
    return [sorted([*special, *short, *long[start : start + room]]) for start in window_starts(len(long), room)]


def average_windows(logits: np.ndarray, row: np.ndarray, rows: int) -> np.ndarray:
    """The mean over each row's windows, `[w, ...]` -> `[rows, ...]`; a single window's logits come back as they are.

    Args:
        row: `[w]` which of the `rows` each window belongs to, every row at least once.
    """
    sums = np.zeros((rows, *logits.shape[1:]), dtype=logits.dtype)
    np.add.at(sums, row, logits)
    counts = np.bincount(row, minlength=rows).astype(logits.dtype)
    return sums / counts.reshape(-1, *[1] * (logits.ndim - 1))


def windows_note(name: str, rows: int, long: int, lost_share: float, max_length: int, inputs: int) -> str:
    """One line on the texts of a split that are read in windows."""
    note = (
        f"{name}: {long:,} of {rows:,} texts ({long / rows:.1%}) are longer than {max_length} tokens and are read in "
        f"windows, {inputs:,} inputs in all"
    )
    if lost_share:
        note += f"; where both texts of a pair are long, the shorter is cut: {lost_share:.1%} of all tokens are lost"
    return note
