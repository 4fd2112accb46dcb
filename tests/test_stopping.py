"""SIGTERM and SIGINT: the step is finished, a checkpoint is whole, the exit status says why, and the run goes on."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_launch import LAUNCH, REPOSITORY, TRAIN
from tiny import FAMILIES, QUIET_RUN, reviews, write_csv

from hf_kit.checkpointing import CheckpointingTrainer
from hf_kit.checkpoints.manifest import verify
from hf_kit.checkpoints.names import checkpoints
from hf_kit.cli import main
from hf_kit.divergence import Divergence
from hf_kit.progress import EvaluationLines
from hf_kit.stopping import StopRequests

FLAGS = [
    "--model_type=hf_kit_lstm",
    f"--config_overrides={json.dumps(FAMILIES['hf_kit_lstm'])}",
    *QUIET_RUN,
]
SHORT = ["train", *FLAGS, "--num_train_epochs=2"]  # 10 steps


@pytest.fixture(autouse=True)
def rows(tmp_path):
    write_csv(tmp_path / "reviews.csv", reviews(40))
    write_csv(tmp_path / "dev.csv", reviews(10, seed=9))


def same_weights(one: str, two: str) -> bool:
    first, second = (load_file(f"{name}/model.safetensors") for name in (one, two))
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_run_after_the_step_with_a_checkpoint_and_its_status(monkeypatch, capsys, number, status):
    note, before = Divergence.note, signal.getsignal(number)

    def asked(self, loss, batch):
        if self.trainer.state.global_step == 6 and not self._losses:
            signal.raise_signal(number)
            signal.raise_signal(number)
        note(self, loss, batch)

    assert main([*SHORT, "--output_dir=whole"]) == 0
    with monkeypatch.context() as patched:
        patched.setattr(Divergence, "note", asked)
        assert main([*SHORT, "--output_dir=out"]) == status
    said = f"stopped by {number.name} after step 7 of 10; saved. The same command goes on from there"
    assert said in capsys.readouterr().out
    assert verify(Path("out/checkpoint-7"))["step"] == 7
    assert signal.getsignal(number) == before
    assert main([*SHORT, "--output_dir=out"]) == 0
    assert "continuing from out/checkpoint-7" in capsys.readouterr().out
    assert same_weights("whole", "out")


@pytest.mark.parametrize("save", ["epoch", "no"])
def test_a_signal_in_the_last_evaluation_is_not_lost(monkeypatch, capsys, save):
    flags = [*SHORT, f"--save_strategy={save}", f"--load_best_model_at_end={save != 'no'}"]
    assert main([*flags, "--output_dir=whole"]) == 0
    evaluated = EvaluationLines.on_evaluate

    def asked(self, args, state, control, **kwargs):
        if state.global_step == 10:
            signal.raise_signal(signal.SIGTERM)
        evaluated(self, args, state, control, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(EvaluationLines, "on_evaluate", asked)
        assert main([*flags, "--output_dir=out"]) == 143
    assert "stopped by SIGTERM after step 10 of 10" in capsys.readouterr().out
    assert not Path("out/results.json").exists()
    assert main([*flags, "--output_dir=out"]) == 0
    assert "step 10 of 10, 0 to go" in capsys.readouterr().out
    assert same_weights("whole", "out")


@pytest.fixture
def ctrl_c():
    """SIGINT as in a terminal: a shell's background job is started with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_signal_too_late_for_training_does_what_it_always_does(ctrl_c, monkeypatch, capsys):
    load = CheckpointingTrainer._load_best_model

    def asked(self):
        signal.raise_signal(signal.SIGINT)
        load(self)

    monkeypatch.setattr(CheckpointingTrainer, "_load_best_model", asked)
    assert main([*SHORT, "--output_dir=out"]) == 130
    assert "the same command" in capsys.readouterr().err
    assert not Path("out/results.json").exists() and checkpoints(Path("out"))


