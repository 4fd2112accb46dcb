"""`hf-kit train --accelerate_config`: mistakes before anything starts, one error, the processes' own exit status."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_launch import REPOSITORY, start
from tiny import FAMILIES, QUIET_RUN, reviews, write_csv

from hf_kit import launching
from hf_kit.checkpoints.names import checkpoints
from hf_kit.cli import main
from hf_kit.errors import LostProcess, UserError
from hf_kit.launch_settings import setting_names
from hf_kit.parsing import parse_arguments


@pytest.fixture(autouse=True)
def unlaunched(monkeypatch):
    for name in ("RANK", "ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_ERROR_FILE", launching.LAUNCHED):
        monkeypatch.delenv(name, raising=False)


def refused(capsys, *words: str) -> str:
    """The one error of a launch that starts nothing."""
    assert main(["train", "lstm.yaml", *words]) == 1
    said = capsys.readouterr()
    assert not said.out and said.err.count("\n") == 1
    return said.err


def test_the_words_of_a_launch_are_sorted_from_those_of_the_training():
    words = "lstm.yaml --num_processes 4 --accelerate-config=fsdp --seed 1 --mixed_precision=bf16 --bf16".split()
    wanted = launching.read_launch(words)
    assert wanted.setting == REPOSITORY / "accelerate_configs/fsdp.yaml"
    assert wanted.flags == {"num_processes": "4", "mixed_precision": "bf16"}
    assert wanted.training == ["lstm.yaml", "--seed", "1", "--bf16"]
    assert launching.read_launch(["lstm.yaml", "--seed", "1"]) is None


def test_a_setting_is_also_a_path(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("distributed_type: 'NO'\n")
    assert launching.read_launch(["--accelerate_config", str(path)]).setting == path


@pytest.mark.parametrize("flag", launching.FLAGS)
def test_flags_of_a_launch_are_accelerates_and_not_the_kits(flag):
    from accelerate.commands.launch import launch_command_parser

    from hf_kit.arguments import DataArguments, KitTrainingArguments, LoraArguments, ModelArguments

    assert flag in {action.dest for action in launch_command_parser()._actions}
    for part in (DataArguments, ModelArguments, LoraArguments, KitTrainingArguments):
        assert flag not in part.__dataclass_fields__


def test_an_unknown_setting_is_named_with_the_nearest_and_all(capsys):
    said = refused(capsys, "--accelerate_config", "fsdq")
    assert "did you mean `fsdp`?" in said and ", ".join(setting_names()) in said


def test_a_flag_of_a_launch_without_a_setting_says_so(capsys):
    assert "--num_processes is of a launch" in refused(capsys, "--num_processes", "2")
    assert "--accelerate_config is empty" in refused(capsys, "--accelerate_config")


@pytest.mark.parametrize("words", [["recipe.yaml"], ["--model_type=hf_kit_lstm", "--accelerate_config=cpu"]])
def test_a_setting_where_nothing_would_be_launched_is_refused(words):
    Path("recipe.yaml").write_text("model_type: hf_kit_lstm\naccelerate_config: cpu\n")
    with pytest.raises(UserError, match="only on the command line of hf-kit train"):
        parse_arguments(words)


def test_a_launch_within_a_launch_is_refused(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    assert "has started this process already" in refused(capsys, "--accelerate_config", "cpu")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("multi_cpu --num_processes 0", "0 processes on 1 machine"),
        ("multi_cpu --num_processes two", "invalid int value"),
        ("multi_node --num_processes 3 --main_process_ip 10.0.0.1", "3 processes on 2 machine"),
        ("multi_node", "--main_process_ip is not set"),
        ("multi_node --main_process_ip 10.0.0.1 --machine_rank 2", "allowed are 0 to 1"),
        ("cpu --num_processes 4", "starts one process, whatever number is given (4 here); take"),
        ("deepspeed_zero3", "deepspeed is not installed"),
        ("fp8", "torchao is not installed"),
    ],
)
def test_a_launch_that_cannot_work_is_one_error(capsys, monkeypatch, words, says):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = refused(capsys, "--accelerate_config", *words.split())
    assert says in said


def test_a_key_that_accelerate_does_not_know_is_an_error_that_names_it(capsys, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("distributed_type: 'NO'\nnum_proceses: 2\n")
    assert "num_proceses" in refused(capsys, "--accelerate_config", str(path))


@pytest.mark.parametrize(("cards", "says"), [(0, "torch sees no GPU here"), (1, "2 processes for this machine's 1")])
def test_gpus_that_are_not_there_are_missed_at_once(capsys, monkeypatch, cards, says):
    monkeypatch.setattr("torch.cuda.is_available", lambda: cards > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: cards)
    assert says in refused(capsys, "--accelerate_config", "fsdp")
    if not cards:
        said = refused(capsys, "--accelerate_config", "single_gpu")
        assert says in said and said.rstrip().endswith("--accelerate_config cpu")


def test_a_port_in_use_is_an_error_with_the_remedy(capsys):
    with socket.create_server(("", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = refused(capsys, "--accelerate_config", "multi_cpu", "--main_process_port", port)
    assert f"--main_process_port {port}" in said and "any free one" in said


def failure(exitcode: int, when: int, **told):
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

    failed = ProcessFailure(local_rank=0, pid=1, exitcode=exitcode, error_file="none")
    if told:
        failed.error_file_data = told
    failed.timestamp = when
    return failed


def test_of_several_failures_the_first_is_told_that_is_not_the_loss_of_another(capsys):
    lost = failure(1, 5, message="another process is gone", lost=True)
    assert launching._tell_failure({0: lost, 1: failure(3, 6, message="no space left")}) == 3
    assert capsys.readouterr().err == "error: process 1: no space left\n"
    assert launching._tell_failure({0: lost}) == 1
    assert capsys.readouterr().err == "error: another process is gone\n"
    assert launching._tell_failure({0: lost, 3: failure(-9, 7)}) == 137
    assert "process 3 was ended by SIGKILL" in capsys.readouterr().err
    assert launching._tell_failure({0: failure(143, 7)}) == 143  # it has said that it saved
    assert launching._tell_failure({0: failure(1, 7, message="seen", told=True)}) == 1
    assert not capsys.readouterr().err


@pytest.mark.parametrize("stopped", [143, -15])
def test_a_process_that_torch_stopped_for_another_is_not_the_cause(capsys, stopped):
    failures = {0: failure(stopped, 7), 1: failure(-9, 7)}  # torch's timestamps are whole seconds
    assert launching._tell_failure(failures) == 137
    assert "process 1 was ended by SIGKILL" in capsys.readouterr().err


def test_a_process_that_torch_aborted_for_want_of_an_answer_is_not_the_cause(capsys):
    gave_up = failure(-6, 7)
    assert launching._tell_failure({0: gave_up, 1: failure(3, 8, message="no space left")}) == 3
    assert "process 1: no space left" in capsys.readouterr().err
    assert launching._tell_failure({0: gave_up, 1: failure(-9, 60)}) == 134
    said = capsys.readouterr().err
    assert "process 0 gave up" in said and "--ddp_timeout" in said
    assert launching._tell_failure({0: gave_up}) == 134
    assert "process 0 was ended by SIGABRT" in capsys.readouterr().err


@pytest.mark.parametrize("launched", [True, False])
def test_a_process_leaves_its_error_to_the_launcher(capsys, monkeypatch, tmp_path, launched):
    def gone(arguments):
        raise LostProcess("another process is gone")

    monkeypatch.setattr("hf_kit.run.train", gone)
    monkeypatch.setattr("hf_kit.parsing.parse_arguments", lambda argv: None)
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    monkeypatch.setenv("RANK", "1")
    if launched:
        monkeypatch.setenv(launching.LAUNCHED, "{}")
    assert main(["train", "lstm.yaml"]) == 1
    error = json.loads((tmp_path / "error.json").read_text())
    assert error["message"] == "another process is gone" and error["lost"]
    assert ("process 1" in capsys.readouterr().err) == (not launched)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_process_gets_the_signal_once_and_its_status_is_ours(monkeypatch, number, status):
    code = (
        "import os, signal, sys, time\n"
        f"signal.signal({number:d}, lambda *_: sys.exit({status}))\n"
        f"os.kill(os.getppid(), {number:d})\n"
        "while True: time.sleep(0.05)"
    )
    monkeypatch.setattr(
        "accelerate.utils.launch.prepare_simple_launcher_cmd_env", lambda args: ([sys.executable, "-c", code], None)
    )
    before = signal.getsignal(number)
    assert launching._run_one(None) == status
    assert signal.getsignal(number) == before


def test_help_of_train_names_the_flag_and_launches_nothing(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--accelerate_config", "multi_cpu", "--help"])
    assert "--accelerate_config" in capsys.readouterr().out


def test_mistakes_of_a_launch_are_told_without_loading_torch():
    code = (
        "import sys; from hf_kit.cli import main; main(['train', '--accelerate_config', 'no']); "
        "sys.exit('torch' in sys.modules)"
    )
    assert "there is no such setting" in start([sys.executable, "-c", code]).stderr


# Whole programs: two processes on the CPU.

LONG = ["--max_steps=100000", "--eval_strategy=no", "--load_best_model_at_end=False", "--save_strategy=no"]
LONG += [f"--config_overrides={json.dumps(FAMILIES['hf_kit_lstm'])}", "--model_type=hf_kit_lstm", *QUIET_RUN]
LONG += ["--save_minutes=0.02", "--output_dir=out", "--ddp_timeout=30"]


@pytest.fixture
def two(tmp_path):
    """A run of two processes in the middle of its training."""
    write_csv(tmp_path / "reviews.csv", reviews(40))
    write_csv(tmp_path / "dev.csv", reviews(10, seed=9))
    run = subprocess.Popen(
        [sys.executable, "-m", "hf_kit.cli", "train", *LONG, "--accelerate_config=multi_cpu"],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    until = time.monotonic() + 600
    while not checkpoints(Path("out")):
        assert run.poll() is None and time.monotonic() < until, run.communicate()
        time.sleep(0.05)
    yield run
    run.kill()


def process(run: subprocess.Popen, rank: int) -> int:
    for pid in map(int, Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()):
        if f"\0RANK={rank}\0" in Path(f"/proc/{pid}/environ").read_text():
            return pid
    raise AssertionError(rank)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_dies_ends_the_run_in_half_a_minute_with_its_error(two, rank):
    began = time.monotonic()
    os.kill(process(two, rank), signal.SIGKILL)
    said = two.communicate(timeout=200)[1]
    assert time.monotonic() - began < 30
    assert two.returncode == 128 + signal.SIGKILL
    assert said.count("error: ") == 1 and f"process {rank} was ended by SIGKILL" in said
    assert "torch/distributed" not in said


@pytest.mark.slow
def test_a_process_that_hangs_ends_the_run_after_the_time_that_was_set(two):
    began = time.monotonic()
    os.kill(process(two, 1), signal.SIGSTOP)
    said = two.communicate(timeout=200)[1]
    assert time.monotonic() - began < 30 + 30 + 15  # --ddp_timeout, torch's patience with the one that hangs, the rest
    assert two.returncode == 1
    assert "another process did not answer for 30 s" in said and said.count("error: ") == 1


@pytest.mark.slow
def test_ctrl_c_once_ends_the_whole_tree_saved_with_status_130(two):
    others = [process(two, rank) for rank in (0, 1)]
    os.killpg(two.pid, signal.SIGINT)
    said = two.communicate(timeout=200)[0]
    assert two.returncode == 130
    assert re.search(r"stopped by SIGINT after step (\d+) of 100000; saved", said)
    assert not any(Path(f"/proc/{pid}").exists() for pid in others)


@pytest.mark.slow
def test_a_mistake_is_told_once_and_a_process_with_other_rows_is_named(tmp_path):
    """Two machines, each with its own copy of the training file."""
    for rank in (0, 1):
        (tmp_path / str(rank)).mkdir()
        write_csv(tmp_path / str(rank) / "reviews.csv", reviews(40, seed=rank))
        write_csv(tmp_path / str(rank) / "dev.csv", reviews(10, seed=9))
    with socket.create_server(("", 0)) as free:
        port = free.getsockname()[1]
    words = [word for word in LONG if not word.startswith("--output_dir")]
    env = os.environ | {"PYTHONPATH": str(REPOSITORY), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "hf_kit.cli", "train", *words, f"--output_dir={tmp_path}/out", "--ddp_timeout=200"],
            env=env | {"RANK": str(rank), "LOCAL_RANK": "0", "WORLD_SIZE": "2"},
            cwd=tmp_path / str(rank),
            text=True,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        for rank in (0, 1)
    ]
    first, second = (run.communicate(timeout=600)[1] for run in runs)
    assert [run.returncode for run in runs] == [1, 1]
    assert first.count("error: ") == 1 and f"process 1 ({socket.gethostname()}) has train rows: " in first
    assert "error" not in second
    assert not (tmp_path / "out").exists()
