"""The way of one run, from arguments to the saved folder; the same for every task and model."""

import os
import platform
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import EarlyStoppingCallback, PreTrainedConfig, PrinterCallback, ProgressCallback, set_seed
from transformers.trainer_utils import SchedulerType

import hf_kit
from hf_kit import backbone, console, lora, report, run_folder
from hf_kit.arguments import NOT_IN_FINGERPRINT, Arguments
from hf_kit.data import load_splits
from hf_kit.errors import UserError
from hf_kit.families import family_defaults
from hf_kit.precision import choose_precision
from hf_kit.progress import EvaluationLines, Progress
from hf_kit.sampler import bucketed_order, padding_share
from hf_kit.tasks import find_task
from hf_kit.tasks.task import Prepared, Task
from hf_kit.trainer import KitTrainer, row_lengths

# What Trainer reports beside the scores.
NOT_SCORES = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time")


def train(arguments: Arguments) -> Path:
    """Train, score and save one model as `arguments` say; the run folder.

    A folder with the same run, unfinished, is continued; finished, it is shown again.

    Raises:
        UserError: a mistake in the flags, the data or the folder; nothing of the user's has been changed.
    """
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()  # a flash per checkpoint, in the middle of our own
    set_seed(arguments.training.seed)
    console.heading("Settings")
    task = find_task(arguments.task_name)(arguments.task, arguments.training.label_smoothing_factor)
    config = settle_settings(arguments)

    console.heading("Data")
    prepared = load_data(arguments, task)
    folder, state, parts = settle_folder(arguments, prepared, config)
    if state == "finished":
        console.say(f"This run is finished: {folder}")
        report.show_finished(folder)
        return folder
    print_configuration(arguments)

    console.heading("Model")
    fresh = arguments.model.model_name_or_path is None
    processor = task.load_processor(arguments.model, config, prepared.train, fresh=fresh)
    backbone.fit_config_to_tokenizer(config, processor, fresh=fresh)
    task.configure(config)
    inputs = preprocess(task, prepared, processor)
    base = backbone.load_model(arguments.model, config, task.auto_class, arguments.training.seed)
    head = backbone.head_modules(base.model)
    model = lora.add_lora(base, arguments.lora, task.peft_task_type) if arguments.lora.use_peft else base.model
    describe_model(model, base)
    describe_batches(arguments, inputs["train"])

    trainer = make_trainer(arguments, task, model, processor, inputs)
    if console.is_main_process() and state == "new":
        write_run_facts(folder, arguments, task, parts)

    console.heading("Training")
    trained = fit(trainer, arguments, folder)

    console.heading("Results")
    results = score(trainer, task, prepared, inputs, arguments, folder)
    results["training"] = trained
    save(trainer, arguments, folder, head)
    if console.is_main_process():
        run_folder.write_json(folder / run_folder.RESULTS, results)
    report.scores_table(results)
    report.verdict(results, arguments.training.metric_for_best_model, arguments.training.greater_is_better)
    console.say(f'Saved in {folder}. Now try:\n  hf-kit predict {folder} "a text of yours"')
    return folder


def settle_settings(arguments: Arguments) -> PreTrainedConfig:
    """Fill what the user left open: by the model's family, by the device. The model's configuration, loaded."""
    training = arguments.training
    config = backbone.load_config(arguments.model)
    pretrained = arguments.model.model_name_or_path is not None
    if arguments.lora.use_peft:
        lora.check_lora(arguments.lora, config.model_type, pretrained)
    family, values = family_defaults(config.model_type, pretrained=pretrained, use_peft=arguments.lora.use_peft)
    for name, value in values.items():
        if name == "lr_scheduler_type":
            value = SchedulerType(value)
        arguments.set_default(name, value, f"family: {family}")

    precision = choose_precision(
        config.model_type,
        bf16=training.bf16 if arguments.is_set("bf16") else None,
        fp16=training.fp16 if arguments.is_set("fp16") else None,
        launched=os.environ.get("ACCELERATE_MIXED_PRECISION", ""),
        use_cpu=training.use_cpu,
    )
    training.mixed_precision = precision.mixed_precision
    training.bf16, training.fp16 = precision.mixed_precision == "bf16", precision.mixed_precision == "fp16"
    if training.n_gpu > 1:
        # One process over several GPUs is torch's DataParallel: slower, and its loss is scaled otherwise.
        training._n_gpu = 1
        console.warn("several GPUs and one process: one GPU is used; start with `accelerate launch --multi_gpu`")
    name = torch.cuda.get_device_name() if training.device.type == "cuda" else platform.processor() or "CPU"
    word = {"no": "fp32"}.get(precision.mixed_precision, precision.mixed_precision)
    console.say(
        f"{training.world_size} process(es) on {training.device.type} ({name}, {torch.get_num_threads()} threads), "
        f"precision {word}: {precision.reason}"
    )
    return config