def test_outside_the_main_thread_nothing_is_listened_to():
    from concurrent.futures import ThreadPoolExecutor

    def listen():
        with StopRequests().listening():
            return signal.getsignal(signal.SIGTERM)

    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(listen).result() is signal.getsignal(signal.SIGTERM)


def test_a_launcher_that_is_gone_counts_as_sigterm_and_only_where_one_started_the_run(monkeypatch):
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "inductor")  # set by the training arguments themselves
    monkeypatch.setattr(os, "getppid", lambda: 4321)  # 1 already, where the shell that started the tests is gone
    alone = StopRequests()
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    launched = StopRequests()
    launched.agree()
    assert launched.agreed == 0
    monkeypatch.setattr(os, "getppid", lambda: 1)
    alone.agree()
    launched.agree()
    assert (alone.agreed, launched.agreed) == (0, signal.SIGTERM)


# Whole programs.

LONG = [*FLAGS, "--num_train_epochs=400", "--eval_strategy=no", "--load_best_model_at_end=False", "--save_strategy=no"]
LONG += ["--save_minutes=0.02", "--output_dir=out"]
CLI = [sys.executable, "-m", "hf_kit.cli", "train"]
TWO = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", TRAIN]


def begin(command: list[str], *more: str) -> subprocess.Popen:
    """Started in a process group of its own, and in the middle of its training."""
    env = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    run = subprocess.Popen(
        [*command, *LONG, *more],
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    until = time.monotonic() + 200
    while not checkpoints(Path("out")):
        assert run.poll() is None and time.monotonic() < until, run.communicate()[0]
        time.sleep(0.05)
    return run


def stopped_at(run: subprocess.Popen) -> int:
    """The step of the checkpoint that the ended program said it has written, and which is whole."""
    said = run.communicate(timeout=100)[0]
    steps = re.findall(r"stopped by SIG\w+ after step (\d+) of \d+; saved", said)
    assert len(steps) == 1, said
    (step,) = steps
    assert verify(checkpoints(Path("out"))[0])["step"] == int(step)
    assert not list(Path("out").glob(".checkpoint*"))
    return int(step)


def test_sigterm_to_the_whole_group_lets_data_workers_finish_the_step():
    run = begin([*CLI, "--dataloader_num_workers=2"])
    os.killpg(run.pid, signal.SIGTERM)
    step = stopped_at(run)
    assert run.returncode == 143 and 0 < step < 2000


@pytest.mark.slow
def test_ctrl_c_twice_to_the_whole_group_saves_once():
    run = begin([*CLI, "--dataloader_num_workers=2"])
    os.killpg(run.pid, signal.SIGINT)
    os.killpg(run.pid, signal.SIGINT)
    stopped_at(run)
    assert run.returncode == 130


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["the launcher", "the group", "one process"])
def test_two_processes_agree_on_the_step(whom):
    run = begin(TWO)
    if whom == "one process":
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGTERM)
    else:
        (os.killpg if whom == "the group" else os.kill)(run.pid, signal.SIGTERM)
    stopped_at(run)
    assert run.returncode != 0
    manifest = verify(checkpoints(Path("out"))[0])
    assert manifest["layout"] == {"processes": 2}


@pytest.mark.slow
def test_a_launcher_that_only_dies_leaves_a_whole_checkpoint():
    run = begin([*LAUNCH, TRAIN])
    os.kill(run.pid, signal.SIGTERM)
    stopped_at(run)


@pytest.mark.slow
def test_a_second_run_in_the_folder_stops_and_changes_nothing():
    run = begin(CLI, *(longer := ["--num_train_epochs=9999"]))
    try:
        env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        second = subprocess.run([*CLI, *LONG, *longer], capture_output=True, text=True, env=env)
        assert second.returncode == 1
        assert "out: another run is training in it right now" in second.stderr and "Traceback" not in second.stderr
        assert run.poll() is None
    finally:
        run.terminate()
    stopped_at(run)
