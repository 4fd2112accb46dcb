"""The way of one run, from arguments to the saved folder; the same for every task and model."""

import copy
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import transformers
from accelerate.utils import broadcast_object_list
from transformers import EarlyStoppingCallback, PreTrainedConfig, PrinterCallback, ProgressCallback, set_seed

from hf_kit import backbone, console, lora, report, run_folder, scoring, seeds, settings, unpadding
from hf_kit.agreement import refuse_differing
from hf_kit.arguments import DATA_SOURCES, Arguments
from hf_kit.batch_description import describe_batches
from hf_kit.batch_size_finder import settle_batch_size
from hf_kit.channels_last import put_channels_last
from hf_kit.checkpoint_averaging import keep_better_average
from hf_kit.checkpoints.resume import check_asked, choose_checkpoint, refuse_misfit, refuse_overwriting
from hf_kit.checkpoints.write_errors import one_clear_error
from hf_kit.cpu_attention import attend_on_cpu
from hf_kit.data import DataChecks, check_sources, load_splits, naming_files, show_checks
from hf_kit.data.quiet import quiet
from hf_kit.dropout import cheapen_dropout
from hf_kit.embedding_gradient import keep_row_gradients
from hf_kit.errors import UserError
from hf_kit.first_token import compute_first_token_alone
from hf_kit.frozen_weights import frozen_linear_weights, weights_in
from hf_kit.gradient_checkpointing import enable_gradient_checkpointing
from hf_kit.hub.access import Destination, check_access, create, default_name
from hf_kit.hub.continuous import ContinuousPush, refuse_unloadable
from hf_kit.huge_pages import HEAP_AT_MOST, map_blocks_for_themselves
from hf_kit.machine_failures import lost_processes_told, told_by_its_process
from hf_kit.memory_estimate import describe_memory, estimate, longest_batch, process_bytes
from hf_kit.model_building import build_model, describe_model
from hf_kit.model_saving import save
from hf_kit.precision import DTYPES, denormals_flushed
from hf_kit.progress import EvaluationLines, Progress
from hf_kit.publishing import is_complete, publish
from hf_kit.quantization import check_quantization, on_exact_weights
from hf_kit.run_identity import settle_folder, versions, write_run_facts
from hf_kit.run_lock import RunLock
from hf_kit.sharding import in_one_piece
from hf_kit.streaming import check_streaming
from hf_kit.tasks import find_task
from hf_kit.tasks.task import Prepared, Task
from hf_kit.trainer import KitTrainer

HUB_FLAG = "--hub_model_id"


def train(arguments: Arguments) -> Path:
    """Train, score and save one model as `arguments` say; the run folder.

    A folder with the same run, unfinished, is continued; finished, it is shown again.

    Raises:
        UserError: a mistake in the flags, the data or the folder; nothing of the user's has been changed.
        LostProcess: another process is gone.
        Interrupted: it was asked to stop, and has saved.
    """
    lock = RunLock()
    try:
        with lost_processes_told(arguments.training), denormals_flushed():
            return _train(arguments, lock)
    finally:
        lock.release()


