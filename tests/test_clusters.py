"""The scripts for clusters: they parse, their flags exist, and two hosts of one machine run the one for torchrun."""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from test_launch import REPOSITORY, TINY
from tiny import reviews, write_csv

from hf_kit.checkpoints.names import checkpoints
from hf_kit.launch_settings import SETTING
from hf_kit.launching import FLAGS

FOLDER = REPOSITORY / "accelerate_configs/launch"
SCRIPTS = sorted(FOLDER.glob("*.sh"))


def flags_of(text: str) -> set[str]:
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return set(re.findall(r"--([a-z]\w+)", code))


def kit_flags() -> set[str]:
    from hf_kit.arguments import DataArguments, KitTrainingArguments, LoraArguments, ModelArguments

    parts = (DataArguments, ModelArguments, LoraArguments, KitTrainingArguments)
    return {SETTING, *FLAGS, *(name for part in parts for name in part.__dataclass_fields__)}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_a_script_parses_and_says_its_command(path):
    subprocess.run(["bash", "-n", str(path)], check=True)
    assert os.access(path, os.X_OK)
    assert f"accelerate_configs/launch/{path.name}" in path.read_text().partition("set -euo")[0]


def test_the_flags_of_the_slurm_script_are_the_kits():
    command = (FOLDER / "slurm.sh").read_text().partition("exec hf-kit train")[2].partition("'")[0]
    assert {SETTING, "num_machines", "machine_rank", "num_processes"} <= flags_of(command) <= kit_flags()


def test_the_flags_of_the_torchrun_script_are_torchs_and_the_kits():
    from torch.distributed.run import get_args_parser

    torchs, _, kits = (FOLDER / "torchrun.sh").read_text().partition("exec ")[2].partition('"$train"')
    assert flags_of(torchs) <= {action.dest for action in get_args_parser()._actions}
    assert "save_minutes" in flags_of(kits) <= kit_flags()


def test_the_kubernetes_manifest_is_one_job_whose_numbers_agree():
    service, job = yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())
    assert (service["kind"], service["spec"]["clusterIP"], job["kind"]) == ("Service", "None", "Job")
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    words = container["command"] + container["args"]
    assert words[:2] == ["hf-kit", "train"] and shutil.which(words[0])
    given = dict(word.removeprefix("--").split("=") for word in container["args"])
    assert set(given) <= kit_flags()
    machines = int(given["num_machines"])
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == machines
    assert int(given["num_processes"]) == machines * container["resources"]["limits"]["nvidia.com/gpu"]
    name = job["metadata"]["name"]
    assert (
        given["main_process_ip"] == f"{name}-0.{pod['subdomain']}" and pod["subdomain"] == service["metadata"]["name"]
    )
    assert service["spec"]["selector"] == {"job-name": name}
    assert service["spec"]["ports"][0]["port"] == int(given["main_process_port"])
    assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def hosts():
    """Two hosts, `(name, network device, address)` each, joined by a wire."""
    names = [f"hfkit{os.getpid()}{letter}" for letter in "ab"]
    found = [(name, f"w{name}", f"10.203.77.{i}") for i, name in enumerate(names, start=1)]
    try:
        for name in names:
            ip("netns", "add", name)
        ip(
            "link",
            "add",
            found[0][1],
            "netns",
            names[0],
            "type",
            "veth",
            "peer",
            "name",
            found[1][1],
            "netns",
            names[1],
        )
        for name, device, address in found:
            ip("-n", name, "addr", "add", f"{address}/24", "dev", device)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", device, "up")
    except (OSError, subprocess.CalledProcessError) as reason:
        pytest.skip(f"no network namespaces can be made here: {reason}")
    try:
        yield found
    finally:
        for name in names:
            pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout.split()
            subprocess.run(["kill", "-KILL", *pids], capture_output=True)
            ip("netns", "del", name)


def begin(hosts: list, which: int, *more: str) -> subprocess.Popen:
    """The torchrun script on one of the hosts, as its head says."""
    name, device, address = hosts[which]
    env = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1", "NODES": "2"}
    env |= {"MAIN_HOST": hosts[0][2], "LOCAL_ADDR": address, "PROCESSES_PER_NODE": "1", "GLOO_SOCKET_IFNAME": device}
    command = ["ip", "netns", "exec", name, str(FOLDER / "torchrun.sh"), "tiny.yaml", *more]
    with open(f"host{which}.log", "a") as log:
        return subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)


def wait_for(what: str, true, first: subprocess.Popen, seconds: int = 600) -> None:
    until = time.monotonic() + seconds
    while not true():
        said = "".join(path.read_text()[-3000:] for path in sorted(Path().glob("host?.log")))
        assert first.poll() is None and time.monotonic() < until, f"{what}: not within {seconds} s\n{said}"
        time.sleep(0.2)


@pytest.mark.slow
def test_a_host_that_was_cut_off_comes_back_and_the_run_ends(tmp_path, hosts):
    write_csv(tmp_path / "reviews.csv", reviews())
    lines = dict(word.removeprefix("--").split("=", 1) for word in TINY)
    lines |= {"config_overrides": json.loads(lines["config_overrides"]), "num_train_epochs": 30, "baselines": False}
    Path("tiny.yaml").write_text(yaml.safe_dump(lines))
    flags = ["--output_dir=out", "--save_minutes=0.01", "--ddp_timeout=30", "--max_steps=1000", "--eval_strategy=no"]
    flags += ["--load_best_model_at_end=False", "--save_strategy=no", "--disable_tqdm", "--logging_steps=100"]
    first, second = begin(hosts, 0, *flags), begin(hosts, 1, *flags)
    try:
        wait_for("a checkpoint", lambda: checkpoints(Path("out")), first)
        name, device, _ = hosts[1]
        ip("-n", name, "link", "set", device, "down")  # the other host hears nothing more, not even that it is gone
        pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout.split()
        subprocess.run(["kill", "-KILL", *pids], check=False)
        second.wait()
        lost = "another process"
        wait_for("the error", lambda: lost in Path("host0.log").read_text(), first, seconds=200)
        assert first.poll() is None  # it waits for the other
        ip("-n", name, "link", "set", device, "up")
        second = begin(hosts, 1, *flags)
        assert first.wait(timeout=600) == 0, Path("host0.log").read_text()[-3000:]
        assert second.wait(timeout=120) == 0
    finally:
        first.kill()
        second.kill()
    said = Path("host0.log").read_text()
    assert "continuing from out/checkpoint-" in said
    assert json.loads(Path("out/results.json").read_text())["training"]["steps"] == 1000
