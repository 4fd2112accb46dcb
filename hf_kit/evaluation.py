"""Scores of a saved run on other rows, computed as the run itself computed its own."""

import tempfile
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from transformers import ProgressCallback

from hf_kit import console, report, unpadding
from hf_kit.arguments import DATA_SOURCES, KitTrainingArguments
from hf_kit.cpu_attention import attend_on_cpu
from hf_kit.data import check_sources, load_splits, naming_files
from hf_kit.errors import UserError
from hf_kit.first_token import compute_first_token_alone
from hf_kit.progress import Progress
from hf_kit.saved_run import open_run
from hf_kit.scoring import plain_scores
from hf_kit.trainer import KitTrainer


@dataclass
class EvaluateArguments:
    """Which rows are scored."""

    _argument_group_name = "data"

    test_file: str | None = field(default=None, metadata={"help": "A csv, tsv, json, jsonl or parquet file."})
    dataset_name: str | None = field(default=None, metadata={"help": "A data set's Hub id or a local folder."})
    dataset_config_name: str | None = field(default=None, metadata={"help": "The Hub data set's configuration."})
    dataset_revision: str | None = field(default=None, metadata={"help": "The Hub data set's branch, tag or commit."})
    test_split_name: str | None = field(default=None, metadata={"help": "The split to score, if not `test`."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "Rows per forward pass."})
    windows: bool = field(
        default=False, metadata={"help": "Read long texts whole, in overlapping windows, and average their logits."}
    )


def evaluate(run_name: str, data: EvaluateArguments, flags: Any = None) -> dict[str, Any]:
    """Score `run_name`'s model; `{"rows": n, "scores": {metric: value}, "details": {...}}`.

    Args:
        run_name: a run folder or a Hub id.
        flags: the task's own flags, where the new data's columns have other names.

    Raises:
        UserError: no rows named, no labels in them, a label that the model does not know.
    """
    if not data.test_file and not data.dataset_name:
        raise UserError("which rows? Give --test_file FILE, or --dataset_name (with --test_split_name)")
    if data.per_device_eval_batch_size < 1:
        raise UserError(f"--per_device_eval_batch_size is {data.per_device_eval_batch_size}; it must be greater than 0")
    sources = {f.name: getattr(data, f.name) for f in fields(data) if f.name in DATA_SOURCES}
    check_sources(**sources)
    run = open_run(run_name, flags)
    raw = load_splits(**sources, wanted=("test",))
    if raw.test is None:
        raise UserError(f"{raw.name} has no test split; name the one to score with --test_split_name")
    with naming_files(raw):
        notes: list[str] = []
        rows = run.task.encode(raw.test, "test", notes, raw.files.get("test", ()))
    if "labels" not in rows.column_names:
        raise UserError("these rows have no labels to score against; `hf-kit predict RUN --file ...` labels them")
    preprocess = run.task.preprocess_windows if data.windows else run.task.preprocess
    inputs, more = preprocess(rows, run.processor, "test")
    for note in notes + more:
        console.say(f"  {note}")
    with tempfile.TemporaryDirectory() as scratch:
        training = KitTrainingArguments(
            output_dir=scratch,
            per_device_eval_batch_size=data.per_device_eval_batch_size,
            eval_strategy="no",
            save_strategy="no",
            load_best_model_at_end=False,
        )
        training.mixed_precision = run.precision(use_cpu=training.use_cpu).mixed_precision
        training._n_gpu = min(training.n_gpu, 1)  # torch's DataParallel would compute without autocast
        trainer = KitTrainer(
            task=run.task,
            model=run.model,
            args=training,
            processing_class=run.processor,
            data_collator=run.task.collator(run.processor),
        )
        if training.device.type == "cpu":
            attend_on_cpu(run.model)
            compute_first_token_alone(run.model)
        unpadding.unpad_where_it_pays(run.model, training)
        trainer.remove_callback(ProgressCallback)
        trainer.add_callback(Progress)
        if data.windows:
            output = trainer.predict_windows(inputs, np.asarray(rows.with_format("numpy")["labels"][:]))
        else:
            output = trainer.predict(inputs, metric_key_prefix="test")
    columns, details = run.task.details(output.predictions, output.label_ids)
    scores = plain_scores(output.metrics, "test")
    for doubt in run.task.doubts(output.predictions, output.label_ids, "test"):
        console.warn(doubt)
    report.scores_table({"test": scores})
    report.details_table(columns, details, "test")
    return {"rows": len(rows), "scores": scores, "details": {"columns": columns, "rows": details}}