def _train(arguments: Arguments, lock: RunLock) -> Path:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()  # a flash per checkpoint, in the middle of our own
    set_seed(arguments.training.seed)
    check_sources(**{name: getattr(arguments.data, name) for name in DATA_SOURCES})
    # Where nobody names a folder, transformers has put one of its own; ours gets its name with the data, in `runs`.
    named = arguments.sources.get("output_dir") is not None
    run_folder.check_run_folder(Path(arguments.training.output_dir if named else "runs/new"))
    check_asked(arguments.training.resume_from_checkpoint)
    destination = check_destination(arguments)
    console.heading("Settings")
    config = settings.settle_settings(arguments)
    check_quantization(arguments, config.model_type)
    task = find_task(arguments.task_name)(arguments.task, arguments.training.label_smoothing_factor)
    fresh = arguments.model.model_name_or_path is None
    task.check_model(arguments.model, config, fresh=fresh)
    if destination and arguments.lora.use_peft and arguments.training.hub_strategy != "end":
        refuse_unloadable(arguments.model.model_name_or_path, config.model_type)
    with in_one_piece():
        empty = backbone.empty_model(arguments.model, config, task.auto_class)
        if empty and arguments.lora.use_peft:
            lora.add_lora(empty, arguments.lora, task.peft_task_type)
    if empty and arguments.training.gradient_checkpointing and not empty.model.supports_gradient_checkpointing:
        raise UserError(f"--gradient_checkpointing: {config.model_type} cannot do that; leave it out")

    console.heading("Data")
    prepared = load_data(arguments, task)
    folder, state, parts = settle_folder(arguments, task, prepared, config)
    refuse_differing(parts | {"output_dir": str(folder)}, arguments.training.world_size)
    (state,) = broadcast_object_list([state])  # another process may see the folder a moment later, or not at all
    refuse_overwriting(arguments.training.resume_from_checkpoint, folder)
    if state == "finished":
        console.say(f"This run is finished: {folder}")
        report.show_finished(folder)
        if console.is_main_process() and (destination or not is_complete(folder)):
            publish(folder, destination)
        return folder
    if state == "unfinished":
        lock.take(folder)
    settings.print_configuration(arguments, config)

    console.heading("Data checks")
    with quiet() if arguments.training.disable_tqdm else nullcontext():
        processor = task.load_processor(arguments.model, config, prepared.train, fresh=fresh)
    # The others find the main process's preprocessed data in the cache.
    with (
        arguments.training.main_process_first(local=False, desc="preprocessing"),
        quiet() if arguments.training.disable_tqdm else nullcontext(),
    ):
        # What is cut stands in the table of the checks.
        inputs = {name: task.preprocess(rows, processor, name)[0] for name, rows in prepared.splits().items()}
    for name, value in task.loader_defaults(inputs).items():
        arguments.set_default(name, value, "task")
    checks = task.check(prepared, inputs, processor)
    show_checks(checks)

    console.heading("Model")
    task.configure(config)
    describe_batches(arguments, inputs["train"])

    def begin() -> None:
        if console.is_main_process():
            folder.mkdir(parents=True, exist_ok=True)
            lock.take(folder)
            # Another process may have been here while this one read its data.
            if run_folder.open_run_folder(folder, parts) == "finished":
                raise UserError(
                    f"another process has finished this run in {folder} meanwhile; the same command shows it"
                )
            if not (folder / run_folder.RUN).is_file():
                write_run_facts(folder, arguments, task, prepared, parts)
            if destination:
                create(destination, HUB_FLAG)

    facts = {
        "versions": versions(),
        "fingerprint_of": parts,
        "processor": run_folder.hash_processor(processor),
        "layout": {"processes": arguments.training.world_size},
    }
    refuse_misfit(arguments.training.resume_from_checkpoint, folder, facts)
    material = Material(prepared, checks, processor, inputs, begin, facts, destination)

    def train_one(arguments: Arguments, folder: Path) -> dict[str, Any]:
        return train_model(arguments, copy.deepcopy(task), copy.deepcopy(config), material, folder)

    if arguments.training.num_seeds == 1:
        results = train_one(arguments, folder)
    else:
        results = seeds.train_each(arguments, folder, train_one)
        if console.is_main_process():
            run_folder.write_json(folder / run_folder.RESULTS, results)
            report.seeds_table(results)
    report.verdict(results, arguments.training.metric_for_best_model, arguments.training.greater_is_better)
    console.say(f"Saved in {folder}. Now try:\n  hf-kit predict {folder} {task.example_input}")
    if console.is_main_process():
        console.heading("Model card")
        publish(folder, destination)
    return folder


@contextmanager
def pushed_while_training(trainer: KitTrainer, task: Task, destination: Destination | None) -> Iterator[None]:
    """Push what is saved while this lasts, where `--hub_strategy` asks for it."""
    if destination is None or trainer.args.hub_strategy == "end" or not trainer.args.should_save:
        yield
        return
    trainer.after_save = ContinuousPush(trainer, destination, task.label_names())
    with closing(trainer.after_save):
        yield


