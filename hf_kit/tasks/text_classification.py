"""Text classification: one text or a pair of texts; one label, several labels or a number."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    EvalPrediction,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from hf_kit import tokenization, truncation
from hf_kit.answers import CONFIG_FIELD, MULTI, SINGLE, Answers
from hf_kit.arguments import DataArguments, ModelArguments, parse_json_field
from hf_kit.backbone import fit_config_to_tokenizer, may_run_code, resolve_checkpoint
from hf_kit.collation import PadRows
from hf_kit.data import (
    DataChecks,
    LabelMapping,
    RawSplits,
    Splits,
    TextColumns,
    check_split,
    check_texts,
    column_if_there,
    count_tokens,
    decide_labels,
    empty_texts,
    encode_labels,
    find_columns,
    has_labels,
    make_splits,
    read_texts,
    similar_labels,
    two_rows_that_disagree,
)
from hf_kit.data.labels import mapping_of
from hf_kit.data.quiet import quiet
from hf_kit.data.row_stream import RowStream
from hf_kit.data.streamed_rows import StreamedRows, scan
from hf_kit.errors import UserError, nearest
from hf_kit.loss import ClassificationLoss, base_rates, class_weights
from hf_kit.models import own_model_types
from hf_kit.streaming import TokenizedStream
from hf_kit.tasks.task import Prepared, Task
from hf_kit.tokenizer_training import in_the_class_that_loads, train_tokenizer
from hf_kit.usage import Base, classifier_usage
from hf_kit.vector_file import VectorFile
from hf_kit.windows import windows_note

# The largest class has this many times the rows of the smallest: accuracy then says little of the smallest.
SKEWED = 3


@dataclass
class TextClassificationArguments:
    """What is read and how it is learned."""

    _argument_group_name = "text classification"

    text_column: str | None = field(default=None, metadata={"help": "The column of texts; unset: found by its name."})
    text_pair_column: str | None = field(default=None, metadata={"help": "The column of second texts, for pairs."})
    label_column: str | None = field(default=None, metadata={"help": "The column of labels."})
    problem_type: str | None = field(
        default=None,
        metadata={
            "help": "Unset: decided from the labels (lists: several labels; fractions: regression).",
            "choices": [SINGLE, MULTI, "regression"],
        },
    )
    max_length: int | None = field(
        default=None, metadata={"help": "Tokens a text is cut to; unset: what the model takes, at most 512."}
    )
    truncation_side: str = field(
        default="right",
        metadata={
            "help": "Where a longer text is cut: its right end, its left end, or the middle (a quarter of what is kept "
            "is then its beginning). A plain `pipeline` cannot cut the middle and cuts at the right.",
            "choices": list(truncation.SIDES),
        },
    )
    class_weights: dict | str | None = field(
        default=None,
        metadata={"help": "none; balanced: every class weighs the same; or {label: weight} as JSON."},
    )

    def __post_init__(self):
        if self.max_length is not None and self.max_length < 3:
            raise ValueError(f"--max_length is {self.max_length}; a text needs at least 3 tokens")
        words = ("none", "balanced")
        if isinstance(self.class_weights, str) and self.class_weights not in words:
            if not self.class_weights.lstrip().startswith("{"):
                raise ValueError(
                    f"--class_weights {self.class_weights!r}{nearest(self.class_weights, words)} Allowed: none, "
                    "balanced, or weights as JSON: '{\"label\": 2.5}'"
                )
            self.class_weights = parse_json_field("class_weights", self.class_weights)


class TextClassification(Task):
    """Sequence classification through `AutoModelForSequenceClassification`."""

    Arguments = TextClassificationArguments
    pipeline_tag = "text-classification"
    proof_kind = "text"
    auto_class = AutoModelForSequenceClassification
    peft_task_type = "SEQ_CLS"
    column_flags = ("text_column", "text_pair_column", "label_column")

    columns: TextColumns
    mapping: LabelMapping
    answers: Answers
    max_length: int
    skewed = False
    truncation_side: str
    _loss: ClassificationLoss
    _bias: list[float] | None = None

    def check_model(self, model_arguments: ModelArguments, config: PreTrainedConfig, *, fresh: bool) -> None:
        if model_arguments.tokenizer_name or not fresh:
            tokenizer = _given_tokenizer(model_arguments)
            if not fresh and tokenizer.vocab_size > config.get_text_config().vocab_size:
                raise UserError(
                    f"the tokenizer has {tokenizer.vocab_size:,} tokens and the model an embedding for "
                    f"{config.get_text_config().vocab_size:,}: they do not belong together; give another "
                    "--tokenizer_name, or leave it out"
                )
        if self.arguments.max_length:
            tokenization.check_max_length(self.arguments.max_length, config)

    def prepare(self, raw: RawSplits, data_arguments: DataArguments) -> Prepared:
        if raw.train is None:
            raise UserError("there are no training rows: give --train_file or --dataset_name")
        flags = self.arguments
        self.columns = find_columns(
            raw.train.column_names,
            raw.train.features,
            text_column=flags.text_column,
            text_pair_column=flags.text_pair_column,
            label_column=flags.label_column,
        )
        if self.columns.label is None:
            raise UserError(f"no label column among {', '.join(raw.train.column_names)}: name it with --label_column")
        notes: list[str] = []
        labelled: dict[str, Dataset | StreamedRows | None] = {}
        if isinstance(raw.train, RowStream):
            labelled["train"] = self._scan(raw.train, data_arguments.shuffle_buffer_size)
        else:
            self.mapping = decide_labels(raw.train, self.columns.label, flags.problem_type)
            labelled["train"] = self._encode(raw.train, "train", notes)
        self.answers = Answers(self.mapping)
        for name, split in (("validation", raw.validation), ("test", raw.test)):
            labelled[name] = None if split is None else self._encode(split, name, notes)
        if labelled["validation"] is not None and "labels" not in labelled["validation"].column_names:
            raise UserError(
                f"the validation set has no labels in `{self.columns.label}`; it chooses the best model and needs them"
            )
        splits = make_splits(
            RawSplits(**labelled, name=raw.name, files=raw.files),
            self.columns,
            self.mapping,
            validation_split_percentage=data_arguments.validation_split_percentage,
            test_split_percentage=data_arguments.test_split_percentage,
            drop_leaks=data_arguments.drop_leaks,
        )
        if self.label_smoothing and self.mapping.problem_type == "regression":
            raise UserError("--label_smoothing_factor means nothing for regression; leave it out")
        for name in splits.keys:
            _keep_some(splits, name, getattr(data_arguments, f"max_{'train' if name == 'train' else 'eval'}_samples"))
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
        self._loss = ClassificationLoss(self.mapping.problem_type, weights, self.label_smoothing)
        self._bias = base_rates(self.mapping.problem_type, _labels(train), weights)
        if isinstance(train, StreamedRows) and len(train) > train.buffer_size:
            notes.append(
                f"train: the baselines learn from {train.buffer_size:,} of the {len(train):,} rows, drawn evenly "
                "(--shuffle_buffer_size)"
            )
        return Prepared(train, splits.validation, splits.test, notes + splits.notes, splits.keys)

    def _scan(self, train: RowStream, buffer_size: int) -> StreamedRows:
        scanned = scan(train, self.columns)
        self.mapping = mapping_of(scanned.labels, self.columns.label, self.arguments.problem_type)
        return StreamedRows(train, scanned, self.columns, self.mapping, buffer_size)

    def _counts(self, train: Dataset | StreamedRows) -> list[int]:
        """Rows per label, `[c]`."""
        labels = _labels(train)
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

    def _encode(self, split: Dataset, name: str, notes: list[str]) -> Dataset:
        split = check_texts(split, self.columns, name)
        if empty_texts(split, self.columns).all():
            raise UserError(f"{name}: every text in column `{self.columns.text}` is empty; name another --text_column")
        if not has_labels(split, self.columns.label):
            notes.append(f"{name}: no labels, so it is predicted and not scored")
            return split.remove_columns([column for column in split.column_names if column == "labels"])
        return encode_labels(split, self.columns.label, self.mapping, name)

    def encode(self, dataset: Dataset, name: str) -> Dataset:
        found = find_columns(
            dataset.column_names,
            dataset.features,
            text_column=self.arguments.text_column or column_if_there(self.columns.text, dataset),
            text_pair_column=self.arguments.text_pair_column or column_if_there(self.columns.text_pair, dataset),
            label_column=self.arguments.label_column or column_if_there(self.columns.label, dataset),
        )
        if self.columns.text_pair and not found.text_pair:
            raise UserError(f"the model reads pairs of texts; name the second column with --text_pair_column ({name})")
        self.columns = TextColumns(found.text, found.text_pair if self.columns.text_pair else None, found.label)
        return self._encode(dataset, name, [])

    def state(self) -> dict[str, Any]:
        return {
            "columns": {k: getattr(self.columns, k) for k in ("text", "text_pair", "label")},
            "labels": self.mapping.to_dict(),
            "max_length": self.max_length,
            "truncation_side": self.truncation_side,
            "class_weights": self._loss.class_weights,
            "label_smoothing": self._loss.label_smoothing,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.columns = TextColumns(**state["columns"])
        self.mapping = LabelMapping.from_dict(state["labels"])
        self.answers = Answers(self.mapping)
        self.max_length = state["max_length"]
        self.truncation_side = state.get("truncation_side", "right")  # runs from before the flag have none
        if not isinstance(self.max_length, int) or self.max_length < 3 or self.truncation_side not in truncation.SIDES:
            raise ValueError(f"max_length {self.max_length!r}, truncation_side {self.truncation_side!r}")
        weights = state["class_weights"]
        self._loss = ClassificationLoss(
            self.mapping.problem_type, tuple(weights) if weights else None, state["label_smoothing"]
        )

    def configure(self, config: PreTrainedConfig) -> None:
        config.id2label = self.mapping.id2label  # sets num_labels as well
        config.label2id = self.mapping.label2id
        config.problem_type = self.mapping.problem_type
        if self.answers.thresholds is not None:
            setattr(config, CONFIG_FIELD, self.answers.thresholds)
        elif hasattr(config, CONFIG_FIELD):
            delattr(config, CONFIG_FIELD)  # a checkpoint's own, of its labels

    def load_processor(
        self, model_arguments: ModelArguments, config: PreTrainedConfig, train: Dataset | StreamedRows, *, fresh: bool
    ) -> PreTrainedTokenizerBase:
        if model_arguments.tokenizer_name or not fresh:
            tokenizer = _given_tokenizer(model_arguments)
        else:
            own = own_model_types().get(config.model_type)
            if isinstance(train, StreamedRows):
                texts = train.texts()
            else:
                texts = [text for column in self._text_columns() for text in train[column]]
            tokenizer = train_tokenizer(
                texts,
                tokenizer_type=model_arguments.tokenizer_type,
                vocab_size=model_arguments.vocab_size,
                special_tokens=own.SPECIAL_TOKENS if own else "bert",
                more_words=VectorFile(model_arguments.word_vectors).words() if model_arguments.word_vectors else (),
            )
            tokenizer = in_the_class_that_loads(tokenizer, config, texts, model_arguments.vocab_size)
        fit_config_to_tokenizer(config, tokenizer, fresh=fresh)
        if getattr(config, "type_vocab_size", 2) < 2:
            # RoBERTa's kind knows one type only; the second text's 1 would index past its embedding.
            tokenizer.model_input_names = [n for n in tokenizer.model_input_names if n != "token_type_ids"]
        most = tokenization.effective_max_length(tokenizer, config, self.arguments.max_length)
        # Decoders take a hundred thousand tokens; nobody who says nothing wants to pay for that.
        self.max_length = most if self.arguments.max_length else min(most, tokenization.DEFAULT_MAX_LENGTH)
        tokenizer.model_max_length = self.max_length
        self.truncation_side = self.arguments.truncation_side
        tokenizer.truncation_side = truncation.saved_side(self.truncation_side)
        tokenizer.init_kwargs["truncation_side"] = tokenizer.truncation_side  # else saving leaves it out
        return tokenizer

    def _text_columns(self) -> list[str]:
        return [c for c in (self.columns.text, self.columns.text_pair) if c]

    def preprocess(
        self, dataset: Dataset | StreamedRows, processor: PreTrainedTokenizerBase, name: str, *, cached: bool = True
    ) -> tuple[Dataset | TokenizedStream, list[str]]:
        if isinstance(dataset, StreamedRows):
            return TokenizedStream(dataset, processor, self.max_length, self.truncation_side), []
        tokenized, cut, lost_share, _ = self._tokenize(dataset, processor, name, cached, windows=False)
        told = (name, len(dataset), cut, lost_share, self.max_length, self.truncation_side)
        return tokenized, [truncation.cut_note(*told)] if cut else []

    def preprocess_windows(
        self, dataset: Dataset, processor: PreTrainedTokenizerBase, name: str, *, cached: bool = True
    ) -> tuple[Dataset, list[str]]:
        tokenized, long, lost_share, _ = self._tokenize(dataset, processor, name, cached, windows=True)
        told = (name, len(dataset), long, lost_share, self.max_length, len(tokenized))
        return tokenized, [windows_note(*told)] if long else []

    def _tokenize(
        self, dataset: Dataset, processor: PreTrainedTokenizerBase, name: str, cached: bool, windows: bool
    ) -> tokenization.TokenizedDataset:
        def tokenize(cache_dir: str | None = None) -> tokenization.TokenizedDataset:
            return tokenization.tokenize_dataset(
                dataset,
                processor,
                self.columns.text,
                self.columns.text_pair,
                max_length=self.max_length,
                truncation_side=self.truncation_side,
                windows=windows,
                cache_dir=cache_dir,
                description=f"tokenizing {name}",
            )

        if cached:
            return tokenize()
        with tempfile.TemporaryDirectory() as scratch, quiet():
            tokenized = tokenize(scratch)
            rows = tokenized.dataset
            return tokenized._replace(dataset=Dataset(rows.data.table.combine_chunks(), info=rows.info))

    def check(
        self, prepared: Prepared, inputs: dict[str, Dataset | TokenizedStream], processor: PreTrainedTokenizerBase
    ) -> DataChecks:
        special = processor.num_special_tokens_to_add(pair=self.columns.text_pair is not None)
        # Where it is also the mark of a text's end (GPT-2, OPT), the tokenizer never needs it for an unknown word.
        frame = {processor.bos_token, processor.eos_token, processor.cls_token, processor.sep_token}
        unknown_id = None if processor.unk_token in frame else processor.unk_token_id
        splits, example = {}, None
        for name, rows in prepared.splits().items():
            streamed = isinstance(rows, StreamedRows)
            labels = _labels(rows) if "labels" in rows.column_names else None
            tables = inputs[name].first_tables() if streamed else inputs[name].with_format("arrow").iter(10_000)
            splits[name] = check_split(
                name,
                prepared.keys,
                labels,
                rows.empty if streamed else empty_texts(rows, self.columns),
                count_tokens(tables, unknown_id, special),
                self.mapping,
            )
            if splits[name].two_labels and example is None and not streamed:
                example = self._disagreement(rows, prepared.keys[name], labels)
        alike = similar_labels(self.mapping.names)
        return DataChecks(splits, alike, self.max_length, example)

    def _disagreement(self, dataset: Dataset, keys: np.ndarray, labels: np.ndarray) -> str:
        """One text with two labels, for a sentence."""
        both = dataset.select(two_rows_that_disagree(keys, labels))
        text = " ".join(self._joined_texts(both)[0].split())
        text = text if len(text) <= 60 else f"{text[:57]}..."
        return f"`{text}` is {' and '.join(self._label_name(value) for value in _labels(both))}"

    def _label_name(self, value: Any) -> str:
        """An encoded label for a sentence; `[c]` for several."""
        names, problem = self.mapping.names, self.mapping.problem_type
        if problem == MULTI:
            return "+".join(np.array(names)[value > 0]) or "no label"
        return names[value] if problem == SINGLE else f"{value:g}"

    def collator(self, processor: PreTrainedTokenizerBase) -> PadRows:
        # Few different lengths, and products whose sides are multiples of 8: a GPU's matrix units want both
        # (docs.nvidia.com/deeplearning/performance/dl-performance-matrix-multiplication). A CPU gains nothing by it.
        return PadRows(processor, multiple=8 if torch.cuda.is_available() else 1)

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

    def output_bias(self) -> list[float] | None:
        return self._bias

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
        return self.answers.doubts(predictions, labels, name)

    @property
    def metric_for_best_model(self) -> str:
        plain = {SINGLE: "accuracy", MULTI: "f1_micro", "regression": "pearson"}[self.mapping.problem_type]
        return "f1_macro" if self.skewed else plain

    def input_row(self, item: str | tuple[str, str] | dict[str, str]) -> dict[str, str]:
        if isinstance(item, str):
            item = {"text": item}
        elif not isinstance(item, dict):
            item = dict(zip(("text", "text_pair"), item, strict=True))
        needed = ["text", "text_pair"] if self.columns.text_pair else ["text"]
        if list(item) != needed or not all(isinstance(text, str) for text in item.values()):
            wanted = "a pair of texts (--text_pair)" if len(needed) == 2 else "one text"
            raise UserError(f"this model reads {wanted} at a time; got {item}")
        return item

    def input_dataset(self, rows: list[dict[str, str]]) -> Dataset:
        names = {"text": self.columns.text, "text_pair": self.columns.text_pair}
        return Dataset.from_dict({names[key]: [row[key] for row in rows] for key in rows[0]})

    def sample_inputs(self, dataset: Dataset, number: int) -> list[dict[str, str]]:
        most = (self.max_length - 8) // len(self._text_columns())
        if self.truncation_side == "middle":  # which tokenizers cannot do: nothing may be cut
            most //= 4  # of any tokenizer a character is four tokens at the most, the bytes of an emoji
        most = max(1, most)
        filled = np.flatnonzero(~empty_texts(dataset, self.columns))
        chosen = filled[np.unique(np.linspace(0, len(filled) - 1, min(number, len(filled))).astype(int))]
        rows = dataset.select(chosen)
        columns = [[text[:most].strip() or text.strip()[:1] for text in rows[name]] for name in self._text_columns()]
        names = ("text", "text_pair")[: len(columns)]
        return [dict(zip(names, texts, strict=True)) for texts in zip(*columns, strict=True)]

    def label_names(self) -> list[str] | None:
        return None if self.mapping.problem_type == "regression" else self.mapping.names

    def usage(self, row: dict[str, str], *, own_code: bool, base: Base | None) -> str:
        example = repr(row) if len(row) > 1 else repr(row["text"])
        return classifier_usage(
            self.pipeline_tag,
            self.auto_class.__name__,
            "AutoTokenizer",
            example,
            own_code=own_code,
            base=base,
        )

    def usage_answer(self, output: list[float]) -> dict[str, Any]:
        return self.answers.most_likely(np.array([output]))

    def read_inputs(self, path: str) -> Iterator[str | tuple[str, str]]:
        named = (self.arguments.text_column, self.arguments.text_pair_column)
        return read_texts(path, self.columns, *named)

    def line(self, row: dict[str, str], answer: dict[str, Any]) -> str:
        texts = "\t".join(text.replace("\t", " ").replace("\n", " ") for text in row.values())
        if "label" in answer:
            return f"{answer['label']}\t{answer['score']:.3f}\t{texts}"
        if "labels" in answer:
            return f"{', '.join(answer['labels']) or '-'}\t{texts}"
        return f"{answer['score']:.3f}\t{texts}"

    def decode(self, predictions: np.ndarray) -> list[dict[str, Any]]:
        return self.answers.decode(predictions)

    def baselines(
        self, train: Dataset | StreamedRows, evaluated: dict[str, Dataset]
    ) -> dict[str, dict[str, dict[str, float]]]:
        from hf_kit.baselines import text_baselines

        if isinstance(train, StreamedRows):
            train = train.sample()
        return text_baselines(
            self.mapping.problem_type,
            self._joined_texts(train),
            _labels(train),
            {name: self._joined_texts(split) for name, split in evaluated.items()},
            {name: _labels(split) for name, split in evaluated.items()},
            self.mapping.num_labels,
        )

    def _joined_texts(self, dataset: Dataset) -> list[str]:
        columns = [dataset[c][:] for c in self._text_columns()]
        return [" ".join(parts) for parts in zip(*columns, strict=True)]

    def details(self, predictions: np.ndarray, labels: np.ndarray) -> tuple[list[str], list[Sequence[Any]]]:
        rows = self.answers.per_class(predictions, labels)
        return (["label", "precision", "recall", "f1", "rows"], rows) if rows else ([], [])

    def figures(self, predictions: np.ndarray, labels: np.ndarray, folder: Path) -> list[Path]:
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


def _given_tokenizer(arguments: ModelArguments) -> PreTrainedTokenizerBase:
    if arguments.tokenizer_name:
        # Never its code: the commit that the user has read is the model's.
        return tokenization.load_tokenizer(arguments.tokenizer_name)
    name = resolve_checkpoint(arguments.model_name_or_path)
    return tokenization.load_tokenizer(
        name, revision=arguments.model_revision, trust_remote_code=may_run_code(arguments, name)
    )


def _keep_some(splits: Splits, name: str, most: int | None) -> None:
    """Cut a split to a trial's rows, drawn evenly: files are often sorted by class. A stream's stay in their order."""
    dataset = getattr(splits, name)
    if most is None or most >= len(dataset):
        return
    if isinstance(dataset, StreamedRows):
        kept = dataset.keep(dataset.evenly(most))
        splits.keys[name] = kept.keys
    else:
        rows = np.random.default_rng(0).permutation(len(dataset))[:most]
        kept = dataset.select(rows)
        splits.keys[name] = splits.keys[name][rows]
    setattr(splits, name, kept)


def _labels(dataset: Dataset | StreamedRows) -> Any:
    """`[n]` ids or numbers, `[n, c]` of 0 and 1 (sparse for a stream)."""
    if isinstance(dataset, StreamedRows):
        return dataset.labels
    return np.asarray(dataset.select_columns("labels").with_format("numpy")["labels"][:])  # other columns stay unread


TASK = TextClassification
