"""`hf-kit doctor`: machine, packages, Hub and the command; what is faked is faked below it, not inside it."""

import importlib.metadata
import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from faked_machine import CPU_SPEED, TORCH, WANTED, files, statuses
from huggingface_hub import constants
from packaging.requirements import Requirement

import hf_kit
from hf_kit import doctor
from hf_kit.cli import main
from hf_kit.doctor import cgroup, hub, machine, packages, probe
from hf_kit.doctor.finding import Finding, guarded
from hf_kit.doctor.output import as_json, remedies

REPOSITORY = Path(hf_kit.__file__).parent.parent
SECRET = "hf_ThisIsNobodysTokenAtAll"


# ---- machine


@pytest.mark.parametrize(
    ("groups", "limit"),
    [
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        # The group above allows less.
        (
            {
                "proc/self/cgroup": "0::/job/step\n",
                "sys/fs/cgroup/job/step/cpu.max": "800000 100000\n",
                "sys/fs/cgroup/job/cpu.max": "400000 100000\n",
            },
            4,
        ),
        # Version 1 in a container: the path is the host's, the limit lies at the top of the mount.
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/1234\n1:memory:/docker/1234\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
        ({}, None),
    ],
)
def test_a_cgroups_limit_on_cores_is_found(tmp_path, groups, limit):
    assert cgroup.cpu_limit(files(tmp_path, **groups)) == limit


def test_a_cgroups_limit_shows_among_the_cores(tmp_path, monkeypatch):
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: 64 if logical else 32)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(64), raising=False)
    root = files(tmp_path, **{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"})
    (row,) = machine.cores(root)
    assert "64 logical" in row.found and "32 physical" in row.found and "limits this process to 1.5" in row.found
    assert row.values["usable"] == 2


@pytest.mark.parametrize(("limit_gib", "status"), [(None, "ok"), (8, "ok"), (3, "warning"), (1, "error")])
def test_memory_is_what_the_cgroup_leaves(tmp_path, monkeypatch, limit_gib, status):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=64 * 2**30, available=50 * 2**30))
    group = "sys/fs/cgroup/memory"
    if limit_gib:
        group_files = {
            f"{group}.max": f"{limit_gib * 2**30}\n",
            f"{group}.current": f"{2**29}\n",
            f"{group}.stat": f"anon 5\ninactive_file {2**28}\n",
        }
        files(tmp_path, **{"proc/self/cgroup": "0::/\n"}, **group_files)
    (row,) = machine.memory(tmp_path)
    assert row.status == status
    if limit_gib:
        # What the file cache holds can be had.
        assert row.values["cgroup_left_bytes"] == limit_gib * 2**30 - 2**29 + 2**28
    if status == "error":
        assert row.commands


def test_version_1_without_a_limit_says_so_with_a_huge_number(tmp_path):
    group = "sys/fs/cgroup/memory/memory"
    texts = {f"{group}.limit_in_bytes": "9223372036854771712\n", f"{group}.usage_in_bytes": "5\n"}
    assert cgroup.memory_left(files(tmp_path, **{"proc/self/cgroup": "1:memory:/\n"}, **texts)) is None


def test_a_python_too_old_is_an_error():
    assert statuses(machine.python(">=3.11")) == {"python": "ok"}
    (row,) = machine.python(">=99")
    assert row.status == "error" and ">=99" in row.advice and "venv" in row.commands[0]


@pytest.mark.parametrize(("free", "status"), [(2**40, "ok"), (2**30, "warning"), (2**20, "error")])
def test_a_full_disk_is_found(monkeypatch, free, status):
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    (row,) = machine.disk_here()
    assert row.status == status
    assert bool(row.commands) == (status != "ok")


def test_a_folder_that_cannot_be_written_is_found(monkeypatch):
    def refuse(dir):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(machine.tempfile, "TemporaryFile", refuse)
    assert "Read-only" in machine.disk_here()[0].advice
    # Models may be local, prepared data always goes to its cache.
    assert statuses(machine.disk_of_caches()) == {"disk (Hub cache)": "warning", "disk (data cache)": "error"}


def test_the_disk_of_a_cache_that_is_not_there_yet_is_its_parents(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "new" / "hub"))
    row = machine.disk_of_caches()[0]
    assert row.status == "ok" and row.values["folder"] == str(tmp_path / "new" / "hub")
    assert not (tmp_path / "new").exists()


# ---- packages


def install(folder: Path, name: str, version: str, *lines: str) -> None:
    """A distribution that has metadata and nothing else."""
    text = "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines, ""])
    files(folder, **{f"{name}-{version}.dist-info/METADATA": text})


