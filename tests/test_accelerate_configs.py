"""The launch settings: accelerate reads each, knows every key, and launches what the first line says."""

import dataclasses
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from test_launch import LAUNCH, REPOSITORY, TINY, TRAIN, start
from tiny import reviews, write_csv

SETTINGS = sorted((REPOSITORY / "accelerate_configs").glob("*.yaml"))
NAMES = "cpu deepspeed_zero2 deepspeed_zero3 fp8 fsdp mps multi_cpu multi_gpu multi_node single_gpu".split()
SECTIONS = {"fsdp_config": "fsdp_", "deepspeed_config": "", "fp8_config": "fp8_"}
each = pytest.mark.parametrize("path", SETTINGS, ids=lambda p: p.stem)


def command_of(path: Path) -> list[str]:
    """The words after `accelerate launch` of the first line."""
    first = path.read_text().splitlines()[0]
    assert first.startswith("# ")
    use, _, command = first.removeprefix("# ").partition(": accelerate launch ")
    assert use and command, first
    return command.split()


def launch_of(words: list[str]):
    """accelerate's arguments for the words, checked by accelerate."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser

    return _validate_launch_command(launch_command_parser().parse_args(words))[0]


def test_there_is_one_for_every_kind_of_machine():
    assert [path.stem for path in SETTINGS] == NAMES


@each
def test_the_command_of_the_first_line_names_files_that_are_there_and_is_valid(path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    words = command_of(path)
    assert words[words.index("--config_file") + 1] == f"accelerate_configs/{path.name}"
    args = launch_of(words)
    assert Path(args.training_script).is_file() and args.training_script_args == ["RECIPE.yaml"]
    several = args.multi_gpu or args.use_fsdp or args.use_deepspeed
    assert several == (args.num_processes > 1)
    assert args.mixed_precision == ("fp8" if path.stem == "fp8" else "no")  # the kit chooses the best of the device


@each
def test_every_key_is_one_that_accelerate_knows(path):
    from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
    from accelerate.commands.launch import launch_command_parser

    load_config_from_file(str(path))
    values = yaml.safe_load(path.read_text())
    assert set(values) <= {f.name for f in dataclasses.fields(ClusterConfig)}
    flags = {action.dest for action in launch_command_parser()._actions}
    for section, prefix in SECTIONS.items():
        for key in values.get(section) or {}:
            # accelerate itself takes any name here, and does nothing with one that it does not know.
            assert key in flags or prefix + key in flags, key


@each
def test_it_ships_in_the_wheel(path):
    shipped = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    folders = shipped["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert folders[path.parent.name] == f"hf_kit/{path.parent.name}"


def plugin_environment(name: str) -> dict[str, str]:
    """What accelerate's launcher puts into the environment of the processes."""
    from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

    args = launch_of(["--config_file", str(REPOSITORY / f"accelerate_configs/{name}.yaml"), TRAIN])
    args.deepspeed_fields_from_accelerate_config = ""
    return prepare_deepspeed_cmd_env(args)[1] if args.use_deepspeed else prepare_multi_gpu_env(args)


def test_fsdp_is_the_second_and_saves_whole_models(monkeypatch):
    from accelerate.utils import FullyShardedDataParallelPlugin
    from torch.distributed.fsdp import StateDictType

    for name, value in plugin_environment("fsdp").items():
        if name.startswith(("FSDP_", "ACCELERATE_")):
            monkeypatch.setenv(name, value)
    plugin = FullyShardedDataParallelPlugin()
    assert plugin.fsdp_version == 2
    assert plugin.state_dict_type == StateDictType.FULL_STATE_DICT
    assert plugin.reshard_after_forward is True and plugin.forward_prefetch is None


@pytest.mark.parametrize("stage", ["2", "3"])
def test_deepspeed_leaves_accumulation_to_the_flag_and_saves_whole_models(stage):
    environment = plugin_environment(f"deepspeed_zero{stage}")
    assert environment["ACCELERATE_DEEPSPEED_ZERO_STAGE"] == stage
    assert "ACCELERATE_GRADIENT_ACCUMULATION_STEPS" not in environment
    assert environment.get("ACCELERATE_DEEPSPEED_ZERO3_SAVE_16BIT_MODEL", "true") == "true"


def test_processes_on_the_cpu_see_no_gpu_and_share_the_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("psutil.cpu_count", lambda logical: 8)
    environment = plugin_environment("multi_cpu")
    assert environment["CUDA_VISIBLE_DEVICES"] == "-1,-1"
    assert environment["OMP_NUM_THREADS"] == "4"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "processes"), [("cpu", 1), ("multi_cpu", 2)])
def test_what_a_cpu_can_run_trains(tmp_path, name, processes):
    write_csv(tmp_path / "reviews.csv", reviews())
    config = REPOSITORY / f"accelerate_configs/{name}.yaml"
    done = start([*LAUNCH, "--config_file", str(config), TRAIN, *TINY, "--max_steps=2", "--output_dir=out"])
    assert re.findall(r"(\d+) process\(es\) on cpu", done.stdout) == [str(processes)]
    assert json.loads(Path("out/results.json").read_text())["training"]["steps"] == 2