def check_destination(arguments: Arguments) -> Destination | None:
    """Where the run is to be pushed, after the Hub was asked whether it may; None: nowhere.

    Raises:
        UserError: it may not, or the flags contradict each other.
    """
    training = arguments.training
    if not training.push_to_hub:
        return None
    if training.hub_model_id is None and not arguments.is_set("output_dir"):
        raise UserError("--push_to_hub: to where? Give --hub_model_id OWNER/NAME")
    training.hub_model_id = training.hub_model_id or default_name(training.output_dir)
    found: list[Destination | None] = [None]
    if console.is_main_process():
        found[0] = check_access(
            training.hub_model_id, HUB_FLAG, private=training.hub_private_repo, revision=training.hub_revision
        )
    (destination,) = broadcast_object_list(found)
    return destination


@dataclass
class Material:
    """What the models of a run, one per seed, are trained and scored on.

    Attributes:
        begin: makes the run folder; called when a model stands, so that one that cannot be made leaves nothing behind.
        facts: what every checkpoint says of the run.
        destination: where the run is pushed.
    """

    prepared: Prepared
    checks: DataChecks
    processor: Any
    inputs: dict[str, Any]
    begin: Callable[[], None]
    facts: dict[str, Any]
    destination: Destination | None


def train_model(
    arguments: Arguments,
    task: Task,
    config: PreTrainedConfig,
    material: Material,
    folder: Path,
) -> dict[str, Any]:
    """Train, score and save one model with one seed into `folder`; its results, whole on the main process.

    It goes on from a checkpoint as `--resume_from_checkpoint` says. `task` and `config` are this model's
    own: what its validation rows settle is written to them.
    """
    processor, inputs = material.processor, material.inputs
    before = process_bytes()
    exact = copy.deepcopy(config)
    built = build_model(arguments, task, config, processor, inputs["train"])
    base, model = built.base, built.model
    describe_model(built)
    put_channels_last(model)
    heap_at_most = HEAP_AT_MOST
    if arguments.training.device.type == "cpu":
        cheapen_dropout(model, base.model)
        attend_on_cpu(base.model)
        compute_first_token_alone(base.model)
        if arguments.training.gradient_checkpointing:
            heap_at_most = map_blocks_for_themselves()
    if arguments.training.gradient_checkpointing:
        enable_gradient_checkpointing(base.model, arguments.training)
    if not arguments.training.auto_find_batch_size:  # which tries it instead
        say_what_it_takes(arguments, task, model, base, material, before=before, heap_at_most=heap_at_most)
    if arguments.training.device.type == "cpu" and arguments.training.world_size == 1:
        keep_row_gradients(model)
    with one_clear_error("run.json", folder):
        material.begin()
    if arguments.training.auto_find_batch_size:
        batch = settle_batch_size(arguments, make_trainer(arguments, task, model, material), folder)
        material = dataclasses.replace(material, facts=material.facts | {"layout": material.facts["layout"] | batch})
    trainer = make_trainer(arguments, task, model, material)
    padding = unpadding.unpad_where_it_pays(model, arguments.training)
    if arguments.training.device.type == "cuda":
        console.say(f"  {padding}")

    with told_by_its_process(arguments.training):
        console.heading("Training")
        with pushed_while_training(trainer, task, material.destination):
            trained = fit(trainer, folder)
        if arguments.model.quantized:
            model = on_exact_weights(trainer.model, arguments, exact, task.auto_class, task.peft_task_type)
            task.finish_model(model.get_base_model(), arguments.training)
            trainer.model = trainer.model_wrapped = model.to(arguments.training.device)
        console.heading("Results")
        with one_clear_error("the results", folder):
            results = scoring.score(trainer, task, material.prepared, inputs, arguments, folder)
            results["training"] = trained
            results["data_checks"] = material.checks.to_dict()
            rebuild = partial(build_model, arguments, task, config, processor, None)
            save(trainer, arguments, task, material.prepared, folder, built, rebuild)
            if console.is_main_process():
                run_folder.write_json(folder / run_folder.RESULTS, results)
    if console.is_main_process() and arguments.training.save_total_limit == 1 and trained["best_step"]:
        trainer.commits.keep_only(trained["best_step"])
    if arguments.training.num_seeds == 1:
        report.scores_table(results)
    return results