@pytest.mark.parametrize(
    ("version", "status", "words"),
    [
        ("2.10.1", "ok", ""),
        ("2.13.0+cu130", "ok", ""),
        ("2.9.1", "error", "security"),
        ("2.14.0", "warning", "newer"),
        ("2.15.0.dev1", "warning", "newer"),
        (None, "error", "needs"),
    ],
)
def test_a_version_is_held_against_the_tested_range(tmp_path, monkeypatch, version, status, words):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    if version:
        install(tmp_path, "torch", version)
    (row,) = packages.packages([Requirement(WANTED)], {})
    assert row.status == status and words in row.advice
    if status != "ok":
        (command,) = row.commands
        assert command.endswith("'torch<2.14,>=2.10'")


def test_only_a_security_floor_is_called_one(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    install(tmp_path, "scipy", "1.0")
    (row,) = packages.packages([Requirement("scipy>=1.13,<2")], {})
    assert row.status == "error" and "security" not in row.advice


def test_a_package_that_does_not_load_is_an_error_with_the_reason():
    facts = {"import scipy": {"error": "ImportError: libopenblas.so.0"}, "import psutil": {"seconds": 0.1}}
    fine, broken = packages.packages([Requirement("psutil"), Requirement("scipy")], facts)
    assert fine.status == "ok" and list(fine.values) == ["psutil"]
    assert broken.status == "error" and "libopenblas" in broken.advice and "--force-reinstall" in broken.commands[0]


def test_requirements_are_the_kits_own_without_extras(tmp_path, monkeypatch):
    lines = ["Requires-Python: >=3.11", "Requires-Dist: torch>=7", "Requires-Dist: ruff; extra == 'test'"]
    install(tmp_path, "hf_kit", "0.1.0", *lines)
    monkeypatch.syspath_prepend(tmp_path)
    declared = packages.declared()
    assert [str(r) for r in declared.requirements] == ["torch>=7"]
    assert (declared.source, declared.requires_python) == ("metadata", ">=3.11")
    assert packages.kit(declared)[0].status == "ok"


def test_without_metadata_the_kits_pyproject_is_read_and_without_both_it_is_said(tmp_path, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "metadata", missing)
    declared = packages.declared()
    assert {"torch", "transformers", "datasets"} <= {r.name for r in declared.requirements}
    (row,) = packages.kit(declared)
    assert row.status == "warning" and "pyproject.toml" in row.advice and "install -e" in row.commands[0]
    monkeypatch.setattr(packages, "REPOSITORY", tmp_path)
    (row,) = packages.kit(packages.declared())
    assert row.status == "warning" and "no requirements" in row.advice


def test_names_to_import_differ_from_names_to_install():
    names = packages.import_names([Requirement(n) for n in ("torch", "scikit-learn", "pyyaml", "no-such-thing")])
    assert names == {"torch": "torch", "scikit-learn": "sklearn", "pyyaml": "yaml"}


# ---- the Hub


class Hub(BaseHTTPRequestHandler):
    answer, wait, asked = b"[]", 0.0, []

    def do_GET(self):
        self.asked.append((self.path, dict(self.headers)))
        time.sleep(self.wait)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """A Hub on this machine; settings as a process started with HF_ENDPOINT has them."""
    monkeypatch.setattr(Hub, "asked", [])
    listening = HTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{listening.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", os.devnull)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield listening
    listening.shutdown()
    listening.server_close()


def test_a_hub_that_answers_is_named(server):
    (row,) = hub.reachability()
    assert row.status == "ok" and constants.ENDPOINT in row.found and row.values["reachable"] is True


def test_offline_the_hub_is_not_asked(server, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (row,) = hub.reachability()
    assert row.status == "ok" and "HF_HUB_OFFLINE" in row.found and not Hub.asked


def test_a_login_page_is_not_a_hub(server, monkeypatch):
    monkeypatch.setattr(Hub, "answer", b"<html>please log in</html>")
    assert hub.reachability()[0].status == "warning"
    monkeypatch.setattr(Hub, "answer", b'{"please": "log in"}')
    (row,) = hub.reachability()
    assert row.status == "warning" and "not as a Hub" in row.advice


def test_a_hub_that_does_not_answer_is_not_waited_for(server, monkeypatch):
    monkeypatch.setattr(hub, "TIMEOUT", 0.2)
    monkeypatch.setattr(Hub, "wait", 1.5)
    start = time.perf_counter()
    (row,) = hub.reachability()
    assert time.perf_counter() - start < 1.2
    assert row.status == "warning" and any("HF_HUB_OFFLINE=1" in c for c in row.commands)
    assert not row.values["reachable"]


def test_a_hub_that_never_comes_back_is_left(monkeypatch):
    monkeypatch.setattr(hub, "TIMEOUT", 0.1)
    wait = doctor._in_background(lambda: time.sleep(3) or [])
    assert statuses(wait()) == {"hub": "warning"}


def test_the_password_of_an_endpoint_is_not_shown(server, monkeypatch):
    monkeypatch.setattr(hub, "TIMEOUT", 0.5)
    host = f"127.0.0.1:{server.server_port}"
    monkeypatch.setattr(Hub, "answer", b"no")
    for port in (host, "127.0.0.1:1"):
        monkeypatch.setattr(constants, "ENDPOINT", f"http://me:{SECRET}@{port}")
        (row,) = hub.reachability()
        assert row.status == "warning" and SECRET not in json.dumps(as_json([row])) and port in row.found


def test_a_token_is_said_to_be_set_and_never_read_out_or_sent(server, monkeypatch, tmp_path):
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    assert hub.token()[0].values == {"set": False}
    (tmp_path / "token").write_text(SECRET)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    assert "hf auth login" in hub.token()[0].found and hub.token()[0].values == {"set": True}
    monkeypatch.setenv("HF_TOKEN", SECRET)
    (row,) = hub.token()
    assert "HF_TOKEN" in row.found and SECRET[3:9] not in json.dumps(as_json([row]))
    hub.reachability()
    assert Hub.asked and SECRET not in str(Hub.asked)


# ---- the whole


def test_a_stage_that_kills_its_process_is_the_culprit():
    lines = '{"stage": "torch"}\n{"stage": "torch", "facts": {"version": "2"}}\n{"stage": "import peft"}\n{"sta'
    facts = probe.read(lines, "was killed by SIGILL")
    assert facts == {"torch": {"version": "2"}, "import peft": {"error": "it was killed by SIGILL"}}
    assert "status 1" in probe.read("", "ended with status 1: no message")["torch"]["error"]


def test_a_check_that_raises_is_an_error_row():
    def broken():
        raise ZeroDivisionError("division by zero")

    (row,) = guarded("memory", broken)
    assert (row.status, row.advice) == ("error", "ZeroDivisionError: division by zero")

    def lacking():
        raise ModuleNotFoundError("No module named 'psutil'", name="psutil")

    assert guarded("memory", lacking)[0].commands[0].endswith("install psutil")


@pytest.fixture
def faked_probe(monkeypatch):
    facts = {"torch": TORCH, "speed cpu": CPU_SPEED | {"threads": machine.usable_cores()}}
    monkeypatch.setattr(probe, "run", lambda imports: facts)
    monkeypatch.setenv("OMP_NUM_THREADS", str(machine.usable_cores()))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=2**40, available=2**39))
    return facts


def test_json_is_all_that_stands_on_standard_output_and_no_token_in_it(faked_probe, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    assert main(["doctor", "--json"]) == 0
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    assert answer["can_train"] is True and {"python", "packages", "hub"} <= {c["check"] for c in answer["checks"]}
    assert main(["doctor"]) == 0
    shown = capsys.readouterr()
    assert "Training can run here." in shown.out
    assert not any(SECRET[3:12] in text for text in (*printed, *shown))


def test_the_exit_status_says_that_training_could_not_run(faked_probe, monkeypatch, capsys):
    def broken(root=None):
        raise OSError("/proc is not there")

    monkeypatch.setattr(machine, "memory", broken)
    assert main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "error: memory: OSError: /proc is not there" in shown and "cannot run here yet: 1 error" in shown


def test_errors_come_first_and_commands_stand_on_lines_of_their_own():
    lines = remedies([Finding("a", "warning", "", "slow", ("mend a",)), Finding("b", "error", "", "gone", ("mend b",))])
    assert lines[:2] == ["error: b: gone", "    mend b"] and "    mend a" in lines


@pytest.mark.parametrize(("flag", "words"), [("--jsn", "--jsn"), ("extra", "extra")])
def test_an_unknown_flag_is_one_clear_error(capsys, flag, words):
    assert main(["doctor", flag]) == 1
    said = capsys.readouterr().err
    assert words in said and "hf-kit doctor --help" in said and said.count("error") == 1


def run_doctor(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "hf_kit.cli", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, timeout=300)


def test_broken_packages_are_reported_without_a_traceback(tmp_path):
    texts = {f"{name}/__init__.py": f"raise ImportError('a broken {name}')" for name in ("torch", "rich", "psutil")}
    files(tmp_path, **texts, **{"datasets/__init__.py": "import os; os.abort()"})
    done = run_doctor(PYTHONPATH=f"{REPOSITORY}{os.pathsep}{tmp_path}", HF_TOKEN=SECRET)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "a broken torch" in done.stdout and "a broken psutil" in done.stdout and "SIGABRT" in done.stdout
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.slow
def test_this_machine_is_examined():
    done = run_doctor("--json", PYTHONPATH=str(REPOSITORY))
    answer = json.loads(done.stdout)
    assert done.returncode == 0 and answer["can_train"], done.stdout
    measured = next(c for c in answer["checks"] if c["check"] == "speed cpu")["values"]
    assert measured["fp32"] > 1e8 and measured["copy"] > 1e7
