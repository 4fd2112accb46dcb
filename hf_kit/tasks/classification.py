"""What classifiers of any input share: labels, losses, scores, figures; texts and images bring their inputs alone.

One label, several labels or a number, as the training rows' labels say.
"""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from torch import Tensor
from transformers import EvalPrediction, PreTrainedConfig

from hf_kit.answers import CONFIG_FIELD, MULTI, SINGLE, Answers
from hf_kit.arguments import DataArguments, parse_json_field
from hf_kit.data import (
    LabelMapping,
    RawSplits,
    decide_labels,
    encode_labels,
    has_labels,
    make_splits,
)
from hf_kit.data.row_stream import RowStream
from hf_kit.data.streamed_rows import StreamedRows
from hf_kit.errors import UserError, nearest
from hf_kit.loss import ClassificationLoss, base_rates, class_weights, unit_of
from hf_kit.tasks.task import Prepared, Task
from hf_kit.usage import Base, classifier_usage

# The largest class has this many times the rows of the smallest: accuracy then says little of the smallest.
SKEWED = 3


def parse_class_weights(asked: dict | str | None) -> dict | str | None:
    """The flag `--class_weights`: none, balanced, or JSON.

    Raises:
        UserError, ValueError: neither a known word nor JSON.
    """
    words = ("none", "balanced")
    if not isinstance(asked, str) or asked in words:
        return asked
    if not asked.lstrip().startswith("{"):
        raise ValueError(
            f"--class_weights {asked!r}{nearest(asked, words)} Allowed: none, balanced, or weights as JSON: "
            "'{\"label\": 2.5}'"
        )
    return parse_json_field("class_weights", asked)


