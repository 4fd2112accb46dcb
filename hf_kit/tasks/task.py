"""What a task gives to the kit; everything else (arguments, trainer, LoRA, run folder, commands) is shared.

To add one, write `tasks/<name>.py` with a subclass and `TASK = <the subclass>`, and a recipe. The README's "Add a task"
shows a whole one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from torch import Tensor
from transformers import EvalPrediction, PreTrainedConfig, PreTrainedModel

from hf_kit.data import DataChecks
from hf_kit.data.streamed_rows import StreamedRows
from hf_kit.errors import UserError
from hf_kit.input_rows import InputRows
from hf_kit.streaming import TokenizedStream
from hf_kit.usage import Base


@dataclass
class Prepared:
    """A run's data after the task has checked it: `labels` is encoded, the rest still as loaded.

    Attributes:
        train: a stream with --streaming.
        test: has no column `labels` where the test set is unlabelled; it is then predicted, not scored.
        notes: sentences for the user on what was split, dropped or found odd.
        keys: of each split, [n] numbers that are equal where rows have the same input.
    """

    train: Dataset | StreamedRows
    validation: Dataset | None
    test: Dataset | None
    notes: list[str]
    keys: dict[str, np.ndarray]

    def splits(self) -> dict[str, Dataset | StreamedRows]:
        """The splits that there are, train first."""
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: split for name, split in named.items() if split is not None}


class Task(ABC):
    """One kind of learning problem.

    Attributes:
        Arguments: a dataclass of the task's own flags; every field has a default and a help string.
        auto_class: the `AutoModelFor...` that loads its models.
        peft_task_type: PEFT's name of the task; None where it has none.
        generates: its predictions come from `generate`.
        pipeline_tag: the Hub's name of the task.
        proof_kind: how `proof/program.py` makes the model's inputs.
        noun: what one input is called in messages; the plural ends in s.
        example_input: words for the command line that stand for an input of the user's.
        column_flags: the flags of `Arguments` that also say where new data's columns are.
        lower_is_better: the scores of which less is more.
        not_streamed: why the task does without --streaming, for a message; None where it streams.
        tokenizer_type: what is trained on the data for a fresh model where nobody says.
    """

    Arguments: type
    auto_class: type
    peft_task_type: str | None
    generates = False
    pipeline_tag: str
    proof_kind: str
    noun = "text"
    example_input = '"a text of yours"'
    column_flags: tuple[str, ...] = ()
    lower_is_better = frozenset({"loss", "mae", "mse"})
    not_streamed: str | None = "this task reads its rows at once"
    tokenizer_type = "wordpiece"

    def __init__(self, arguments: Any, label_smoothing: float = 0.0):
        self.arguments = arguments
        self.label_smoothing = label_smoothing

    @classmethod
    def arranged(cls, arguments: Any, model_arguments: Any, config: PreTrainedConfig) -> PreTrainedConfig:
        """The configuration of the model that is trained, from that of the checkpoint or the fresh type: mostly that.

        Args:
            arguments: the task's own flags.

        Raises:
            UserError: the flags ask for something that cannot be made of this model.
        """
        return config

    def check_model(self, model_arguments: Any, config: PreTrainedConfig, *, fresh: bool) -> None:
        """Hold the task's flags against the model, before any data is loaded.

        Raises:
            UserError: what this model cannot do, or a processor that cannot be loaded.
        """
        return None

    def load_sample(self) -> Dataset:
        """The rows to train on where the user names none.

        Raises:
            UserError: this task has none.
        """
        raise UserError("which rows? Give --train_file FILE or --dataset_name NAME")

    @abstractmethod
    def prepare(self, raw: Any, data_arguments: Any) -> Prepared:
        """Find the columns, decide the labels from the training split, check every row, make missing splits.

        Raises:
            UserError: naming the file or split, the row and the column.
        """

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What `prepare` decided, as JSON; stored in the run folder."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave, so that evaluate and predict need the run folder alone."""

    @abstractmethod
    def encode(self, dataset: Dataset, name: str, notes: list[str], files: Sequence[str] = ()) -> Dataset:
        """Check and label the rows of a new data set (for evaluate) as `prepare` did.

        Args:
            notes: sentences for the user are added.
            files: the local files or folders that the rows come from, if they do.
        """

    @abstractmethod
    def configure(self, config: PreTrainedConfig) -> None:
        """Write labels and problem type into the model's configuration."""

    def finish_model(self, model: PreTrainedModel, training: Any) -> None:  # noqa: B027 (most models are whole)
        """Write into a model what it needs to be told beside its configuration: how it writes, say.

        Args:
            training: the run's training arguments.
        """

    def output_bias(self) -> list[float] | None:
        """Where the outputs of a new head had better start, `[c]`; None: where the library starts them."""
        return None

    def output_unit(self) -> float:
        """How far from there the wanted outputs usually lie."""
        return 1.0

    def output_range(self) -> tuple[float, float]:
        """The least and the largest of the wanted outputs, where they are numbers."""
        return 0.0, 1.0

    @abstractmethod
    def load_processor(
        self, model_arguments: Any, config: PreTrainedConfig, train: Dataset | StreamedRows, *, fresh: bool
    ) -> Any:
        """The tokenizer or image processor: the checkpoint's, or one trained on the training split."""

    @abstractmethod
    def open_processor(self, folder: Path) -> Any:
        """The tokenizer or image processor that lies in a saved run's folder."""

    def contents(self, rows: Dataset | StreamedRows) -> Dataset | StreamedRows:
        """Of a checked split the columns that say what is learned from it, wherever the rows lie."""
        return rows

    def loader_defaults(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Training arguments of data loading that suit these `inputs`, where the user sets none."""
        return {}

    @abstractmethod
    def preprocess(
        self, dataset: Dataset | StreamedRows, processor: Any, name: str, *, cached: bool = True
    ) -> tuple[Dataset | TokenizedStream | InputRows, list[str]]:
        """Model inputs and notes for the user (texts cut, say).

        Inputs of several lengths are a data set with an integer column `length`, by which batches are made; inputs that
        are made as they are read, `InputRows`.

        `cached=False` is for the passing rows of `predict`: nothing is left on disk.
        """

    def preprocess_windows(
        self, dataset: Dataset, processor: Any, name: str, *, cached: bool = True
    ) -> tuple[Dataset, list[str]]:
        """As `preprocess`, but what is too long for the model becomes several inputs, which together hold all of it.

        The integer column `row`, ascending, says which row of `dataset` an input belongs to; there are no `labels`.

        Raises:
            UserError: the inputs of this task come in one piece.
        """
        raise UserError("--windows: this task cannot read its inputs in pieces; leave it out")

    @abstractmethod
    def check(self, prepared: Prepared, inputs: dict[str, Dataset], processor: Any) -> DataChecks:
        """Count what is odd in the rows; `inputs` are those of `preprocess`."""

    @abstractmethod
    def collator(self, processor: Any) -> Callable[[list[dict]], dict[str, Tensor]]:
        """Makes a batch of rows."""

    def outputs(self, model: PreTrainedModel, batch: dict[str, Tensor], **options: Any) -> Tensor:
        """What the model answers to a batch, `[b, ...]`: its logits in float32, or ids padded with -100.

        Args:
            options: of `generate`, where the task does.
        """
        return model(**batch).logits.float()

    def proof_of(self, model: PreTrainedModel, batch: dict[str, Tensor], processor: Any) -> tuple[Tensor, list[Any]]:
        """Numbers that every copy of the model must give for a batch, `[b, ...]`, and beside each row what they are of.

        That is None where the inputs alone decide them.
        """
        return self.outputs(model, batch).cpu(), [None] * len(next(iter(batch.values())))

    @abstractmethod
    def loss(self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | None = None) -> Tensor:
        """The summed loss of a micro-batch divided by `num_items_in_batch`, the step's total of `count_items`."""

    @abstractmethod
    def count_items(self, labels: Tensor) -> Tensor:
        """What a micro-batch adds to the loss's divisor; a scalar."""

    @abstractmethod
    def compute_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        """All scores of predictions `[n, ...]` against labels; no network."""

    @abstractmethod
    def metric_names(self) -> set[str]:
        """What `compute_metrics` may give; known once `prepare` has seen the data."""

    @property
    @abstractmethod
    def metric_for_best_model(self) -> str:
        """The score that chooses the best checkpoint, unless the user names another."""

    def tune_decision(self, predictions: np.ndarray | None, labels: np.ndarray | None) -> list[str]:
        """Settle how outputs become answers where only a trained model can tell, from its validation rows.

        Both are None where there are no such rows. What is settled (thresholds, say) is written by `configure` and read
        by `read_decision`. Returns notes.
        """
        return []

    def read_decision(self, config: PreTrainedConfig) -> None:  # noqa: B027 (most tasks settle nothing)
        """Take back what `tune_decision` settled, from the configuration that was saved with the model."""

    def doubts(self, predictions: np.ndarray, labels: np.ndarray, name: str) -> list[str]:
        """What looks wrong about the predictions of split `name` and a score may hide; sentences for a warning."""
        return []

    @abstractmethod
    def inputs_of(self, word: str, pair: str | None = None) -> Iterator[Any]:
        """What a word on the command line, or a line of standard input, means to `predict`; mostly itself.

        Args:
            pair: the second text beside it.
        """

    @abstractmethod
    def input_row(self, item: Any) -> dict[str, Any]:
        """One input of `predict` (a text, a pair, a row) as the row that stands beside its answer."""

    @abstractmethod
    def input_dataset(self, rows: list[dict[str, Any]]) -> Dataset:
        """Rows of `input_row` under the columns that `preprocess` reads."""

    @abstractmethod
    def sample_inputs(self, dataset: Dataset, number: int) -> list[dict[str, Any]]:
        """At most `number` inputs of a split, as `input_row` gives them, each one short enough to be read whole."""

    def noted(self, row: dict[str, Any]) -> dict[str, Any]:
        """An input of `sample_inputs` as JSON, for the file that the proof reads."""
        return row

    @abstractmethod
    def label_names(self) -> list[str] | None:
        """The names of the model's labels in their order; None where it has none."""

    @abstractmethod
    def usage(self, row: dict[str, Any], *, own_code: bool, base: Base | None) -> str:
        """Lines of Python with which others use the model on the input `row` (see `usage.py`)."""

    @abstractmethod
    def usage_answer(self, output: Any, written: Any) -> Any:
        """What those lines leave in `answer` for an input for which `proof_of` gave `output` and `written`."""

    @abstractmethod
    def read_inputs(self, path: str) -> Iterator[Any]:
        """The inputs in a file, one by one."""

    @abstractmethod
    def line(self, row: dict[str, Any], answer: dict[str, Any]) -> str:
        """One answer of `decode` beside its input, as a line for people."""

    @abstractmethod
    def decode(self, predictions: np.ndarray) -> list[dict[str, Any]]:
        """One JSON-able answer per row of raw model output."""

    @abstractmethod
    def baselines(
        self, train: Dataset | StreamedRows, evaluated: dict[str, Dataset]
    ) -> dict[str, dict[str, dict[str, float]]]:
        """`{baseline: {split: {metric: value}}}` of simple models on the same rows (as `prepare` gave them)."""

    def details(self, predictions: np.ndarray, labels: np.ndarray) -> tuple[list[str], list[Sequence[Any]]]:
        """Columns and rows of a finer table than the scores: per class, say."""
        return [], []

    def samples(self, predictions: np.ndarray, labels: np.ndarray, rows: Dataset) -> list[dict[str, Any]]:
        """Some answers beside their inputs and what was wanted, as JSON, the best first: for people to read.

        Args:
            rows: as `prepare` gave them, in the order of the predictions.
        """
        return []

    def signatures(self) -> dict[str, str]:
        """Of scores that can be computed in several ways, how these were: score name to what stands for it."""
        return {}

    def figures(
        self, predictions: np.ndarray, labels: np.ndarray, folder: Path, rows: Dataset, processor: Any
    ) -> list[Path]:
        """Draw what a person would rather look at into `folder`; the paths written.

        Args:
            rows: as `prepare` gave them, in the order of the predictions.
        """
        return []
