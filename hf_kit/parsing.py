"""How a recipe, the command line and the defaults become one set of values.

A recipe is flat YAML whose keys are flags; it is turned into `--key=value` strings and parsed exactly like the command
line, whose flags come after and win. Unlike `HfArgumentParser.parse_yaml_file`, a misspelt key stops the run with the
nearest name, `2e-5` is a number, and for every value it is known who set it.
"""

import argparse
import dataclasses
from dataclasses import make_dataclass
from typing import Any

from transformers import HfArgumentParser
from transformers.hf_argparser import string_to_bool

from hf_kit.arguments import (
    DATA_SOURCES,
    NOT_IN_FINGERPRINT,
    Arguments,
    DataArguments,
    KitTrainingArguments,
    LoraArguments,
    ModelArguments,
    parse_json_field,
)
from hf_kit.effective_settings import settle_conflicts
from hf_kit.errors import UserError, nearest
from hf_kit.flag_checks import check_flags, check_given
from hf_kit.launch_environment import read_launch_environment
from hf_kit.launch_settings import SETTING, setting_names
from hf_kit.recipe import QUICKSTART, as_flags, find_recipe, read_recipe
from hf_kit.redaction import redact
from hf_kit.run_folder import RUN, read_json
from hf_kit.saved_run import find_run
from hf_kit.tasks import find_task

# What a recipe says for its own model alone.
OF_THE_MODEL = ("model_revision", "config_overrides", "tokenizer_name", "source_prefix")
# What a recipe says for one kind of model, and another kind has its own of.
OF_THE_FAMILY = (
    "learning_rate num_train_epochs lr_scheduler_type warmup_steps weight_decay tokenizer_type vocab_size".split()
)

WORD_VECTORS = ("word_vectors", "freeze_word_vectors")  # of a fresh LSTM; no other model takes them


class _Parser(HfArgumentParser):
    """Raises `UserError` where argparse would print its usage and exit with 2: launchers make a traceback of that."""

    origin = "the command line"

    def forget_defaults(self) -> None:
        """Let parsing give what the flags themselves say and nothing else."""
        for action in self._actions:
            action.default = argparse.SUPPRESS
            if action.type is string_to_bool:
                # `--disable_tqdm` alone means true for every boolean, not only for those with a default.
                action.nargs, action.const = "?", True

    def error(self, message: str):
        raise UserError(f"{self.origin}: {message}")


def _explicit(parser: _Parser, flags: list[str], origin: str) -> dict[str, Any]:
    """What `flags` themselves say, no default mixed in."""
    parser.origin = origin
    known, unknown = parser.parse_known_args(flags)
    if unknown:
        first = unknown[0]
        if not first.startswith("--"):
            raise UserError(f"{origin}: unexpected `{first}`; a recipe comes first, everything else is --flag value")
        name = first[2:].split("=")[0].replace("-", "_")
        hint = nearest(name, (a.dest for a in parser._actions))
        raise UserError(f"{origin}: unknown flag `{name}`{hint} All flags: {parser.prog} --help")
    return vars(known)


def _check_values(arguments: Arguments) -> None:
    """Plain mistakes in single values, or in two that contradict each other."""
    data, model, lora, training = arguments.data, arguments.model, arguments.lora, arguments.training
    for name, value in (
        ("validation_split_percentage", data.validation_split_percentage),
        ("test_split_percentage", data.test_split_percentage),
    ):
        if not 0 <= value <= 50:
            raise UserError(f"--{name} is {value}; allowed: 0 to 50 (per cent of the training rows)")
    positive = {
        "max_train_samples": data.max_train_samples,
        "max_eval_samples": data.max_eval_samples,
        "vocab_size": model.vocab_size,
        "lora_r": lora.lora_r,
        "early_stopping_patience": training.early_stopping_patience,
        "num_seeds": training.num_seeds,
        "per_device_train_batch_size": training.per_device_train_batch_size,
        "max_tokens_per_batch": training.max_tokens_per_batch,
        "per_device_eval_batch_size": training.per_device_eval_batch_size,
        "gradient_accumulation_steps": training.gradient_accumulation_steps,
        "num_train_epochs": training.num_train_epochs,
        "save_minutes": training.save_minutes,
        "save_total_limit": training.save_total_limit,
        "learning_rate": training.learning_rate,
    }
    for name, value in positive.items():
        if value is not None and not value > 0:
            raise UserError(f"--{name} is {value}; it must be greater than 0")
    if not 0 <= training.label_smoothing_factor < 1:
        raise UserError(f"--label_smoothing_factor is {training.label_smoothing_factor}; allowed: 0 up to below 1")
    if training.early_stopping_patience and training.eval_strategy == "no":
        raise UserError("--early_stopping_patience needs evaluations: leave --eval_strategy at epoch or set steps")
    if training.auto_find_batch_size and training.max_tokens_per_batch:
        raise UserError(
            "--auto_find_batch_size looks for a number of rows, and --max_tokens_per_batch sets one of tokens; leave "
            "one of them out"
        )
    if training.max_tokens_per_batch:
        if data.streaming:
            raise UserError("--max_tokens_per_batch needs all lengths beforehand; leave --streaming out, or the budget")
        if training.train_sampling_strategy != "group_by_length":
            raise UserError(
                f"--max_tokens_per_batch sorts rows by length, and --train_sampling_strategy is "
                f"{training.train_sampling_strategy}; leave one of them out"
            )
    if training.num_seeds > 1 and training.resume_from_checkpoint != "auto":
        raise UserError(
            f"--resume_from_checkpoint {training.resume_from_checkpoint} is one model's, and --num_seeds asks for "
            f"{training.num_seeds}: leave it out, each seed goes on from its own last checkpoint"
        )
    if model.model_name_or_path and model.model_type:
        raise UserError(
            f"--model_name_or_path {model.model_name_or_path} and --model_type {model.model_type} exclude each other: "
            "a checkpoint brings its type; give one of them"
        )
    if not model.model_name_or_path and not model.model_type:
        raise UserError("which model? Give --model_name_or_path (a checkpoint) or --model_type (from nothing)")
    if model.trust_remote_code and not _is_commit(model.model_revision):
        raise UserError(
            "--trust_remote_code runs code written by others: name the commit you have read, all 40 digits of it, in "
            f"--model_revision (now: {model.model_revision})"
        )
    _check_pushing(arguments)