class Classification(Task):
    """Labels for inputs of one kind; a subclass reads the inputs.

    Its `Arguments` have `label_column`, `problem_type` and `class_weights`; `columns` has a field `label`.
    """

    columns: Any
    processor_class = "AutoTokenizer"  # of transformers
    mapping: LabelMapping
    answers: Answers
    skewed = False
    _loss: ClassificationLoss
    _bias: list[float] | None = None
    _range: tuple[float, float] = (0.0, 1.0)

    @abstractmethod
    def find_columns(self, rows: Dataset | RowStream) -> None:
        """Set `columns` from the training rows, or from those that `encode` is given.

        Raises:
            UserError: no column, or several, could be meant.
        """

    @abstractmethod
    def check_inputs(self, rows: Dataset, name: str, notes: list[str], files: Sequence[str]) -> Dataset:
        """Rows whose inputs the model can read; what is left out, if anything, is said in `notes`.

        Args:
            files: the local files or folders that the rows come from, if they do.

        Raises:
            UserError: naming the split, the row and the column.
        """

    @abstractmethod
    def keys(self, rows: Dataset) -> np.ndarray:
        """[n] numbers that are equal where checked rows have the same input."""

    def scan_stream(self, train: RowStream, buffer_size: int) -> StreamedRows:
        """The training rows of `--streaming`, checked and labelled; sets `mapping`."""
        raise UserError(f"--streaming: {self.not_streamed}; leave it out")

    def prepare(self, raw: RawSplits, data_arguments: DataArguments) -> Prepared:
        if raw.train is None:
            raise UserError("there are no training rows: give --train_file or --dataset_name")
        self.find_columns(raw.train)
        if self.columns.label is None:
            raise UserError(f"no label column among {', '.join(raw.train.column_names)}: name it with --label_column")
        flags = self.arguments
        notes: list[str] = []
        labelled: dict[str, Dataset | StreamedRows | None] = {}
        if isinstance(raw.train, RowStream):
            labelled["train"] = self.scan_stream(raw.train, data_arguments.shuffle_buffer_size)
        else:
            train = self.check_inputs(raw.train, "train", notes, raw.files.get("train", ()))
            self.mapping = decide_labels(train, self.columns.label, flags.problem_type)
            labelled["train"] = self._label(train, "train", notes)
        self.answers = Answers(self.mapping)
        for name, split in (("validation", raw.validation), ("test", raw.test)):
            if split is not None:
                split = self._label(self.check_inputs(split, name, notes, raw.files.get(name, ())), name, notes)
            labelled[name] = split
        if labelled["validation"] is not None and "labels" not in labelled["validation"].column_names:
            raise UserError(
                f"the validation set has no labels in `{self.columns.label}`; it chooses the best model and needs them"
            )
        there = {name: rows for name, rows in labelled.items() if rows is not None}
        splits = make_splits(
            RawSplits(**labelled, name=raw.name, files=raw.files),
            {name: rows.keys if isinstance(rows, StreamedRows) else self.keys(rows) for name, rows in there.items()},
            self.mapping,
            validation_split_percentage=data_arguments.validation_split_percentage,
            test_split_percentage=data_arguments.test_split_percentage,
            drop_leaks=data_arguments.drop_leaks,
            noun=self.noun,
        )
        if self.label_smoothing and self.mapping.problem_type == "regression":
            raise UserError("--label_smoothing_factor means nothing for regression; leave it out")
        for name in splits.keys:
            splits.keep_some(name, getattr(data_arguments, f"max_{'train' if name == 'train' else 'eval'}_samples"))
        train = splits.train
        absent = self._absent_labels(train)
        if absent:
            notes.append(f"train: no row with the label {', '.join(absent)}")
        notes += self._note_skew(train)
        weights = None
        if flags.class_weights not in (None, "none"):
            if self.mapping.problem_type == "regression":
                raise UserError("--class_weights means nothing for regression; leave it out")
            weights = class_weights(flags.class_weights, self.mapping, self._counts(train), len(train))
        problem, labels = self.mapping.problem_type, labels_of(train)
        self._loss = ClassificationLoss(problem, weights, self.label_smoothing, unit_of(problem, labels))
        self._bias = base_rates(problem, labels, weights)
        if problem == "regression":
            self._range = float(labels.min()), float(labels.max())
        if isinstance(train, StreamedRows) and len(train) > train.buffer_size:
            notes.append(
                f"train: the baselines learn from {train.buffer_size:,} of the {len(train):,} rows, drawn evenly "
                "(--shuffle_buffer_size)"
            )
        return Prepared(train, splits.validation, splits.test, notes + splits.notes, splits.keys)

    def _label(self, rows: Dataset, name: str, notes: list[str]) -> Dataset:
        if not has_labels(rows, self.columns.label, self.mapping):
            notes.append(f"{name}: no labels, so it is predicted and not scored")
            return rows.remove_columns([column for column in rows.column_names if column == "labels"])
        return encode_labels(rows, self.columns.label, self.mapping, name)

    def encode(self, dataset: Dataset, name: str, notes: list[str], files: Sequence[str] = ()) -> Dataset:
        self.find_columns(dataset)
        return self._label(self.check_inputs(dataset, name, notes, files), name, notes)

    def state(self) -> dict[str, Any]:
        return {
            "labels": self.mapping.to_dict(),
            "class_weights": self._loss.class_weights,
            "label_smoothing": self._loss.label_smoothing,
            "unit": self._loss.unit,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.mapping = LabelMapping.from_dict(state["labels"])
        self.answers = Answers(self.mapping)
        weights = state["class_weights"]
        self._loss = ClassificationLoss(
            self.mapping.problem_type,
            tuple(weights) if weights else None,
            state["label_smoothing"],
            state.get("unit", 1.0),  # runs of before had none
        )

    def _counts(self, train: Dataset | StreamedRows) -> list[int]:
        """Rows per label, `[c]`."""
        labels = labels_of(train)
        if self.mapping.problem_type == MULTI:
            return np.asarray(labels.sum(0)).ravel().astype(int).tolist()
        return np.bincount(labels, minlength=self.mapping.num_labels).tolist()

    def _note_skew(self, train: Dataset | StreamedRows) -> list[str]:
        """Decide whether the classes are skewed."""
        if self.mapping.problem_type == "regression":
            return []
        counts = {name: count for name, count in zip(self.mapping.names, self._counts(train), strict=True) if count}
        least, most = min(counts, key=counts.get), max(counts, key=counts.get)
        self.skewed = counts[most] >= SKEWED * counts[least]
        if not self.skewed:
            return []
        return [
            f"train: skewed classes, {counts[most]:,} rows with {most} and {counts[least]:,} with {least}: macro-F1, "
            "in which every class counts the same, chooses the best model (--metric_for_best_model)"
        ]

    def _absent_labels(self, train: Dataset | StreamedRows) -> list[str]:
        if self.mapping.problem_type == "regression":
            return []
        return [name for name, count in zip(self.mapping.names, self._counts(train), strict=True) if not count]

    def output_bias(self) -> list[float] | None:
        return self._bias

    def output_unit(self) -> float:
        return self._loss.unit

    def output_range(self) -> tuple[float, float]:
        return self._range

    def read_decision(self, config: PreTrainedConfig) -> None:
        if config.num_labels != self.mapping.num_labels:
            raise UserError(
                f"run.json has {self.mapping.num_labels} labels and config.json {config.num_labels}: they are of two "
                "runs; restore them"
            )
        self.answers.thresholds = getattr(config, CONFIG_FIELD, None)
        if self.answers.thresholds is None:
            self.answers.tune(None, None)

    def doubts(self, predictions: np.ndarray, labels: np.ndarray, name: str) -> list[str]:
        return self.answers.doubts(predictions, labels, name, self.noun)

    @property
    def metric_for_best_model(self) -> str:
        plain = {SINGLE: "accuracy", MULTI: "f1_micro", "regression": "pearson"}[self.mapping.problem_type]
        return "f1_macro" if self.skewed else plain

    def loss(self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | None = None) -> Tensor:
        return self._loss(outputs["logits"], labels, num_items_in_batch)

    def count_items(self, labels: Tensor) -> Tensor:
        return self._loss.count(labels)

    def compute_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        return self.answers.scores(prediction.predictions, prediction.label_ids)

    def metric_names(self) -> set[str]:
        return self.answers.score_names()

    def tune_decision(self, predictions: np.ndarray | None, labels: np.ndarray | None) -> list[str]:
        return self.answers.tune(predictions, labels)

    def decode(self, predictions: np.ndarray) -> list[dict[str, Any]]:
        return self.answers.decode(predictions)

    def label_names(self) -> list[str] | None:
        return None if self.mapping.problem_type == "regression" else self.mapping.names

    @abstractmethod
    def usage_example(self, row: dict[str, Any]) -> str:
        """The input `row` as a Python expression for transformers' pipeline."""

    def usage(self, row: dict[str, Any], *, own_code: bool, base: Base | None) -> str:
        return classifier_usage(
            self.pipeline_tag,
            self.auto_class.__name__,
            self.processor_class,
            self.usage_example(row),
            own_code=own_code,
            base=base,
        )

    def usage_answer(self, output: list[float], written: None) -> dict[str, Any]:
        return self.answers.most_likely(np.array([output]))

    def details(self, predictions: np.ndarray, labels: np.ndarray) -> tuple[list[str], list[Sequence[Any]]]:
        rows = self.answers.per_class(predictions, labels)
        return (["label", "precision", "recall", "f1", "rows"], rows) if rows else ([], [])

    def figures(
        self, predictions: np.ndarray, labels: np.ndarray, folder: Path, rows: Dataset, processor: Any
    ) -> list[Path]:
        from hf_kit import figures

        if self.mapping.problem_type == "regression":
            path = folder / "predicted_against_true.png"
            figures.regression_figure(labels, predictions.reshape(-1), path)
            return [path]
        if self.mapping.problem_type == MULTI:
            return []
        path = folder / "confusion_matrix.png"
        figures.confusion_matrix_figure(labels, predictions.argmax(-1), self.mapping.names, path)
        return [path]

    def configure(self, config: PreTrainedConfig) -> None:
        config.id2label = self.mapping.id2label  # sets num_labels as well
        config.label2id = self.mapping.label2id
        config.problem_type = self.mapping.problem_type
        if self.answers.thresholds is not None:
            setattr(config, CONFIG_FIELD, self.answers.thresholds)
        elif hasattr(config, CONFIG_FIELD):
            delattr(config, CONFIG_FIELD)  # a checkpoint's own, of its labels

    def _label_name(self, value: Any) -> str:
        """An encoded label for a sentence; `[c]` for several."""
        names, problem = self.mapping.names, self.mapping.problem_type
        if problem == MULTI:
            return "+".join(np.array(names)[value > 0]) or "no label"
        return names[value] if problem == SINGLE else f"{value:g}"


def labels_of(dataset: Dataset | StreamedRows) -> Any:
    """`[n]` ids or numbers, `[n, c]` of 0 and 1 (sparse for a stream)."""
    if isinstance(dataset, StreamedRows):
        return dataset.labels
    return np.asarray(dataset.select_columns("labels").with_format("numpy")["labels"][:])  # other columns stay unread