def load_data(arguments: Arguments, task: Task) -> Prepared:
    """Load the splits, have the task check them, and tell the user what there is."""
    data = arguments.data
    raw = load_splits(
        dataset_name=data.dataset_name,
        dataset_config_name=data.dataset_config_name,
        dataset_revision=data.dataset_revision,
        train_file=data.train_file,
        validation_file=data.validation_file,
        test_file=data.test_file,
        train_split_name=data.train_split_name,
        validation_split_name=data.validation_split_name,
        test_split_name=data.test_split_name,
    )
    prepared = task.prepare(raw, data)
    arguments.sources["data"] = raw.name
    sizes = [(name, split) for name, split in splits_of(prepared) if split is not None]
    console.say(f"{raw.name}: " + ", ".join(f"{name} {len(split):,}" for name, split in sizes))
    for note in prepared.notes:
        console.say(f"  {note}")
    if prepared.validation is None:
        for name, value in (("eval_strategy", "no"), ("load_best_model_at_end", False)):
            setattr(arguments.training, name, value)
            arguments.sources[name] = "no validation rows"
        if arguments.training.early_stopping_patience:
            raise UserError("--early_stopping_patience needs validation rows: raise --validation_split_percentage")
    if not arguments.is_set("metric_for_best_model"):
        arguments.training.metric_for_best_model = task.metric_for_best_model
        arguments.training.greater_is_better = task.greater_is_better
        arguments.sources["metric_for_best_model"] = "task"
    return prepared


def splits_of(prepared: Prepared) -> list[tuple[str, Any]]:
    return [("train", prepared.train), ("validation", prepared.validation), ("test", prepared.test)]


def settle_folder(
    arguments: Arguments, prepared: Prepared, config: PreTrainedConfig
) -> tuple[Path, str, dict[str, Any]]:
    """The run folder, what it is to this run ("new", "unfinished", "finished"), and the fingerprint's parts."""
    parts = {k: v for k, v in arguments.values().items() if k not in NOT_IN_FINGERPRINT}
    parts |= {f"{name} rows": run_folder.hash_rows(split) for name, split in splits_of(prepared) if split is not None}
    name = arguments.model.model_name_or_path
    if name is None:
        label = config.model_type
    else:
        local = Path(backbone.resolve_checkpoint(name))
        label = Path(name).name
        parts["checkpoint"] = run_folder.hash_folder(local) if local.is_dir() else str(config._commit_hash)
    parts["mixed_precision"] = arguments.training.mixed_precision
    if arguments.training.output_dir is None or arguments.sources.get("output_dir") is None:
        data = arguments.sources["data"]
        arguments.training.output_dir = f"runs/{label}-{data}-{run_folder.fingerprint(parts)[:8]}"
        arguments.sources["output_dir"] = "model, data and fingerprint"
    folder = Path(arguments.training.output_dir)
    return folder, run_folder.open_run_folder(folder, parts), parts


def print_configuration(arguments: Arguments) -> None:
    """The values in effect that somebody set or that matter most, and who set each."""
    always = "seed per_device_train_batch_size gradient_accumulation_steps optim output_dir".split()
    values = arguments.values()
    names = [n for n in values if n in always or arguments.sources.get(n)]
    order = {"command line": 0, "recipe": 1}
    names.sort(key=lambda n: order.get(arguments.sources.get(n, ""), 2))
    console.table(
        ["setting", "value", "set by"], [[n, str(values[n]), arguments.sources.get(n, "default")] for n in names]
    )


def preprocess(task: Task, prepared: Prepared, processor: Any) -> dict[str, Any]:
    """Model inputs per split, and what the user should know of them."""
    inputs = {}
    for name, split in splits_of(prepared):
        if split is not None:
            inputs[name], notes = task.preprocess(split, processor, name)
            for note in notes:
                console.say(f"  {note}")
    return inputs


def describe_model(model: Any, base: backbone.Backbone) -> None:
    trained, total = lora.trainable_share(model)
    kind = "pretrained" if base.pretrained else "fresh"
    console.say(
        f"{type(base.model).__name__} ({kind}): {total:,} parameters, {trained:,} trained ({trained / total:.2%})"
    )
    if base.new_modules:
        console.say(f"  not in the checkpoint, so new: {', '.join(base.new_modules)}")


def describe_batches(arguments: Arguments, train: Any) -> None:
    """Say how much of the computation goes into padding."""
    lengths = row_lengths(train)
    if lengths is None or arguments.training.train_sampling_strategy != "group_by_length":
        return
    size = arguments.training.train_batch_size * arguments.training.world_size
    share = padding_share(lengths, bucketed_order(lengths, size, arguments.training.seed, 0), size)
    console.say(
        f"  {lengths.mean():.1f} tokens a row (longest {lengths.max()}), batches of {size} by length: "
        f"{share:.1%} of the positions are padding"
    )


