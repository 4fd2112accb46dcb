"""The kit from Python, in as few lines as a notebook likes."""

import reprlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hf_kit.data.columns import listed
from hf_kit.errors import UserError
from hf_kit.evaluation import EvaluateArguments
from hf_kit.evaluation import evaluate as evaluate_run
from hf_kit.parsing import parse_arguments, parse_for_run
from hf_kit.prediction import predict
from hf_kit.publishing import push_run
from hf_kit.recipe import as_flags
from hf_kit.redaction import redact_logs
from hf_kit.run import train as train_run
from hf_kit.run_folder import RESULTS, read_json
from hf_kit.saved_run import SavedRun, find_run, open_run


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: where everything lies.
    """

    folder: Path

    @property
    def results(self) -> dict[str, Any]:
        """The contents of results.json: scores per split, baselines, seed."""
        return read_json(self.folder / RESULTS)

    @cached_property
    def _saved(self) -> SavedRun:
        return open_run(str(self.folder))

    def predict(self, rows: Iterable[str | tuple[str, str] | dict], *, windows: bool = False) -> list[dict[str, Any]]:
        """The model's answers for texts, for pairs of texts, or for rows as dictionaries; for images, of their paths or
        as PIL images: as many answers as rows, in their order.

        Args:
            windows: read texts too long for the model whole, in overlapping windows, and average their logits.

        Raises:
            UserError: `rows` is no list of inputs, but one text or a table, say; an item is not what the model reads.
        """
        _check_list(rows, self._saved.task.noun)
        return [answer for _, answer in predict(self._saved, self._input_rows(rows), windows=windows)]

    def _input_rows(self, rows: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """Raises: UserError: an item is not what the model reads, naming its row."""
        for number, item in enumerate(rows):
            try:
                row = self._saved.task.input_row(item)
            except UserError as mistake:
                raise UserError(
                    f"item {number}: {mistake}. Mend this item or take it out (items are counted from 0)"
                ) from None
            yield row

    def evaluate(self, **flags: Any) -> dict[str, Any]:
        """Score other rows; flags as those of `hf-kit evaluate`, e.g. `test_file="x.csv", text_column="body"`."""
        name, _, (data, columns) = parse_for_run("evaluate", EvaluateArguments, [str(self.folder), *as_flags(flags)])
        return evaluate_run(name, data, columns)

    def push(
        self, repo_id: str, *, private: bool | None = None, revision: str | None = None, merge_lora: bool = False
    ) -> None:
        """Publish it on the Hub as `OWNER/NAME`, as `hf-kit push` does; the token is that of HF_TOKEN or of a login."""
        push_run(str(self.folder), repo_id, private=private, revision=revision, merge_lora=merge_lora)


def _check_list(rows: Any, noun: str) -> None:
    """Whether `rows` holds one input after the other.

    Raises:
        UserError: one text, each of whose characters would be an input; a dictionary or a table, whose column names
            would be; nothing that has items.
    """
    wanted = f"predict takes a list of {noun}s"
    if hasattr(rows, "columns"):  # of pandas, polars or Arrow, none of which is imported for this
        names = listed([str(name) for name in getattr(rows, "column_names", rows.columns)])
        raise UserError(
            f"{wanted}; got a {type(rows).__name__} with the columns {names}: give the items of one column as a list, "
            "and for pairs of texts list(zip(...)) of two"
        )
    if isinstance(rows, (str, bytes, dict)) or not isinstance(rows, Iterable):
        raise UserError(f"{wanted}; got one {type(rows).__name__}, {reprlib.repr(rows)}: put what you have in a list")


def train(recipe: str | None = None, **flags: Any) -> Run:
    """Train as `hf-kit train RECIPE --flag value ...` does; without a recipe, the quickstart.

    Raises:
        UserError: a mistake in the flags, the data or the folder.
    """
    redact_logs()
    return Run(train_run(parse_arguments([*([recipe] if recipe else []), *as_flags(flags)])))


def load(name: str) -> Run:
    """A finished run by its folder or its Hub id."""
    redact_logs()
    return Run(find_run(name))
