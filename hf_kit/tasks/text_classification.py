"""Text classification: one text or a pair of texts; one label, several labels or a number."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
)

from hf_kit import console, pair_encoding, tokenization, truncation
from hf_kit.answers import MULTI, SINGLE
from hf_kit.arguments import ModelArguments
from hf_kit.backbone import fit_config_to_tokenizer
from hf_kit.collation import PadRows
from hf_kit.data import (
    DataChecks,
    TextColumns,
    check_split,
    check_texts,
    column_if_there,
    count_tokens,
    empty_texts,
    find_columns,
    read_texts,
    similar_labels,
    two_rows_that_disagree,
)
from hf_kit.data.labels import mapping_of
from hf_kit.data.quiet import quiet
from hf_kit.data.row_stream import RowStream
from hf_kit.data.sample import load_sample
from hf_kit.data.streamed_rows import StreamedRows, scan
from hf_kit.data.text_keys import text_keys
from hf_kit.errors import UserError
from hf_kit.models import own_model_types
from hf_kit.models.bi_encoder import BiEncoderConfig
from hf_kit.pair_encoding import APART, TOGETHER, bi_encoder_config, embeds_single_texts
from hf_kit.process_group import from_main_process
from hf_kit.streaming import TokenizedStream
from hf_kit.tasks.classification import Classification, labels_of, parse_class_weights
from hf_kit.tasks.task import Prepared
from hf_kit.tokenizer_training import in_the_class_that_loads, train_tokenizer
from hf_kit.vector_file import VectorFile
from hf_kit.windows import windows_note


@dataclass
class TextClassificationArguments:
    """What is read and how it is learned."""

    _argument_group_name = "text classification"

    text_column: str | None = field(default=None, metadata={"help": "The column of texts; unset: found by its name."})
    text_pair_column: str | None = field(default=None, metadata={"help": "The column of second texts, for pairs."})
    label_column: str | None = field(default=None, metadata={"help": "The column of labels."})
    pair_encoding: str = field(
        default=TOGETHER,
        metadata={
            "help": "How the texts of a pair are read: together, each in sight of the other; or apart, each by itself, "
            "and then compared (a bi-encoder): for checkpoints that embed sentences, and how alike two texts are.",
            "choices": [TOGETHER, APART],
        },
    )
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
        self.class_weights = parse_class_weights(self.class_weights)


class TextClassification(Classification):
    """Sequence classification through `AutoModelForSequenceClassification`."""

    Arguments = TextClassificationArguments
    not_streamed = None
    pipeline_tag = "text-classification"
    proof_kind = "text"
    auto_class = AutoModelForSequenceClassification
    peft_task_type = "SEQ_CLS"
    column_flags = ("text_column", "text_pair_column", "label_column")

    columns: TextColumns
    max_length: int
    truncation_side: str
    _reads_apart = False

    @property
    def example_input(self) -> str:
        """As `Task` has it, with a second text once the columns are known to be those of pairs."""
        known = getattr(self, "columns", None)
        return f'{super().example_input} --text_pair "another"' if known and known.text_pair else super().example_input

    @classmethod
    def arranged(
        cls, arguments: TextClassificationArguments, model_arguments: ModelArguments, config: PreTrainedConfig
    ) -> PreTrainedConfig:
        if arguments.pair_encoding == TOGETHER or config.model_type == BiEncoderConfig.model_type:
            return config
        if model_arguments.model_name_or_path is None:
            raise UserError(
                f"{pair_encoding.FLAG} with --model_type {model_arguments.model_type}: a fresh model's embeddings say "
                "nothing yet; give a checkpoint (--model_name_or_path), or leave it out"
            )
        return bi_encoder_config(model_arguments, config, tokenization.given_tokenizer(model_arguments))

    def check_model(self, model_arguments: ModelArguments, config: PreTrainedConfig, *, fresh: bool) -> None:
        self._reads_apart = config.model_type == BiEncoderConfig.model_type
        if model_arguments.tokenizer_name or not fresh:
            tokenizer = tokenization.given_tokenizer(model_arguments)
            if not fresh and tokenizer.vocab_size > config.get_text_config().vocab_size:
                raise UserError(
                    f"the tokenizer has {tokenizer.vocab_size:,} tokens and the model an embedding for "
                    f"{config.get_text_config().vocab_size:,}: they do not belong together; give another "
                    "--tokenizer_name, or leave it out"
                )
        if self.arguments.max_length:
            tokenization.check_max_length(self.arguments.max_length, config)

    def load_sample(self) -> Dataset:
        return load_sample()

    def find_columns(self, rows: Dataset | RowStream) -> None:
        flags, known = self.arguments, getattr(self, "columns", TextColumns("", None, None))
        names = {"text_column": known.text, "text_pair_column": known.text_pair, "label_column": known.label}
        found = find_columns(
            rows.column_names,
            rows.features,
            **{flag: getattr(flags, flag) or column_if_there(name, rows) for flag, name in names.items()},
        )
        if known.text_pair and not found.text_pair:
            raise UserError("the model reads pairs of texts; name the second column with --text_pair_column")
        single = known.text and not known.text_pair
        self.columns = TextColumns(found.text, None if single else found.text_pair, found.label)
        if self._reads_apart and not self.columns.text_pair:
            raise UserError(
                f"the model reads the texts of a pair apart, and the rows hold no second text (columns: "
                f"{', '.join(rows.column_names)}); name it with --text_pair_column, or take another model"
            )

    def scan_stream(self, train: RowStream, buffer_size: int) -> StreamedRows:
        scanned = scan(train, self.columns)
        self.mapping = mapping_of(scanned.labels, self.columns.label, self.arguments.problem_type)
        return StreamedRows(train, scanned, self.columns, self.mapping, buffer_size)

    def check_inputs(self, rows: Dataset, name: str, notes: list[str], files: Sequence[str]) -> Dataset:
        rows = check_texts(rows, self.columns, name)
        if empty_texts(rows, self.columns).all():
            raise UserError(f"{name}: every text in column `{self.columns.text}` is empty; name another --text_column")
        return rows

    def keys(self, rows: Dataset) -> np.ndarray:
        return text_keys(rows, self.columns)

    def state(self) -> dict[str, Any]:
        return super().state() | {
            "columns": {k: getattr(self.columns, k) for k in ("text", "text_pair", "label")},
            "max_length": self.max_length,
            "truncation_side": self.truncation_side,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.columns = TextColumns(**state["columns"])
        super().restore(state)
        self.max_length = state["max_length"]
        self.truncation_side = state.get("truncation_side", "right")  # runs from before the flag have none
        if not isinstance(self.max_length, int) or self.max_length < 3 or self.truncation_side not in truncation.SIDES:
            raise ValueError(f"max_length {self.max_length!r}, truncation_side {self.truncation_side!r}")

    def load_processor(
        self, model_arguments: ModelArguments, config: PreTrainedConfig, train: Dataset | StreamedRows, *, fresh: bool
    ) -> PreTrainedTokenizerBase:
        if model_arguments.tokenizer_name or not fresh:
            tokenizer = tokenization.given_tokenizer(model_arguments)
            self._tell_of_reading_apart(model_arguments)
        else:
            tokenizer = from_main_process(lambda: self._train_tokenizer(model_arguments, config, train))
        fit_config_to_tokenizer(config, tokenizer, fresh=fresh)
        if getattr(config.get_text_config(), "type_vocab_size", 2) < 2:
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

    def _tell_of_reading_apart(self, model_arguments: ModelArguments) -> None:
        numbers = self.mapping.problem_type == "regression" and self.columns.text_pair
        if numbers and not self._reads_apart and embeds_single_texts(model_arguments):
            console.say(
                f"{model_arguments.model_name_or_path} embeds single texts (sentence-transformers). Where the numbers "
                f"say how alike two texts are, {pair_encoding.FLAG} starts from what it knows"
            )

    def _train_tokenizer(
        self, model_arguments: ModelArguments, config: PreTrainedConfig, train: Dataset | StreamedRows
    ) -> PreTrainedTokenizerBase:
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
        return in_the_class_that_loads(tokenizer, config, texts, model_arguments.vocab_size)

    def open_processor(self, folder: Path) -> PreTrainedTokenizerBase:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)

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
            labels = labels_of(rows) if "labels" in rows.column_names else None
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
        return f"`{text}` is {' and '.join(self._label_name(value) for value in labels_of(both))}"

    def collator(self, processor: PreTrainedTokenizerBase) -> PadRows:
        # Few different lengths, and products whose sides are multiples of 8: a GPU's matrix units want both
        # (docs.nvidia.com/deeplearning/performance/dl-performance-matrix-multiplication). A CPU gains nothing by it.
        return PadRows(processor, multiple=8 if torch.cuda.is_available() else 1)

    def inputs_of(self, word: str, pair: str | None = None) -> Iterator[str | tuple[str, str]]:
        yield word if pair is None else (word, pair)

    def input_row(self, item: str | tuple[str, str] | dict[str, str]) -> dict[str, str]:
        row = item
        if isinstance(item, str):
            row = {"text": item}
        elif not isinstance(item, dict):
            try:
                row = dict(zip(("text", "text_pair"), item, strict=True))
            except (TypeError, ValueError):  # nothing that has items (None, NaN), or too few or too many of them
                row = {}
        needed = ["text", "text_pair"] if self.columns.text_pair else ["text"]
        if list(row) != needed or not all(isinstance(text, str) for text in row.values()):
            wanted = "a pair of texts (--text_pair)" if len(needed) == 2 else "one text"
            raise UserError(f"this model reads {wanted} at a time; got {row or item!r}")
        return row

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

    def usage_example(self, row: dict[str, str]) -> str:
        return repr(row) if len(row) > 1 else repr(row["text"])

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

    def baselines(
        self, train: Dataset | StreamedRows, evaluated: dict[str, Dataset]
    ) -> dict[str, dict[str, dict[str, float]]]:
        from hf_kit.baselines import text_baselines

        if isinstance(train, StreamedRows):
            train = train.sample()
        return text_baselines(
            self.mapping.problem_type,
            self._joined_texts(train),
            labels_of(train),
            {name: self._joined_texts(split) for name, split in evaluated.items()},
            {name: labels_of(split) for name, split in evaluated.items()},
            self.mapping.num_labels,
        )

    def _joined_texts(self, dataset: Dataset) -> list[str]:
        columns = [dataset[c][:] for c in self._text_columns()]
        return [" ".join(parts) for parts in zip(*columns, strict=True)]


TASK = TextClassification
