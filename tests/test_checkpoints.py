"""Checkpoints are whole or do not exist: their files, their commit, what is kept, and what damage and faults do."""

import contextlib
import errno
import io
import json
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from tiny import FAMILIES, QUIET_RUN, reviews, write_csv

import hf_kit.checkpointing
from hf_kit import run_folder
from hf_kit.checkpoints import commit
from hf_kit.checkpoints.commit import Commits, staging
from hf_kit.checkpoints.manifest import MANIFEST, read_manifest, verify, write_manifest
from hf_kit.checkpoints.names import checkpoints, last_checkpoint
from hf_kit.checkpoints.resume import choose_checkpoint
from hf_kit.checkpoints.state_files import read_state, write_state
from hf_kit.cli import main
from hf_kit.divergence import Divergence
from hf_kit.errors import UserError
from hf_kit.trainer import KitTrainer

FLAGS = [
    "train",
    "--model_type=hf_kit_lstm",
    f"--config_overrides={json.dumps(FAMILIES['hf_kit_lstm'])}",
    *QUIET_RUN,
    "--num_train_epochs=2",
    "--output_dir=out",
]
EVERY_STEP = "--save_minutes=1e-9"


@pytest.fixture
def rows(tmp_path):
    write_csv(tmp_path / "reviews.csv", reviews(40))
    write_csv(tmp_path / "dev.csv", reviews(10, seed=9))


def error_of(capsys) -> str:
    """The one error that was printed."""
    printed = capsys.readouterr().err
    errors = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in printed and "--debug" not in printed, printed
    return errors[0]


# State files.


def test_a_state_comes_back_bit_for_bit_and_with_its_types(tmp_path):
    table = torch.linspace(0, 1, 5)
    state = {
        "shared": [table, table, table[1:3]],  # as the tables of 8-bit optimizers are
        "state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.randn(2, 3)}, 1: {}},
        "state.0": torch.ones(2),  # its place reads as that of another
        "groups": [{"lr": 0.1 + 0.2, "betas": (0.9, 0.999), "foreach": None, "params": [0, 1]}],
        1: torch.zeros(1),
        "1": torch.ones(1),
        "half": torch.randn(4).bfloat16(),
        "empty": torch.zeros(0, 3),
        "strided": torch.arange(6).view(2, 3).T,
        "numpy": np.array([1, 2**32 - 1], dtype=np.uint32),
        "number": np.float64(1e-300),
        "odd": [float("inf"), float("-inf"), True, False, 2**70, "é", "dict"],
        "random": random.getstate(),
    }
    write_state(tmp_path, "x", state)
    assert {path.name for path in tmp_path.iterdir()} == {"x.json", "x.safetensors"}
    back = read_state(tmp_path, "x")
    assert list(back) == list(state)
    for path in (("state", 0, "exp_avg"), ("state", 0, "step"), ("state.0",), (1,), ("1",), ("half",), ("empty",)):
        one, two = state, back
        for key in path:
            one, two = one[key], two[key]
        assert two.dtype == one.dtype and torch.equal(one, two), path
    assert torch.equal(back["strided"], state["strided"])
    assert all(torch.equal(one, two) for one, two in zip(back["shared"], state["shared"], strict=True))
    assert back["numpy"].dtype == np.uint32 and (back["numpy"] == state["numpy"]).all()
    for name in ("groups", "number", "odd", "random"):
        assert back[name] == state[name]
    assert [type(value) for value in back["odd"]] == [type(value) for value in state["odd"]]
    write_state(tmp_path, "nan", {"loss": float("nan")})
    assert np.isnan(read_state(tmp_path, "nan")["loss"])


def test_what_only_pickle_could_write_is_named_by_its_place(tmp_path):
    with pytest.raises(TypeError, match=r"optimizer\.groups\.1\.hook: a function cannot be written"):
        write_state(tmp_path, "optimizer", {"groups": [{}, {"hook": lambda: None}]})


