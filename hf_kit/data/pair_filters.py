"""Pairs that teach nothing: a side that is empty, longer than the model reads, or far longer than the other one."""

from dataclasses import dataclass

import numpy as np

SHORT = 5  # tokens; where both sides have fewer, a ratio says nothing: `Hi!` may well become four tokens


@dataclass
class PairFilter:
    """The limits, in tokens without special ones; `max_length_ratio` is longer by shorter side, None for any."""

    max_source_length: int
    max_target_length: int
    max_length_ratio: float | None

    def keep(self, source_lengths: np.ndarray, target_lengths: np.ndarray) -> dict[str, np.ndarray]:
        """Reason to [n] bool, True for the rows to leave out; the rows to keep are those without any reason.

        The reasons are `empty`, `source too long`, `target too long` and `length ratio`, always all of them and in
        this order; a row stands under its first one only.

        Args:
            source_lengths, target_lengths: [n] tokens before any cut.
        """
        shorter = np.minimum(source_lengths, target_lengths)
        longer = np.maximum(source_lengths, target_lengths)
        found = {
            "empty": shorter == 0,
            "source too long": source_lengths > self.max_source_length,
            "target too long": target_lengths > self.max_target_length,
            "length ratio": np.zeros(len(shorter), dtype=bool)
            if self.max_length_ratio is None
            else (longer > self.max_length_ratio * shorter) & (longer >= SHORT),
        }
        seen = np.zeros(len(shorter), dtype=bool)
        for reason, rows in found.items():
            found[reason] = rows & ~seen
            seen |= rows
        return found

    def describe(self, dropped: dict[str, int], rows: int) -> str | None:
        """One sentence for the user about the rows of each reason, out of `rows` training pairs; None without any."""
        whys = {
            "empty": "empty",
            "source too long": f"with more than {self.max_source_length:,} source tokens (--max_source_length)",
            "target too long": f"with more than {self.max_target_length:,} target tokens (--max_target_length)",
            "length ratio": f"with one side more than {self.max_length_ratio} times as long as the other "
            "(--max_length_ratio)",
        }
        parts = [f"{dropped[reason]:,} {why}" for reason, why in whys.items() if dropped.get(reason)]
        if not parts:
            return None
        return f"train: {sum(dropped.values()):,} of {rows:,} pairs left out: {', '.join(parts)}"