def make_trainer(arguments: Arguments, task: Task, model: Any, processor: Any, inputs: dict[str, Any]) -> KitTrainer:
    training = arguments.training
    callbacks = [EvaluationLines(training.metric_for_best_model)]
    if training.early_stopping_patience:
        callbacks.append(EarlyStoppingCallback(training.early_stopping_patience))
    trainer = KitTrainer(
        task=task,
        model=model,
        args=training,
        train_dataset=inputs["train"],
        eval_dataset=inputs.get("validation"),
        processing_class=processor,
        data_collator=task.collator(processor),
        callbacks=callbacks,
    )
    # Transformers prints a dictionary per logging step, through one of these two.
    trainer.remove_callback(PrinterCallback if training.disable_tqdm else ProgressCallback)
    if not training.disable_tqdm:
        trainer.add_callback(Progress)
    return trainer


def write_run_facts(folder: Path, arguments: Arguments, task: Task, parts: dict[str, Any]) -> None:
    """`run.json` and `recipe.yaml`, before the first step."""
    facts = {
        "task": arguments.task_name,
        "state": task.state(),
        "precision": arguments.training.mixed_precision,
        "versions": {
            "hf_kit": hf_kit.__version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        },
        "fingerprint": run_folder.fingerprint(parts),
        "fingerprint_of": parts,
    }
    run_folder.write_json(folder / run_folder.RUN, facts)
    values = arguments.values()
    kept = {"task": arguments.task_name} | {
        name: values[name] for name in values if arguments.sources.get(name) and name not in ("output_dir", "data")
    }
    run_folder.write_recipe(
        folder / run_folder.RECIPE,
        {name: value for name, value in kept.items() if value is not None},
        "# Written by hf_kit: every setting that was not a default. Reruns this experiment:\n"
        f"#   accelerate launch recipes/train.py {folder / run_folder.RECIPE}\n",
    )


def fit(trainer: KitTrainer, arguments: Arguments, folder: Path) -> dict[str, Any]:
    """Train, from the last checkpoint if the run has one; what a report needs of it."""
    checkpoint = arguments.training.resume_from_checkpoint or run_folder.last_checkpoint(folder)
    if checkpoint:
        console.say(f"continuing from {checkpoint}")
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    trained, total = lora.trainable_share(trainer.model)
    return {
        "seconds": round(time.monotonic() - started, 1),
        "steps": trainer.state.global_step,
        "epochs": trainer.state.epoch,
        "best_step": trainer.state.best_global_step,
        "parameters": total,
        "trained_parameters": trained,
    }


def score(
    trainer: KitTrainer,
    task: Task,
    prepared: Prepared,
    inputs: dict[str, Any],
    arguments: Arguments,
    folder: Path,
) -> dict[str, Any]:
    """Scores of every labelled split, the baselines on the same rows, figures; predictions of an unlabelled test."""
    results: dict[str, Any] = {"seed": arguments.training.seed}
    figures = folder / "figures"
    rows = {name: split for name, split in splits_of(prepared) if split is not None and name != "train"}
    labelled = {name: split for name, split in rows.items() if "labels" in split.column_names}
    final = "test" if "test" in labelled else "validation"
    for name in rows:
        output = trainer.predict(inputs[name], metric_key_prefix=name)
        if not console.is_main_process():
            continue
        if name not in labelled:
            path = folder / f"predictions_{name}.jsonl"
            run_folder.write_lines(path, task.decode(output.predictions))
            console.say(f"{name}: no labels; {len(rows[name]):,} predictions in {path}")
            continue
        results[name] = plain_scores(output.metrics, name)
        if name == final:
            figures.mkdir(exist_ok=True)
            columns, details = task.details(output.predictions, output.label_ids)
            report.details_table(columns, details, name)
            if details:
                results["details"] = {"split": name, "columns": columns, "rows": details}
            drawn = task.figures(output.predictions, output.label_ids, figures)
            results["figures"] = [str(path.relative_to(folder)) for path in drawn]
    if console.is_main_process():
        from hf_kit.figures import learning_curves_figure

        if trainer.state.log_history:
            figures.mkdir(exist_ok=True)
            learning_curves_figure(trainer.state.log_history, figures / "learning_curves.png")
            results.setdefault("figures", []).append("figures/learning_curves.png")
        if arguments.training.baselines and labelled:
            console.say("baselines on the same rows ...")
            results["baselines"] = task.baselines(prepared.train, labelled)
    return results


def plain_scores(metrics: dict[str, float], prefix: str) -> dict[str, float]:
    """Trainer's `<prefix>_<metric>` without the prefix and without its timings."""
    scores = {name.removeprefix(f"{prefix}_"): value for name, value in metrics.items()}
    return {name: value for name, value in scores.items() if name not in NOT_SCORES}


def save(trainer: KitTrainer, arguments: Arguments, folder: Path, head: list[str]) -> None:
    """The model and its processor into the run folder; after LoRA the adapter there and the merged model below."""
    trainer.save_model(str(folder))
    if arguments.lora.use_peft and console.is_main_process():
        lora.finish_adapter_folder(folder, head)
        merged = trainer.accelerator.unwrap_model(trainer.model).merge_and_unload()
        merged.save_pretrained(folder / run_folder.MERGED)
        trainer.processing_class.save_pretrained(folder / run_folder.MERGED)