@pytest.mark.parametrize("kind", ["adamw", "sgd", "rmsprop", "adagrad", "adafactor", "nadam"])
def test_the_state_of_every_usual_optimizer_can_be_written(tmp_path, kind):
    from transformers import Adafactor

    kinds = {"adamw": "AdamW", "sgd": "SGD", "rmsprop": "RMSprop", "adagrad": "Adagrad", "nadam": "NAdam"}
    make = Adafactor if kind == "adafactor" else getattr(torch.optim, kinds[kind])
    weights = [torch.nn.Parameter(torch.ones(3, 2)), torch.nn.Parameter(torch.ones(2))]
    optimizer = make(weights)
    sum(weight.square().sum() for weight in weights).backward()
    optimizer.step()
    write_state(tmp_path, "optimizer", optimizer.state_dict())
    again = make(weights)
    again.load_state_dict(read_state(tmp_path, "optimizer"))
    one, two = optimizer.state_dict(), again.state_dict()
    assert str(one) == str(two) and one["param_groups"] == two["param_groups"]


# Manifest, commit, rotation.


def make(folder: Path, step: int, **facts) -> Path:
    """A small checkpoint in `folder`, committed."""
    commits = Commits(folder)
    staged = commits.stage(step)
    (staged / "model.safetensors").write_bytes(b"weights %d" % step)
    content = {"step": step, "max_steps": 99, "best_step": None, "model_only": False, "versions": {}} | facts
    content |= {"fingerprint_of": {}, "layout": {}, "processor": ""}
    commits.commit(staged, content, ["model.safetensors"], None, set())
    commits.wait()
    return folder / f"checkpoint-{step}"


def test_a_checkpoint_is_synced_then_listed_then_renamed_and_the_parent_synced(tmp_path, monkeypatch):
    events = []
    fsync, rename = os.fsync, Path.rename

    def synced(descriptor):
        events.append(os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}"), tmp_path))
        fsync(descriptor)

    def renamed(self, target):
        events.append(("rename", self.name, Path(target).name))
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    make(tmp_path, 5)
    staged = ".checkpoint-5.part"
    at = {event: place for place, event in enumerate(events)}
    order = [f"{staged}/model.safetensors", f"{staged}/{MANIFEST}", staged, ("rename", staged, "checkpoint-5"), "."]
    first = events.index(order[0])
    assert first < at[order[1]] < at[order[2]] < at[order[3]] < at[order[4]]
    assert not [event for event in events[at[order[3]] + 1 :] if event != "."]


def test_what_was_not_renamed_does_not_exist_and_is_cleared_away(tmp_path):
    make(tmp_path, 3)
    for name in (".checkpoint-6.part", ".checkpoint-2.old"):
        (tmp_path / name).mkdir()
        write_manifest(tmp_path / name, {"step": 6})
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-3"]
    Commits(tmp_path).stage(9)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".checkpoint-9.part", "checkpoint-3"]


def test_a_failed_commit_leaves_the_ones_before_it_and_is_told_by_the_next_wait(tmp_path, monkeypatch):
    make(tmp_path, 3)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    commits = Commits(tmp_path)
    staged = commits.stage(6)
    monkeypatch.setattr(commit, "write_manifest", full)
    commits.commit(staged, {"step": 6}, [], 1, set())
    commits.settle()
    assert commits.failed()
    with pytest.raises(UserError, match=r"step 6 could not be saved: the disk is full.*goes on from .*checkpoint-3"):
        commits.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-3"]
    assert verify(tmp_path / "checkpoint-3")["step"] == 3


def rotate(folder: Path, step: int, keep: int, best: int | None) -> list[int]:
    """The steps that are there after `step` was committed."""
    commits = Commits(folder)
    staged = commits.stage(step)
    (staged / "model.safetensors").touch()
    commits.commit(staged, {"step": step}, [], keep, {best} - {None})
    commits.wait()
    return [read_manifest(path)["step"] for path in checkpoints(folder)]


def test_the_oldest_go_first_by_step_whatever_the_time_stamps_say(tmp_path):
    for step in (9, 10, 100):
        make(tmp_path, step)
    for age, step in enumerate((9, 10, 100)):  # the newest looks the oldest
        os.utime(tmp_path / f"checkpoint-{step}", (1e9 - age, 1e9 - age))
    assert rotate(tmp_path, 101, keep=2, best=None) == [101, 100]


def test_the_best_one_stays_however_old(tmp_path):
    for step in (1, 2, 3):
        make(tmp_path, step)
    assert rotate(tmp_path, 4, keep=1, best=1) == [4, 1]
    assert rotate(tmp_path, 5, keep=2, best=1) == [5, 1]