def load_data(arguments: Arguments, task: Task) -> Prepared:
    """Load the splits, have the task check them, and tell the user what there is."""
    data = arguments.data
    if data.streaming and task.not_streamed:
        raise UserError(f"--streaming: {task.not_streamed}; leave it out")
    check_streaming(arguments)
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
        streaming=data.streaming,
        sample=task.load_sample,
    )
    with naming_files(raw), quiet() if arguments.training.disable_tqdm else nullcontext():
        prepared = task.prepare(raw, data)
    arguments.sources["data"] = raw.name
    sizes = prepared.splits().items()
    console.say(f"{raw.name}: " + ", ".join(f"{name} {len(split):,}" for name, split in sizes))
    for note in prepared.notes:
        console.say(f"  {note}")
    if prepared.validation is None:
        for name, value in (("eval_strategy", "no"), ("do_eval", False), ("load_best_model_at_end", False)):
            setattr(arguments.training, name, value)
            arguments.sources[name] = "no validation rows"
        if arguments.training.early_stopping_patience:
            raise UserError("--early_stopping_patience needs validation rows: raise --validation_split_percentage")
    settings.settle_metric(arguments, task)
    return prepared


def say_what_it_takes(
    arguments: Arguments,
    task: Task,
    model: Any,
    base: backbone.Backbone,
    material: Material,
    **allocator: int,
) -> None:
    """Say how much memory training will need.

    Every process looks, though one speaks: PEFT's adapters on parameters put these into another order with the first
    forward pass, also a traced one, and processes exchange weights by their order.

    Args:
        allocator: as `estimate` takes it.
    """
    training = arguments.training
    batch = longest_batch(material.inputs["train"], task.collator(material.processor), training, base.model)
    found = estimate(model, batch, training, label_smoothing=task.label_smoothing, **allocator)
    describe_memory(arguments, model, found, checkpointing=base.model.supports_gradient_checkpointing)


def make_trainer(arguments: Arguments, task: Task, model: Any, material: Material) -> KitTrainer:
    training = arguments.training
    callbacks = [EvaluationLines(training.metric_for_best_model)]
    if training.early_stopping_patience:
        callbacks.append(EarlyStoppingCallback(training.early_stopping_patience))
    trainer = KitTrainer(
        task=task,
        model=model,
        args=training,
        train_dataset=material.inputs["train"],
        eval_dataset=material.inputs.get("validation"),
        processing_class=material.processor,
        data_collator=task.collator(material.processor),
        facts=material.facts,
        callbacks=callbacks,
    )
    # Transformers prints a dictionary per logging step, through one of these two.
    trainer.remove_callback(PrinterCallback if training.disable_tqdm else ProgressCallback)
    if not training.disable_tqdm:
        trainer.add_callback(Progress)
    return trainer


def fit(trainer: KitTrainer, folder: Path) -> dict[str, Any]:
    """Train, from a checkpoint if there is one to go on from; what a report needs of it.

    Raises:
        Interrupted: a signal asked to stop; a checkpoint of that step is whole.
    """
    chosen: list[Path | None] = [None]

    def choose() -> None:
        if trainer.args.should_save:
            chosen[0] = choose_checkpoint(trainer.args.resume_from_checkpoint, folder, trainer.facts)

    trainer.together(choose)
    (checkpoint,) = broadcast_object_list(chosen)
    dtype = DTYPES[trainer.args.mixed_precision]
    with (
        closing(trainer.commits),
        trainer.stop.listening(),
        # DeepSpeed holds all weights in the format of the run, and computes without autocast.
        nullcontext() if trainer.is_deepspeed_enabled else weights_in(dtype, frozen_linear_weights(trainer.model)),
    ):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        number = trainer.args.average_checkpoints
        averaged = keep_better_average(trainer, number) if number > 1 else None
    trained, total = lora.trainable_share(trainer.model)
    return {
        "seconds": round(trainer.trained_seconds, 1),
        "steps": trainer.state.global_step,
        "epochs": trainer.state.epoch,
        "best_step": trainer.state.best_global_step,
        "averaged_steps": averaged,
        "parameters": total,
        "trained_parameters": trained,
    }