def _check_pushing(arguments: Arguments) -> None:
    training, sources = arguments.training, arguments.sources
    if not training.push_to_hub:
        idle = [name for name in sources if name.startswith("hub_") and sources[name] == "command line"]
        if idle:
            raise UserError(f"--{idle[0]} does nothing without --push_to_hub: add it, or leave --{idle[0]} out")
        return
    if training.hub_strategy == "all_checkpoints":
        raise UserError(
            "--hub_strategy all_checkpoints: every checkpoint would stay on the Hub for ever; allowed: end, every_save "
            "(the model), checkpoint (the model, and the last checkpoint to go on from)"
        )
    if training.num_seeds > 1 and training.hub_strategy != "end":
        raise UserError(
            f"--hub_strategy {training.hub_strategy.value} pushes a run while it trains, and --num_seeds trains "
            f"{training.num_seeds}, of which one will be kept; leave one of them out"
        )
    if training.save_strategy == "no" and training.hub_strategy != "end":
        raise UserError(
            f"--hub_strategy {training.hub_strategy.value} pushes what is saved, and --save_strategy is no; leave one "
            "of them out"
        )


def _refuse_secrets(flags: list[str]) -> None:
    """A flag's value is printed with the settings, and kept in the run folder's recipe."""
    token = "a token is never a flag: set the environment variable HF_TOKEN or run `hf auth login`"
    named = ""
    for word in flags:
        if word.startswith("--"):
            named = word.partition("=")[0]
        if named.lstrip("-").replace("-", "_").endswith("hub_token"):
            raise UserError(f"{token} (and take {named} out)")
        if redact(word) != word:
            raise UserError(f"{named or 'the command line'} holds a token or a password, and {token}")


def _is_commit(revision: str | None) -> bool:
    return revision is not None and len(revision) == 40 and all(c in "0123456789abcdef" for c in revision)


def parse_arguments(argv: list[str]) -> Arguments:
    """Read `[RECIPE.yaml] [--flag value ...]`; without a recipe and a model, the quickstart's.

    Raises:
        UserError: an unknown flag or key, a value of the wrong type or range, a contradiction.
    """
    argv = list(argv)
    _refuse_secrets(argv)
    named = argv.pop(0) if argv and not argv[0].startswith("-") else None
    flag_names = [a.lstrip("-").split("=")[0].replace("-", "_") for a in argv if a.startswith("--")]
    if named is None and not {"model_name_or_path", "model_type"} & set(flag_names):
        named = QUICKSTART
    path = find_recipe(named) if named is not None else None
    recipe = read_recipe(path) if path else {}
    _refuse_secrets(as_flags(recipe))

    task_parser = _Parser(add_help=False, allow_abbrev=False)
    task_parser.add_argument("--task", default=recipe.pop("task", "text_classification"))
    chosen, argv = task_parser.parse_known_args(argv)

    parts = (find_task(chosen.task).Arguments, DataArguments, ModelArguments, LoraArguments, KitTrainingArguments)
    parser = _Parser(
        parts, prog="hf-kit train", usage="hf-kit train [RECIPE.yaml] [--flag value ...]", allow_abbrev=False
    )
    parser.add_argument("--task", help="what is learned; read before all other flags")
    launch = f"start several processes: {', '.join(setting_names())}, or an accelerate configuration's path; beside it "
    parser.add_argument(f"--{SETTING}", help=f"{launch}--num_processes and other flags of `accelerate launch`")
    if {"-h", "--help"} & set(argv):
        parser.parse_args(["--help"])
    parser.forget_defaults()

    from_recipe = _explicit(parser, as_flags(recipe), f"recipe {path}")
    from_line = _explicit(parser, argv, "the command line")
    _drop_what_the_line_replaces(from_recipe, from_line)
    given = from_recipe | from_line
    if SETTING in given:
        raise UserError(f"--{SETTING} {given[SETTING]} starts processes: only on the command line of hf-kit train")
    check_given(given)
    sources = {name: "command line" if name in from_line else "recipe" for name in given}
    _follow_strategies(given, sources)

    launched = read_launch_environment()
    try:
        built = [part(**{f.name: given[f.name] for f in dataclasses.fields(part) if f.name in given}) for part in parts]
    except Exception as reason:  # the values are the user's, whatever transformers raises over them
        raise UserError(str(reason)) from None
    arguments = Arguments(str(path) if path else None, chosen.task, *built, sources, launched)
    arguments.model.config_overrides = parse_json_field("config_overrides", arguments.model.config_overrides)
    settle_conflicts(arguments, given)
    _check_values(arguments)
    check_flags(arguments)
    return arguments