def test_the_one_just_written_stays_though_a_damaged_one_is_newer(tmp_path):
    for step in (2, 8):
        make(tmp_path, step)
    (tmp_path / "checkpoint-8/model.safetensors").unlink()  # skipped, so the run went on from 2
    assert rotate(tmp_path, 4, keep=1, best=None) == [8, 4]
    assert rotate(tmp_path, 8, keep=1, best=None) == [8]
    verify(tmp_path / "checkpoint-8")


def test_a_folder_without_a_manifest_is_neither_counted_nor_touched(tmp_path):
    make(tmp_path, 2)
    (tmp_path / "checkpoint-7").mkdir()
    (tmp_path / "checkpoint-7/mine.txt").touch()
    (tmp_path / "checkpoint-best").mkdir()
    assert rotate_names(tmp_path, 3) == ["checkpoint-3", "checkpoint-7", "checkpoint-best"]


def rotate_names(folder: Path, step: int) -> list[str]:
    commits = Commits(folder)
    commits.commit(commits.stage(step), {"step": step}, [], 1, set())
    commits.wait()
    return sorted(path.name for path in folder.iterdir())


def test_the_last_checkpoint_is_the_newest_by_step_that_was_finished(tmp_path):
    for step in (5, 40, 300):
        make(tmp_path, step)
    assert last_checkpoint(tmp_path).name == "checkpoint-300"
    (tmp_path / "checkpoint-300" / MANIFEST).unlink()
    assert last_checkpoint(tmp_path).name == "checkpoint-40"
    assert last_checkpoint(tmp_path / "nowhere") is None


def test_keeping_only_one_that_is_not_there_removes_none(tmp_path):
    for step in (2, 4):
        make(tmp_path, step)
    Commits(tmp_path).keep_only(3)
    assert len(checkpoints(tmp_path)) == 2
    Commits(tmp_path).keep_only(2)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-2"]


