"""Translation: a text of one language becomes a text of another, written by an encoder-decoder.

Sutskever et al. 2014 (arXiv:1409.3215) and Vaswani et al. 2017 (arXiv:1706.03762). English to Chinese is what this kit
measures; other pairs go the same way.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from torch import Tensor
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    EvalPrediction,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from hf_kit import languages, tokenization
from hf_kit.arguments import DataArguments, ModelArguments
from hf_kit.backbone import fit_config_to_tokenizer
from hf_kit.collation import PadPairs
from hf_kit.data import (
    DataChecks,
    RawSplits,
    TextColumns,
    check_split,
    check_texts,
    count_tokens,
    empty_texts,
    make_splits,
    read_sources,
)
from hf_kit.data.languages import base_language, language_by_script
from hf_kit.data.pair_filters import PairFilter
from hf_kit.data.parallel import TranslationColumns, find_source_column, find_translation_columns, flatten_translation
from hf_kit.data.quiet import quiet
from hf_kit.data.text_keys import text_keys
from hf_kit.errors import UserError
from hf_kit.generation import generate
from hf_kit.pair_tokenization import tokenize_pairs
from hf_kit.process_group import from_main_process
from hf_kit.tasks.task import Prepared, Task
from hf_kit.token_loss import IGNORED, log_probabilities, token_loss
from hf_kit.token_loss import count_tokens as count_written
from hf_kit.tokenizer_training import in_the_class_that_loads, train_tokenizer
from hf_kit.usage import Base, writer_usage

DEFAULT_MAX_LENGTH = 256
BEAMS = 4
MOST_SAMPLES = 20


@dataclass
class TranslationArguments:
    """What is read and what is to be written."""

    _argument_group_name = "translation"

    source_column: str | None = field(
        default=None, metadata={"help": "The column of texts to translate; unset: found by its name."}
    )
    target_column: str | None = field(default=None, metadata={"help": "The column of translations."})
    source_lang: str | None = field(
        default=None,
        metadata={
            "help": "The language to translate from (en); unset: as the column is named. Models of many languages "
            "have codes of their own (en_XX, eng_Latn), which are found."
        },
    )
    target_lang: str | None = field(default=None, metadata={"help": "The language to translate to (zh)."})
    source_prefix: str | None = field(
        default=None,
        metadata={"help": "Put before every source, for T5; unset: `translate English to Chinese: ` for T5 itself."},
    )
    max_source_length: int | None = field(
        default=None,
        metadata={
            "help": "Tokens of a source: longer training pairs are left out, others are cut; unset: what the model "
            "takes, at most 256."
        },
    )
    max_target_length: int | None = field(
        default=None,
        metadata={"help": "Tokens of a translation, in training and when one is written; unset: likewise."},
    )
    max_length_ratio: float = field(
        default=9.0,
        metadata={
            "help": "Leave out training pairs of which one side has more than so many times the tokens of the "
            "other: they are seldom translations; 0: none."
        },
    )

    def __post_init__(self):
        for name in ("max_source_length", "max_target_length"):
            value = getattr(self, name)
            if value is not None and value < 4:
                raise ValueError(f"--{name} is {value}; a text needs at least 4 tokens")
        if self.max_length_ratio != 0 and self.max_length_ratio < 1:
            raise ValueError(
                f"--max_length_ratio is {self.max_length_ratio}; allowed: 1 or more, or 0 (none is left out)"
            )


class Translation(Task):
    """Translation through `AutoModelForSeq2SeqLM`.

    The rows of its splits have the source column and, where translations are known, these as `labels`.
    """

    Arguments = TranslationArguments
    auto_class = AutoModelForSeq2SeqLM
    peft_task_type = "SEQ_2_SEQ_LM"
    generates = True
    pipeline_tag = "translation"
    proof_kind = "text_to_text"
    not_streamed = "tokens of pairs lie in a memory-mapped file, so that memory does not grow with them"
    example_input = '"Where is the station?"'
    column_flags = ("source_column", "target_column")
    lower_is_better = frozenset({"loss", "ter"})
    tokenizer_type = "unigram"
    metric_for_best_model = "bleu"

    columns: TranslationColumns
    source_lang: str | None
    target_lang: str | None
    prefix: str
    max_source_length: int
    max_target_length: int
    start: int  # the token that the decoder starts from

    def __init__(self, arguments: Any, label_smoothing: float = 0.0):
        super().__init__(arguments, label_smoothing)
        self._begins: int | None = None  # the token that every output must begin with
        self._dropped: dict[str, dict[str, int]] = {}
        self._metrics: Any = None

    # The rows.

    def check_model(self, model_arguments: ModelArguments, config: PreTrainedConfig, *, fresh: bool) -> None:
        flags = self.arguments
        if not config.is_encoder_decoder:
            raise UserError(
                f"{config.model_type} is no encoder-decoder, which translation needs: marian, bart, t5, mbart, m2m_100 "
                "or hf_kit_lstm_seq2seq, say"
            )
        for name in ("max_source_length", "max_target_length"):
            if getattr(flags, name):
                tokenization.check_max_length(getattr(flags, name), config, flag=name)
        if not fresh or model_arguments.tokenizer_name:
            tokenizer = tokenization.given_tokenizer(model_arguments)
            codes = languages.language_tokens(tokenizer)
            for flag in ("source_lang", "target_lang"):
                if codes and getattr(flags, flag):
                    languages.find_language(getattr(flags, flag), codes, flag)

    def load_sample(self) -> Dataset:
        raise UserError(
            "translation has no sample of its own: give --train_file FILE (two columns, a column `translation`, or "
            "corpus.en beside corpus.zh) or --dataset_name NAME"
        )

    def prepare(self, raw: RawSplits, data_arguments: DataArguments) -> Prepared:
        if raw.train is None:
            raise UserError("there are no training rows: give --train_file or --dataset_name")
        flags, notes = self.arguments, []
        given = {"train": raw.train, "validation": raw.validation, "test": raw.test}
        given = {name: flatten_translation(rows, name) for name, rows in given.items() if rows is not None}
        train = given["train"]
        self.columns = find_translation_columns(
            train.column_names,
            train.features,
            flags.source_column,
            flags.target_column,
            flags.source_lang,
            flags.target_lang,
        )
        self.source_lang, self.target_lang = self.columns.source_lang, self.columns.target_lang
        if self.target_lang is None:
            # For scores and the card. A model of several languages is told only what the user has said.
            self.target_lang = language_by_script(_some_texts(train, self.columns.target))
        elif base_language(self.target_lang) is None:
            notes.append(f"--target_lang {self.target_lang}: no language is known by this name; scored like English")
        languages_named = " -> ".join(
            f"`{column}`" + (f" ({language})" if language and language != column else "")
            for column, language in (
                (self.columns.source, self.source_lang),
                (self.columns.target, self.target_lang),
            )
        )
        notes.append(f"translating {languages_named}")
        rows = {name: self._label(split, name, notes) for name, split in given.items()}
        for name in ("train", "validation"):
            if name in rows and "labels" not in rows[name].column_names:
                raise UserError(f"{name}: no translations in column `{self.columns.target}`; they are needed here")
        splits = make_splits(
            RawSplits(
                **{name: rows.get(name) for name in ("train", "validation", "test")}, name=raw.name, files=raw.files
            ),
            {name: self.keys(split) for name, split in rows.items()},
            None,
            validation_split_percentage=data_arguments.validation_split_percentage,
            test_split_percentage=data_arguments.test_split_percentage,
            drop_leaks=data_arguments.drop_leaks,
        )
        for name in list(splits.keys):
            splits.keep_some(name, getattr(data_arguments, f"max_{'train' if name == 'train' else 'eval'}_samples"))
        return Prepared(splits.train, splits.validation, splits.test, notes + splits.notes, splits.keys)

    def _label(self, rows: Dataset, name: str, notes: list[str]) -> Dataset:
        """The columns that are read, the target's as `labels`."""
        source, target = self.columns.source, self.columns.target
        wanted = target in rows.column_names and rows.data[target].null_count < len(rows)
        rows = check_texts(rows, TextColumns(source, target if wanted else None, None), name)
        if not wanted:
            notes.append(f"{name}: no translations, so it is translated and not scored")
            return rows.select_columns([source])
        if empty_texts(rows, TextColumns(source, None, None)).all():
            raise UserError(f"{name}: every text in column `{source}` is empty; name another --source_column")
        return rows.select_columns([source, target]).rename_column(target, "labels")

    def keys(self, rows: Dataset) -> np.ndarray:
        return text_keys(rows, TextColumns(self.columns.source, None, None))

    def encode(self, dataset: Dataset, name: str, notes: list[str], files: Sequence[str] = ()) -> Dataset:
        dataset = flatten_translation(dataset, name)
        flags, known = self.arguments, self.columns
        source = find_source_column(dataset.column_names, dataset.features, known, flags.source_column)
        target = flags.target_column or known.target
        if flags.target_column and target not in dataset.column_names:
            raise UserError(
                f"--target_column {target}: there is no such column among {', '.join(dataset.column_names)}"
            )
        self.columns = TranslationColumns(source, target, known.source_lang, known.target_lang)
        return self._label(dataset, name, notes)

    def state(self) -> dict[str, Any]:
        named = ("source_lang", "target_lang", "prefix", "max_source_length", "max_target_length", "start")
        return {name: getattr(self, name) for name in named} | {
            "columns": {"source": self.columns.source, "target": self.columns.target},
            "label_smoothing": self.label_smoothing,
        }

    def restore(self, state: dict[str, Any]) -> None:
        for name in ("source_lang", "target_lang", "prefix", "max_source_length", "max_target_length", "start"):
            setattr(self, name, state[name])
        columns = state["columns"]
        self.columns = TranslationColumns(columns["source"], columns["target"], self.source_lang, self.target_lang)
        self.label_smoothing = state["label_smoothing"]
        for name in ("max_source_length", "max_target_length"):
            if not isinstance(state[name], int) or state[name] < 4:
                raise ValueError(f"{name} {state[name]!r}")

    # The tokens.

    def configure(self, config: PreTrainedConfig) -> None:
        config.decoder_start_token_id = self.start

    def load_processor(
        self, model_arguments: ModelArguments, config: PreTrainedConfig, train: Dataset, *, fresh: bool
    ) -> PreTrainedTokenizerBase:
        if model_arguments.tokenizer_name or not fresh:
            tokenizer = tokenization.given_tokenizer(model_arguments)
        else:
            tokenizer = from_main_process(lambda: self._train_tokenizer(model_arguments, config, train))
        fit_config_to_tokenizer(config, tokenizer, fresh=fresh)
        named = self.columns
        self._begins = languages.set_languages(tokenizer, config, named.source_lang, named.target_lang)
        self.prefix = self.arguments.source_prefix
        if self.prefix is None and not fresh:
            self.prefix = languages.default_prefix(tokenizer, config, named.source_lang, named.target_lang)
        self.prefix = self.prefix or ""
        for name in ("max_source_length", "max_target_length"):
            asked = getattr(self.arguments, name)
            most = tokenization.effective_max_length(tokenizer, config, asked, flag=name)
            setattr(self, name, most if asked else min(most, DEFAULT_MAX_LENGTH))
        tokenizer.model_max_length = self.max_source_length
        if config.decoder_start_token_id is None:
            raise UserError(
                f"this {config.model_type} checkpoint does not say which token its decoder starts from; give it in "
                "--config_overrides '{\"decoder_start_token_id\": ...}'"
            )
        self.start = config.decoder_start_token_id
        self._tokenizer = tokenizer
        return tokenizer

    def _train_tokenizer(
        self, model_arguments: ModelArguments, config: PreTrainedConfig, train: Dataset
    ) -> PreTrainedTokenizerBase:
        texts = [*train[self.columns.source], *train["labels"]]  # one vocabulary for both languages
        tokenizer = train_tokenizer(
            texts,
            tokenizer_type=model_arguments.tokenizer_type,
            vocab_size=model_arguments.vocab_size,
            special_tokens="seq2seq",
            lowercase=False,
        )
        return in_the_class_that_loads(tokenizer, config, texts, model_arguments.vocab_size)

    def open_processor(self, folder: Path) -> PreTrainedTokenizerBase:
        self._tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        return self._tokenizer

    def finish_model(self, model: PreTrainedModel, training: Any) -> None:
        # What a fresh model's is made from, the configuration, no longer decides.
        config, longest = model.generation_config, training.generation_max_length
        if longest:
            tokenization.check_max_length(longest, model.config, flag="generation_max_length")
        config._from_model_config = False
        config.decoder_start_token_id = self.start
        config.max_length, config.max_new_tokens = (longest or self.max_target_length) + 1, None
        if training.generation_num_beams or (config.num_beams or 1) == 1:
            config.num_beams = training.generation_num_beams or BEAMS
        if config.num_beams == 1:
            config.early_stopping = config.length_penalty = None  # transformers would not save them
        # What some were told for summaries: a translation may be short, and may say a thing twice.
        config.min_length = config.no_repeat_ngram_size = None
        if self._begins is not None:
            config.forced_bos_token_id = self._begins
        for name in ("pad_token_id", "eos_token_id", "bos_token_id"):
            if getattr(config, name) is None:
                setattr(config, name, getattr(self._tokenizer, name))

    def preprocess(
        self, dataset: Dataset, processor: PreTrainedTokenizerBase, name: str, *, cached: bool = True
    ) -> tuple[Dataset, list[str]]:
        labelled = "labels" in dataset.column_names

        def tokenize(cache_dir: str | None = None) -> Dataset:
            return tokenize_pairs(
                dataset,
                processor,
                self.columns.source,
                "labels" if labelled else None,
                prefix=self.prefix,
                max_source_length=self.max_source_length,
                max_target_length=self.max_target_length,
                cache_dir=cache_dir,
                description=f"tokenizing {name}",
            )

        if cached:
            inputs = tokenize()
        else:
            with tempfile.TemporaryDirectory() as scratch, quiet():
                rows = tokenize(scratch)
                inputs = Dataset(rows.data.table.combine_chunks(), info=rows.info)
        if not labelled:
            return inputs, []
        if name != "train":
            return inputs.add_column("reference", dataset["labels"][:]), []
        frames = [self._frame(processor), len(processor("")["input_ids"])]
        filter = PairFilter(
            self.max_source_length - frames[0],
            self.max_target_length - frames[1],
            self.arguments.max_length_ratio or None,
        )
        columns = inputs.with_format("numpy")
        lengths = [columns[name][:] - own for name, own in zip(("whole", "target_whole"), frames, strict=True)]
        masks = filter.keep(*lengths)
        left_out = np.logical_or.reduce(list(masks.values()))
        self._dropped[name] = {reason: int(mask.sum()) for reason, mask in masks.items()}
        if left_out.all():
            raise UserError(f"train: no pair is left to train on: {filter.describe(self._dropped[name], len(inputs))}")
        return (inputs.select(np.flatnonzero(~left_out)) if left_out.any() else inputs), []

    def _frame(self, processor: PreTrainedTokenizerBase) -> int:
        """The tokens of a source without a text: special ones and the prefix."""
        return len(processor(self.prefix.rstrip())["input_ids"])

    def check(self, prepared: Prepared, inputs: dict[str, Dataset], processor: PreTrainedTokenizerBase) -> DataChecks:
        special = len(processor("")["input_ids"])
        splits = {}
        for name, rows in prepared.splits().items():
            scored = "labels" in rows.column_names
            sides = ["source", "target"] if scored else ["source"]
            counts = [count_tokens(_one_side(inputs[name], side), processor.unk_token_id, special) for side in sides]
            tokens = {key: None if counts[0][key] is None else sum(c[key] for c in counts) for key in counts[0]}
            empty = empty_texts(rows, TextColumns(self.columns.source, "labels" if scored else None, None))
            splits[name] = check_split(
                name, prepared.keys, None, empty, tokens, None, dropped=self._dropped.get(name), scored=scored
            )
        return DataChecks(splits, [], self.max_source_length)

    def collator(self, processor: PreTrainedTokenizerBase) -> PadPairs:
        return PadPairs(processor, self.start, multiple=8 if torch.cuda.is_available() else 1)

    # Training and scores.

    def loss(self, outputs: Any, labels: Tensor, num_items_in_batch: Tensor | None = None) -> Tensor:
        return token_loss(outputs["logits"], labels, num_items_in_batch, self.label_smoothing)

    def count_items(self, labels: Tensor) -> Tensor:
        return count_written(labels)

    def outputs(self, model: PreTrainedModel, batch: dict[str, Tensor], **options: Any) -> Tensor:
        written = generate(model, batch, **options)
        # Asked to translate nothing, a model invents something.
        nothing = batch["attention_mask"].sum(1) <= self._frame(self._tokenizer)  # [b]
        return written.masked_fill(nothing[:, None], IGNORED)

    def proof_of(
        self, model: PreTrainedModel, batch: dict[str, Tensor], processor: PreTrainedTokenizerBase
    ) -> tuple[Tensor, list[dict[str, Any]]]:
        written = []
        for row, mask in enumerate(batch["attention_mask"].bool()):  # as others will ask: one by one
            ids = self.outputs(model, {name: batch[name][row, mask][None] for name in ("input_ids", "attention_mask")})
            written.append(ids[0][ids[0] != IGNORED].tolist())
        pairs = self.collator(processor)(
            [
                {"input_ids": ids[mask.bool()].cpu().numpy(), "labels": np.array(own)}
                for ids, mask, own in zip(batch["input_ids"], batch["attention_mask"], written, strict=True)
            ]
        )
        pairs = {name: value.to(model.device) for name, value in pairs.items()}
        labels = pairs.pop("labels")
        texts = self._texts(np.array([[*own, *[IGNORED] * (labels.shape[1] - len(own))] for own in written]))
        found = [{"ids": ids, "text": text} for ids, text in zip(written, texts, strict=True)]
        return log_probabilities(model(**pairs).logits, labels).cpu(), found

    def _texts(self, written: np.ndarray) -> list[str]:
        """Ids `[n, t]` as texts."""
        rows = [row[row != IGNORED].tolist() for row in written]
        return [text.strip() for text in self._tokenizer.batch_decode(rows, skip_special_tokens=True)]

    @property
    def metrics(self):
        if self._metrics is None:
            from hf_kit.metrics.translation import TranslationMetrics

            self._metrics = TranslationMetrics(self.target_lang)
        return self._metrics

    def compute_metrics(self, prediction: EvalPrediction) -> dict[str, float]:
        """Of written ids `[n, t]` against the wanted texts, `[n]`."""
        return self.metrics.compute(
            predictions=self._texts(prediction.predictions), references=list(prediction.label_ids)
        )

    def metric_names(self) -> set[str]:
        return {"bleu", "chrf", "ter"}

    def signatures(self) -> dict[str, str]:
        return self.metrics.signatures()

    def doubts(self, predictions: np.ndarray, labels: np.ndarray, name: str) -> list[str]:
        texts = self._texts(predictions)
        found = []
        empty, (most, times) = texts.count(""), _most_frequent(texts)
        if empty > len(texts) / 100:
            found.append(f"{name}: {empty:,} of {len(texts):,} translations are empty")
        if times > max(2, len(texts) / 10) and most:
            found.append(f"{name}: {times:,} of {len(texts):,} translations are the same: {most[:60]}")
        return found

    def baselines(self, train: Dataset, evaluated: dict[str, Dataset]) -> dict[str, dict[str, dict[str, float]]]:
        from hf_kit.translation_baselines import translation_baselines

        source = self.columns.source
        return translation_baselines(
            train[source][:],
            train["labels"][:],
            {name: rows[source][:] for name, rows in evaluated.items()},
            {name: rows["labels"][:] for name, rows in evaluated.items()},
            self.target_lang,
        )

    def samples(self, predictions: np.ndarray, labels: np.ndarray, rows: Dataset) -> list[dict[str, Any]]:
        texts = self._texts(predictions)
        scores = np.array(self.metrics.sentence_scores(texts, list(labels)))
        order = np.argsort(-scores, kind="stable")
        chosen = order[np.unique(np.linspace(0, len(order) - 1, min(MOST_SAMPLES, len(order))).astype(int))]
        return [
            {
                "source": rows[int(i)][self.columns.source],
                "reference": labels[i],
                "translation": texts[i],
                "chrf": round(float(scores[i]), 1),
            }
            for i in chosen
        ]

    def figures(
        self, predictions: np.ndarray, labels: np.ndarray, folder: Path, rows: Dataset, processor: Any
    ) -> list[Path]:
        from hf_kit import figures

        scores = self.metrics.sentence_scores(self._texts(predictions), list(labels))
        path = folder / "score_by_length.png"
        figures.score_by_length_figure(
            np.array([len(text) for text in rows[self.columns.source][:]]), np.array(scores), path
        )
        return [path]

    # New texts.

    def inputs_of(self, word: str, pair: str | None = None) -> Iterator[str]:
        if pair is not None:
            raise UserError("--text_pair: this model translates one text at a time; leave it out")
        yield word

    def input_row(self, item: str | dict[str, str]) -> dict[str, str]:
        if isinstance(item, dict) and list(item) == ["text"]:
            item = item["text"]
        if not isinstance(item, str):
            raise UserError(f"this model translates one text at a time; got {item!r}")
        return {"text": item}

    def input_dataset(self, rows: list[dict[str, str]]) -> Dataset:
        return Dataset.from_dict({self.columns.source: [row["text"] for row in rows]})

    def read_inputs(self, path: str) -> Iterator[str]:
        return read_sources(path, self.columns, self.arguments.source_column)

    def line(self, row: dict[str, str], answer: dict[str, Any]) -> str:
        return " ".join(answer["translation"].split())

    def decode(self, predictions: np.ndarray) -> list[dict[str, Any]]:
        return [{"translation": text} for text in self._texts(predictions)]

    # What is published.

    def sample_inputs(self, dataset: Dataset, number: int) -> list[dict[str, str]]:
        filled = np.flatnonzero(~empty_texts(dataset, TextColumns(self.columns.source, None, None)))
        chosen = filled[np.unique(np.linspace(0, len(filled) - 1, min(number, len(filled))).astype(int))]
        most = max(1, (self.max_source_length - len(self.prefix)) // 4)  # a character is four tokens at the most
        texts = dataset.select(chosen)[self.columns.source]
        return [{"text": text[:most].strip() or text.strip()[:1]} for text in texts]

    def noted(self, row: dict[str, str]) -> dict[str, str]:
        return {"text": self.prefix + row["text"]}

    def label_names(self) -> None:
        return None

    def usage(self, row: dict[str, str], *, own_code: bool, base: Base | None) -> str:
        return writer_usage(self.auto_class.__name__, repr(row["text"]), own_code=own_code, base=base)

    def usage_answer(self, output: Any, written: dict[str, Any]) -> str:
        return written["text"]


def _one_side(inputs: Dataset, side: str) -> Iterator[pa.Table]:
    """Tokenized pairs as `count_tokens` reads single texts."""
    ids, whole = ("input_ids", "whole") if side == "source" else ("labels", "target_whole")
    for table in inputs.select_columns([ids, whole]).with_format("arrow").iter(10_000):
        lengths = pa.compute.list_value_length(table[ids])
        yield pa.table({"input_ids": table[ids], "length": lengths, "whole": table[whole]})


def _some_texts(rows: Dataset, column: str, count: int = 200) -> list[str]:
    values = rows.select(range(min(count, len(rows))))[column]
    return [value for value in values if isinstance(value, str)]


def _most_frequent(texts: list[str]) -> tuple[str, int]:
    values, counts = np.unique(np.array(texts, dtype=object), return_counts=True)
    return values[counts.argmax()], int(counts.max())


TASK = Translation