def _drop_what_the_line_replaces(recipe: dict[str, Any], line: dict[str, Any]) -> None:
    """A recipe's values that lose their meaning by what the command line says are taken out.

    A model named on the command line replaces the recipe's model and the configuration that was meant for it; one of
    another kind (a checkpoint instead of a fresh model, another type) also what was chosen for that kind's training.
    Data named there replace the recipe's data; a recipe's folder is for the recipe's own experiment, not for another.
    """
    model = ("model_name_or_path", "model_type")
    if any(line.get(name) not in (None, recipe.get(name)) for name in model):
        another_kind = "model_name_or_path" not in line or "model_type" in recipe
        for name in (*model, *OF_THE_MODEL, *WORD_VECTORS):
            recipe.pop(name, None)
        for name in OF_THE_FAMILY if another_kind else ():
            recipe.pop(name, None)
    if "dataset_name" in line or "train_file" in line:
        for name in DATA_SOURCES:
            recipe.pop(name, None)
    if any(name not in NOT_IN_FINGERPRINT and value != recipe.get(name) for name, value in line.items()):
        recipe.pop("output_dir", None)


def _follow_strategies(given: dict[str, Any], sources: dict[str, str]) -> None:
    """The best model can only be kept if saving and scoring go together: whoever sets one need not set the other."""

    def follow(leader: str, name: str, value: Any) -> None:
        if name not in given:
            given[name], sources[name] = value, f"follows {leader}"

    if given.get("save_strategy") == "steps":
        follow("save_strategy", "eval_strategy", "steps")
        if "save_steps" in given and given["eval_strategy"] == "steps":
            follow("save_steps", "eval_steps", given["save_steps"])
    elif given.get("save_strategy") == "no":
        follow("save_strategy", "load_best_model_at_end", False)
    strategy = given.get("eval_strategy")
    if strategy == "no":
        follow("eval_strategy", "load_best_model_at_end", False)
    elif strategy:
        follow("eval_strategy", "save_strategy", strategy)
    if strategy == "steps":
        follow("eval_strategy", "eval_steps", 0.1)  # ten times a run
    if "eval_steps" in given:
        follow("eval_steps", "save_steps", given["eval_steps"])


def parse_for_run(command: str, part: type, argv: list[str]) -> tuple[str, bool, tuple[Any, Any]]:
    """Read `RUN [--flag value ...] [--json]` for a command that works on a finished run.

    Returns:
        the run's name, whether JSON is wanted, and the parsed `part` and flags of the run's task.

    Raises:
        UserError: as `parse_arguments`.
    """
    usage = f"hf-kit {command} RUN [--flag value ...] [--json]"
    _refuse_secrets(argv)
    named = argv[0] if argv and not argv[0].startswith("-") else None
    if named is None and not {"-h", "--help"} & set(argv):
        raise UserError(f"which run? {usage}")
    task_name = "text_classification" if named is None else read_json(find_run(named) / RUN)["task"]
    task = find_task(task_name)
    columns = make_dataclass(
        "Columns",
        [(f.name, f.type, f) for f in dataclasses.fields(task.Arguments) if f.name in task.column_flags],
    )
    parts = (part, columns)
    parser = _Parser(parts, prog=f"hf-kit {command}", usage=usage, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="print the scores as JSON, and nothing else, to stdout")
    if named is None:
        parser.parse_args(["--help"])
    parser.forget_defaults()
    given = _explicit(parser, argv[1:], "the command line")
    check_given(given)
    as_json = given.pop("json", False)
    try:
        first, second = (p(**{f.name: given[f.name] for f in dataclasses.fields(p) if f.name in given}) for p in parts)
    except ValueError as reason:
        raise UserError(str(reason)) from None
    return named, as_json, (first, second)