def test_a_file_that_vanishes_before_it_is_listed_makes_no_checkpoint(tmp_path):
    make(tmp_path, 3)
    commits = Commits(tmp_path)
    staged = commits.stage(6)
    commits.commit(staged, {"step": 6}, ["optimizer.json"], 1, set())
    with pytest.raises(UserError, match=r"files vanished while it was written .*optimizer\.json.*no other program"):
        commits.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-3"]


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (OSError(errno.ENOSPC, "x"), "the disk is full .*MB free.* Make room, then give the same command"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "the disk is full"),
        (Exception("No space left on device (os error 28)"), "the disk is full"),  # the tokenizers library
        (OSError(errno.EDQUOT, "x"), "your disk quota is used up"),
        (OSError(errno.EROFS, "x"), "cannot be written. Make it writable"),
        (PermissionError(errno.EACCES, "x"), "cannot be written. Make it writable"),
        (FileNotFoundError(errno.ENOENT, "x"), "files vanished"),
        (SafetensorError("Error while serializing: No such file or directory (os error 2)"), "files vanished"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_every_fault_of_a_disk_is_one_error_with_its_remedy(tmp_path, reason, said):
    commits = Commits(tmp_path)
    staged = commits.stage(4)
    with pytest.raises(UserError, match=f"the checkpoint of step 4 could not be saved: .*{said}"):
        with commits.telling(staged):
            raise reason
    assert not staged.exists()


def test_other_mistakes_stay_what_they_are(tmp_path):
    with pytest.raises(ZeroDivisionError):
        with Commits(tmp_path).telling(staging(tmp_path, 4)):
            _ = 1 / 0


# Damage.


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with a run of all weights, `full/out`, and one of an adapter, `lora/out`, cut after step 3 of 10."""
    folder = tmp_path_factory.mktemp("saved")
    note = Divergence.check

    def cut(self, grad_norm):
        if self.trainer.state.global_step == 3:
            raise KeyboardInterrupt
        note(self, grad_norm)

    with pytest.MonkeyPatch.context() as patched, contextlib.redirect_stdout(io.StringIO()):
        for name in ("full", "lora"):
            (folder / name).mkdir()
            patched.chdir(folder / name)
            write_csv(Path("reviews.csv"), reviews(40))
            write_csv(Path("dev.csv"), reviews(10, seed=9))
            flags = [*FLAGS, EVERY_STEP, "--save_total_limit=2"]
            if name == "lora":
                assert main([*FLAGS, "--num_train_epochs=1", "--output_dir=base"]) == 0
                flags = [word for word in flags if not word.startswith(("--model_type", "--config_o", "--vocab"))]
                flags += ["--model_name_or_path=base", "--use_peft", "--lora_r=2"]
            with patched.context() as inner:
                inner.setattr(Divergence, "check", cut)
                assert main(flags) == 130
            assert [path.name for path in checkpoints(Path("out"))] == ["checkpoint-3", "checkpoint-2"]
    return folder


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_any_damage_to_any_file_is_found_and_the_checkpoint_before_is_taken(saved, tmp_path, capsys, kind):
    shutil.copytree(saved / kind / "out", tmp_path / "out")
    newest = tmp_path / "out/checkpoint-3"
    facts = read_manifest(newest)
    assert choose_checkpoint("auto", tmp_path / "out", facts) == newest
    names = {path.name for path in newest.iterdir()}
    weights = {"full": "model.safetensors", "lora": "adapter_model.safetensors"}[kind]
    states = {f"{name}.{end}" for name in ("optimizer", "scheduler", "processes") for end in ("json", "safetensors")}
    assert {weights, MANIFEST, "trainer_state.json", "config.json" if kind == "full" else weights} | states <= names
    rng = random.Random(0)
    for name in sorted(names):
        path = newest / name
        good = path.read_bytes()
        bad = [good[: len(good) * part // 100] for part in (0, 50, 99)]
        for place in {0, len(good) - 1, *(rng.randrange(len(good)) for _ in range(6))}:
            flipped = bytearray(good)
            flipped[place] ^= 1 << rng.randrange(8)
            bad.append(bytes(flipped))
        for content in bad:
            path.write_bytes(content)
            with pytest.raises(ValueError, match=name.replace(".", r"\.")):
                verify(newest)
            assert choose_checkpoint("auto", tmp_path / "out", facts).name == "checkpoint-2"
            assert f"{newest} is skipped: {name} " in " ".join(capsys.readouterr().err.split())
        path.unlink()
        assert choose_checkpoint("auto", tmp_path / "out", facts).name == "checkpoint-2"
        path.write_bytes(good)
    assert choose_checkpoint("auto", tmp_path / "out", facts) == newest


def test_every_byte_of_a_manifest_counts(saved, tmp_path):
    good = (saved / "full/out/checkpoint-3" / MANIFEST).read_bytes()
    for place in range(0, len(good), 17):
        for bit in (0, 5):
            flipped = bytearray(good)
            flipped[place] ^= 1 << bit
            (tmp_path / MANIFEST).write_bytes(flipped)
            with pytest.raises(ValueError, match=MANIFEST):
                read_manifest(tmp_path)
    (tmp_path / MANIFEST).write_bytes(good[:-1])
    with pytest.raises(ValueError, match="damaged"):
        read_manifest(tmp_path)


def test_a_manifest_says_what_the_checkpoint_is(saved):
    content = read_manifest(saved / "lora/out/checkpoint-3")
    assert (content["step"], content["max_steps"], content["layout"]) == (3, 10, {"processes": 1})
    assert {"hf_kit", "torch", "transformers", "python"} == set(content["versions"])
    for file in content["files"]:
        path = saved / "lora/out/checkpoint-3" / file["name"]
        assert file["size"] == path.stat().st_size and file["sha256"] == run_folder.hash_file(path)


def test_no_file_of_an_unfinished_run_is_a_pickle(saved):
    files = [path for kind in ("full", "lora") for path in (saved / kind / "out").rglob("*") if path.is_file()]
    assert len(files) > 40
    for path in files:
        content = path.read_bytes()
        assert not content.startswith((b"\x80", b"PK")), path  # pickle's protocol, torch's archive
        with pytest.raises(Exception):  # noqa: B017  what pickle raises on other bytes is anything
            pickle.loads(content)
            print(path)


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_no_pickle_is_written_or_read_on_the_way_back(saved, tmp_path, monkeypatch, capsys, kind):
    def refused(*args, **kwargs):
        raise AssertionError("a pickle")

    for path in (saved / kind).iterdir():
        (shutil.copytree if path.is_dir() else shutil.copy)(path, tmp_path / path.name)
    flags = [*FLAGS, "--num_train_epochs=2"]
    if kind == "lora":
        flags = [word for word in flags if not word.startswith(("--model_type", "--config_o", "--vocab"))]
        flags += ["--model_name_or_path=base", "--use_peft", "--lora_r=2"]
    for module, name in ((torch, "load"), (torch, "save"), (pickle, "load"), (pickle, "dump"), (pickle, "loads")):
        monkeypatch.setattr(module, name, refused)
    assert main(flags) == 0
    printed = capsys.readouterr().out
    assert "continuing from out/checkpoint-3: step 3 of 10, 7 to go" in printed and "best so far" in printed


# Faults while a run goes.


def test_a_full_disk_at_any_write_harms_no_checkpoint_and_the_same_command_goes_on(rows, monkeypatch, capsys):
    """The second checkpoint's first, second ... file; then its manifest, its rename, and the files of the end."""
    real = {name: getattr(module, name) for module, name in WRITES}
    for module, name in WRITES:

        def full(*args, _real=real[name], _name=name, **kwargs):
            if "out/" in str(args[:2]) and "checkpoint-5" not in str(args[:2]) and last_checkpoint(Path("out")):
                raise OSError(errno.ENOSPC, "No space left on device")
            return _real(*args, **kwargs)

        with monkeypatch.context() as patched:
            patched.setattr(module, name, full)
            assert main(FLAGS) == 1, name
        error = error_of(capsys)
        assert "could not be saved: the disk is full" in error and "goes on from out/checkpoint-" in error, name
        assert [verify(path)["step"] for path in checkpoints(Path("out"))]
        assert not list(Path("out").glob(".checkpoint*"))
        shutil.rmtree("out")


WRITES = [
    (hf_kit.checkpointing, "write_state"),
    (commit, "write_manifest"),
    (Path, "mkdir"),
    (KitTrainer, "_save"),
]


def test_a_full_disk_at_the_very_end_is_told_and_the_same_command_ends_the_run(rows, monkeypatch, capsys):
    write = run_folder.write_json

    def full(path, value):
        if path.name == "results.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, value)

    with monkeypatch.context() as patched:
        patched.setattr(run_folder, "write_json", full)
        assert main(FLAGS) == 1
    error = error_of(capsys)
    assert "the results could not be saved: the disk is full" in error and "goes on from out/checkpoint-10" in error
    assert main(FLAGS) == 0
    assert "step 10 of 10, 0 to go" in capsys.readouterr().out


def test_a_full_disk_before_the_first_step_leaves_a_folder_that_the_same_command_takes(rows, monkeypatch, capsys):
    write = Path.write_text

    def full(self, text, **kwargs):
        if self.name == "run.json.part":
            write(self, text[:9], **kwargs)
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, text, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        assert main(FLAGS) == 1
    assert "run.json could not be saved: the disk is full" in error_of(capsys)
    Path("out/run.json.part").write_text("{")  # as a power cut would leave it
    assert main([*FLAGS, "--num_train_epochs=1"]) == 0


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_turns_read_only_is_told(rows, monkeypatch, capsys, number):
    make_folder = Path.mkdir

    def refused(self, *args, **kwargs):
        if self.name == ".checkpoint-10.part":
            raise OSError(number, "no")
        return make_folder(self, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "mkdir", refused)
        assert main(FLAGS) == 1
    assert "step 10 could not be saved: out cannot be written. Make it writable" in error_of(capsys)
    assert main(FLAGS) == 0
    assert "continuing from out/checkpoint-5" in capsys.readouterr().out


def test_a_commit_that_fails_beside_the_steps_stops_the_run(rows, monkeypatch, capsys):
    def vanished(staged, *args):
        (staged / "optimizer.safetensors").unlink()
        write_manifest(staged, *args)

    steps, note = [], Divergence.note

    def noted(self, loss, batch):
        steps.append(self.trainer.state.global_step)
        if steps[-1] == 45:
            self.trainer.commits.settle()  # at the latest now the failure is known
        note(self, loss, batch)

    monkeypatch.setattr(Divergence, "note", noted)
    monkeypatch.setattr(commit, "write_manifest", vanished)
    assert main([*FLAGS, "--per_device_train_batch_size=1"]) == 1
    assert 40 <= max(steps) <= 45, "it must not go on until the next checkpoint is due, after step 80"
    error = error_of(capsys)
    assert "files vanished" in error and "optimizer.safetensors" in error and "the start, as nothing is saved" in error
    assert not checkpoints(Path("out")) and not list(Path("out").glob(".checkpoint*"))


def test_a_data_worker_that_is_killed_is_one_error_and_the_run_goes_on_without(rows, monkeypatch, capsys):
    note = Divergence.note

    def killing(self, loss, batch):
        if self.trainer.state.global_step == 7:
            for worker in multiprocessing.active_children():
                os.kill(worker.pid, signal.SIGKILL)
                worker.join()
        note(self, loss, batch)

    flags = [*FLAGS, "--per_device_train_batch_size=2", "--num_train_epochs=1", EVERY_STEP]
    with monkeypatch.context() as patched:
        patched.setattr(Divergence, "note", killing)
        assert main([*flags, "--dataloader_num_workers=1"]) == 1
    error = error_of(capsys)
    assert "a data worker died" in error and "--dataloader_num_workers (now 1; 0: no workers)" in error
    assert "goes on from out/checkpoint-" in error
    assert main([*flags, "--dataloader_num_workers=0"]) == 0
    assert "continuing from out/checkpoint-" in capsys.readouterr().out


@pytest.mark.parametrize(
    "reason",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has ..."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
    ids=["device", "allocator", "python"],
)
def test_a_device_without_memory_is_one_error_with_its_remedies(rows, monkeypatch, capsys, reason):
    step = KitTrainer.training_step

    def too_much(self, *args, **kwargs):
        if self.state.global_step == 7:
            raise reason
        return step(self, *args, **kwargs)

    monkeypatch.setattr(KitTrainer, "training_step", too_much)
    assert main(FLAGS) == 1
    error = error_of(capsys)
    assert "cpu is out of memory" in error and "goes on from out/checkpoint-5" in error
    for flag in ("--per_device_train_batch_size (now 8)", "--gradient_accumulation_steps (now 1)", "--max_length"):
        assert flag in error
    assert "--auto_find_batch_size" in error


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_disk_of_any_size_ends_in_a_run_or_in_one_error(rows, capsys):
    """From too small for the first file to large enough, in steps smaller than a checkpoint."""
    Path("disk").mkdir()
    flags = [*FLAGS, "--output_dir=disk/out"]
    statuses = []
    for size in range(16, 1600, 40):
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", "disk"], capture_output=True)
        if mounted.returncode:
            pytest.skip("no tmpfs may be mounted here")
        try:
            statuses.append(main(flags))
            if statuses[-1] == 0:
                break
            error = error_of(capsys)
            assert "the disk is full" in error and "Make room" in error, (size, error)
            for path in checkpoints(Path("disk/out")):
                verify(path)
            subprocess.run(["mount", "-o", "remount,size=4m", "disk"], check=True)
            assert main(flags) == 0, size
            capsys.readouterr()
        finally:
            subprocess.run(["umount", "--lazy", "disk"], check=True)
    assert len(statuses) > 5 and statuses[-1] == 0


# hf-kit verify.


def test_verify_lists_every_checkpoint_and_fails_with_a_damaged_one(tmp_path, capsys):
    for step in (2, 10):
        make(tmp_path / "run", step, versions={"torch": "1"})
    assert main(["verify", "run"]) == 0
    printed = capsys.readouterr().out
    assert printed.index("checkpoint-10") < printed.index("checkpoint-2") and printed.count("whole") == 2
    (tmp_path / "run/checkpoint-2/model.safetensors").write_bytes(b"weights 3")
    assert main(["verify", "run"]) == 1
    assert "model.safetensors has other contents than when it was saved" in capsys.readouterr().out
    assert main(["verify", "run/checkpoint-10", "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert one == {
        "checkpoint": "run/checkpoint-10",
        "step": 10,
        "files": 1,
        "bytes": 10,
        "versions": {"torch": "1"},
        "damage": None,
    }
    (tmp_path / "run/checkpoint-10" / MANIFEST).unlink()
    assert main(["verify", "run/checkpoint-10"]) == 1
    assert "never finished" in capsys.readouterr().out
