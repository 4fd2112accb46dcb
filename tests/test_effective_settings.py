"""What flags, recipe and launcher say of one setting: contradictions are errors, the rest is shown with its source."""

import json
from pathlib import Path

import pytest

from hf_kit.effective_settings import effective_rows
from hf_kit.errors import UserError
from hf_kit.launch_environment import LAUNCHED
from hf_kit.parsing import parse_arguments

MODEL = "--model_type=hf_kit_lstm"


@pytest.fixture(autouse=True)
def unlaunched(monkeypatch):
    for name in ("ACCELERATE_MIXED_PRECISION", "OMP_NUM_THREADS", "WORLD_SIZE", LAUNCHED):
        monkeypatch.delenv(name, raising=False)


def rows(arguments) -> dict[str, tuple[str, str]]:
    return {name: (value, source) for name, value, source in effective_rows(arguments)}


@pytest.mark.parametrize(
    ("flag", "variable", "word", "name"),
    [
        ("--bf16=True", "ACCELERATE_MIXED_PRECISION", "fp16", "mixed_precision fp16"),
        ("--bf16=False", "ACCELERATE_MIXED_PRECISION", "bf16", "mixed_precision bf16"),
        ("--fp16=False", "ACCELERATE_MIXED_PRECISION", "fp16", "mixed_precision fp16"),
        ("--gradient_accumulation_steps=2", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4", "accumulation_steps 4"),
        ("--max_grad_norm=2.0", "ACCELERATE_GRADIENT_CLIPPING", "1.0", "max_grad_norm 1.0"),
        ("--use_cpu=False", "ACCELERATE_USE_CPU", "True", "use_cpu True"),
        ("--torch_compile=False", "ACCELERATE_DYNAMO_BACKEND", "INDUCTOR", "dynamo_backend INDUCTOR"),
    ],
)
@pytest.mark.parametrize("where", ["recipe", "command line"])
def test_two_words_that_exclude_each_other_are_an_error_naming_both(monkeypatch, flag, variable, word, name, where):
    monkeypatch.setenv(variable, word)
    monkeypatch.setenv(LAUNCHED, json.dumps({"setting": "mine", "flags": []}))
    key, value = flag.removeprefix("--").split("=")
    Path("recipe.yaml").write_text(f"model_type: hf_kit_lstm\n{key}: {value}\n")
    words = ["recipe.yaml"] if where == "recipe" else [MODEL, flag]
    with pytest.raises(UserError) as error:
        parse_arguments(words)
    assert f"--{key} {value} ({where})" in str(error.value)
    assert "accelerate setting mine" in str(error.value) and name in str(error.value)


@pytest.mark.parametrize(
    ("flag", "variable", "word"),
    [
        ("--bf16=True", "ACCELERATE_MIXED_PRECISION", "bf16"),
        ("--bf16=True", "ACCELERATE_MIXED_PRECISION", "no"),  # what a plain launch says
        ("--bf16=False", "ACCELERATE_MIXED_PRECISION", "fp16"),
        ("--gradient_accumulation_steps=4", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4"),
        ("--gradient_accumulation_steps=4", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "auto"),
        ("--use_cpu=True", "ACCELERATE_USE_CPU", "False"),
        ("--torch_compile=False", "ACCELERATE_DYNAMO_BACKEND", "NO"),
    ],
)
def test_words_that_agree_or_say_nothing_are_no_conflict(monkeypatch, flag, variable, word):
    monkeypatch.setenv(variable, word)
    parse_arguments([MODEL, flag])


def test_what_only_the_launcher_says_holds_and_is_shown_as_its(monkeypatch):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    arguments = parse_arguments([MODEL])
    assert arguments.training.gradient_accumulation_steps == 4
    assert "ACCELERATE_GRADIENT_ACCUMULATION_STEPS" in arguments.sources["gradient_accumulation_steps"]
    assert rows(arguments)["mixed_precision"][1] == "launcher (ACCELERATE_MIXED_PRECISION)"


def test_each_value_is_shown_with_its_source(monkeypatch):
    shown = rows(parse_arguments([MODEL, "--bf16", "--use_cpu"]))
    assert shown["mixed_precision"] == ("bf16", "command line (--bf16)")
    assert shown["processes"] == ("1", "no launcher")
    assert shown["device"] == ("cpu", "command line (--use_cpu)")
    assert shown["threads"][1].startswith("this machine")
    assert "meeting at" not in shown


@pytest.mark.parametrize("word", ["{0},1", " {0} , 4,2", "{0}", "many", "two,1"])
def test_threads_asked_for_by_level_or_not_in_numbers_are_the_users(monkeypatch, word):
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", word.format(torch.get_num_threads()))
    shown = rows(parse_arguments([MODEL]))
    assert shown["threads"] == (str(torch.get_num_threads()), "environment (OMP_NUM_THREADS)")


def test_threads_of_another_number_than_asked_for_are_the_machines(monkeypatch):
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", f"{torch.get_num_threads() + 1},{torch.get_num_threads()}")
    assert rows(parse_arguments([MODEL]))["threads"][1].startswith("this machine")


def test_a_launch_is_shown_by_setting_and_flag(monkeypatch):
    import torch

    arguments = parse_arguments([MODEL])
    threads = str(torch.get_num_threads())
    monkeypatch.setenv(LAUNCHED, json.dumps({"setting": "fsdp", "flags": ["num_processes"], "threads": False}))
    for name, word in {
        "WORLD_SIZE": "1",
        "MASTER_ADDR": "10.0.0.1",
        "MASTER_PORT": "29500",
        "OMP_NUM_THREADS": threads,
        "ACCELERATE_DYNAMO_BACKEND": "INDUCTOR",
    }.items():
        monkeypatch.setenv(name, word)
    from hf_kit.launch_environment import read_launch_environment

    arguments.launched = read_launch_environment()
    shown = rows(arguments)
    assert shown["processes"] == ("1", "command line (--num_processes)")
    assert shown["meeting at"] == ("10.0.0.1:29500", "accelerate setting fsdp")
    assert shown["threads"] == (threads, "accelerate setting fsdp")
    assert shown["dynamo_backend"] == ("inductor", "accelerate setting fsdp")
    assert shown["distribution"][0] == "DDP"
