"""`hf-kit doctor` on cards, drivers, torch builds and measured speeds, none of them this machine's."""

import json
import os
import subprocess

import pytest
from faked_machine import CARD, CPU_SPEED, CUDA_TORCH, GPU_SPEED, SMI, TORCH, WANTED, bus, files, smi, statuses

from hf_kit.doctor import cards, gpu, installation, speed, timing
from hf_kit.doctor.finding import Finding

# ---- GPUs


def test_nvidia_smi_is_read():
    parsed = cards.parse_smi(SMI, 0, "NVIDIA A10, 560.35.03, 23028, 8.6\nNVIDIA A10, 560.35.03, [N/A], 8.6\n")
    assert (parsed.driver, parsed.cuda, parsed.error) == ("560.35.03", "12.6", None)
    assert [g["memory_bytes"] for g in parsed.gpus] == [23028 * 2**20, None]
    assert parsed.gpus[0]["compute_capability"] == "8.6"


def test_an_nvidia_smi_of_an_old_driver_is_asked_for_less(tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text(
        f'#!/bin/sh\ncase "$1" in\n*compute_cap*) echo \'Field "compute_cap" is not a valid field\'; exit 2;;\n'
        f"--query*) echo 'Tesla P4, 470.1, 7611';;\n*) cat <<'END'\n{SMI}END\nesac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert cards.ask_nvidia_smi().gpus == [
        {"name": "Tesla P4", "memory_bytes": 7611 * 2**20, "compute_capability": None}
    ]


def test_an_nvidia_smi_that_hangs_is_left(monkeypatch):
    def hang(command, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(cards.shutil, "which", lambda *_, **__: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(cards.subprocess, "run", hang)
    assert "did not answer" in cards.ask_nvidia_smi().error


def test_a_machine_without_a_card_is_fine(tmp_path):
    bus(tmp_path, "0x8086")
    bus(tmp_path, cards.NVIDIA, kind="0x040300")  # the sound of a card is no card
    (row,) = gpu.gpus(TORCH, None, WANTED, tmp_path)
    assert row.status == "ok" and "CPU trains" in row.found


@pytest.mark.parametrize(
    ("release", "command"),
    [
        ("ID=ubuntu\nID_LIKE=debian\n", "ubuntu-drivers install"),
        ('ID=linuxmint\nID_LIKE="ubuntu debian"\n', "ubuntu-drivers install"),
        ("ID=debian\n", "nvidia-driver"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "cuda-drivers"),
        ("ID=plan9\n", installation.DRIVER_PAGE),
        ("", installation.DRIVER_PAGE),
    ],
)
def test_a_card_without_a_driver_gets_the_systems_own_commands(tmp_path, monkeypatch, release, command):
    monkeypatch.setattr(installation.platform, "system", lambda: "Linux")
    bus(files(tmp_path, **{"etc/os-release": release}), cards.NVIDIA, kind="0x030200")
    (row,) = gpu.gpus(TORCH, None, WANTED, tmp_path)
    assert (row.check, row.status) == ("NVIDIA driver", "warning")
    assert command in " ".join(row.commands) and row.commands[-1] == "nvidia-smi"


@pytest.mark.parametrize(
    "version",
    [
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.54.03  Tue Jun  6 22:20:39 UTC 2023\n",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  535.54.03  Release Build  (dvs-builder)\n",
    ],
)
def test_a_container_without_its_hosts_gpu_is_told_of_the_container_toolkit(tmp_path, version):
    root = bus(files(tmp_path, **{".dockerenv": "", "proc/driver/nvidia/version": version}), cards.NVIDIA)
    (row,) = gpu.gpus(TORCH, None, WANTED, root)
    assert row.status == "warning" and "535.54.03" in row.advice
    assert "nvidia-container-toolkit" in " ".join(row.commands) and "--gpus all" in row.commands[-1]


def test_windows_own_driver_serves_wsl(tmp_path):
    root = files(bus(tmp_path, cards.NVIDIA), **{"proc/sys/kernel/osrelease": "5.15.0-microsoft-standard-WSL2\n"})
    (row,) = gpu.gpus(TORCH, None, WANTED, root)
    assert "in Windows" in row.commands[0]


@pytest.mark.parametrize(
    ("said", "command"),
    [
        ("Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 560.35\n", "sudo reboot"),
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n", "sudo modprobe nvidia"),
    ],
)
def test_a_driver_that_does_not_answer_is_named_with_its_own_words(tmp_path, said, command):
    (row,) = gpu.gpus(TORCH, cards.parse_smi(said, 9, ""), WANTED, bus(tmp_path, cards.NVIDIA))
    assert row.status == "warning" and said.splitlines()[0] in row.advice and command in row.commands[0]


@pytest.mark.parametrize(("cuda", "build"), [("13.1", "cu130"), ("12.4", "cu126"), ("11.8", None)])
def test_a_torch_for_cpus_beside_a_card_gets_the_build_that_fits_the_driver(tmp_path, cuda, build):
    driver, row = gpu.gpus(TORCH, smi(cuda), WANTED, tmp_path)
    assert (driver.status, row.check, row.status) == ("ok", "CUDA", "warning")
    assert "built without CUDA" in row.advice
    if build:
        assert row.commands[0].endswith(
            f"--force-reinstall 'torch<2.14,>=2.10' --index-url https://download.pytorch.org/whl/{build}"
        )
    else:
        assert "newer driver" in row.advice and "pip" not in " ".join(row.commands)


def test_a_driver_too_old_for_torch_is_renewed_or_torch_is(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    warning = "The NVIDIA driver on your system is too old (found version 12040)."
    torch = CUDA_TORCH | {"cuda_available": False, "cuda_warning": warning, "gpus": []}
    _, row = gpu.gpus(torch, smi("12.4"), WANTED, tmp_path)
    assert row.found == "driver too old" and "12.4" in row.advice and "13.0" in row.advice
    assert "cu126" in row.commands[0] and installation.DRIVER_PAGE in row.commands[1]
    # A minor version is no reason.
    _, row = gpu.gpus(torch | {"cuda": "12.8"}, smi("12.4"), WANTED, tmp_path)
    assert "fit" in row.advice and warning in row.advice


def test_cards_that_torch_does_not_see_are_described_by_nvidia_smi(tmp_path):
    row = gpu.gpus(TORCH, cards.parse_smi(SMI, 0, "NVIDIA A10, 560.35.03, 23028, 8.6\n"), WANTED, tmp_path)[0]
    assert "560.35.03" in row.found and "NVIDIA A10, 22.5 GiB, compute capability 8.6" in row.found


def test_a_kernel_module_without_its_programs_is_no_driver(tmp_path):
    version = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.54.03  Tue Jun  6 22:20:39 UTC 2023\n"
    (row,) = gpu.gpus(TORCH, None, WANTED, files(tmp_path, **{"proc/driver/nvidia/version": version}))
    assert row.status == "warning" and "only the kernel's part" in row.advice and row.commands[-1] == "nvidia-smi"


def test_hidden_cards_and_a_missing_libcuda_are_told_apart(tmp_path, monkeypatch):
    torch = CUDA_TORCH | {"cuda_available": False, "gpus": []}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    _, row = gpu.gpus(torch, smi(), WANTED, tmp_path)
    assert row.commands == ("unset CUDA_VISIBLE_DEVICES",)
    _, row = gpu.gpus(torch, smi(None), WANTED, files(tmp_path, **{".dockerenv": ""}))
    assert row.found == "no libcuda" and "NVIDIA_DRIVER_CAPABILITIES" in row.commands[0]


def test_a_card_in_order_is_described(tmp_path):
    rows = gpu.gpus(CUDA_TORCH, smi(), WANTED, tmp_path)
    assert statuses(rows) == dict.fromkeys(["NVIDIA driver", "CUDA", "cuDNN", "NCCL", "GPU 0"], "ok")
    assert "NVIDIA A10" in rows[-1].found and "8.6" in rows[-1].found and "22.0" in rows[-1].found
    # Some containers have the driver and no nvidia-smi.
    assert statuses(gpu.gpus(CUDA_TORCH, None, WANTED, bus(tmp_path, cards.NVIDIA)))["NVIDIA driver"] == "ok"


@pytest.mark.parametrize(
    ("change", "check", "status"),
    [
        ({"compute_capability": (6, 1)}, "GPU 0", "error"),  # no kernels in this torch
        ({"compute_capability": (12, 1)}, "GPU 0", "ok"),  # compiled when loaded
        ({"compute_capability": (8, 9)}, "GPU 0", "ok"),  # those of 8.6
        ({"free_bytes": 2**29}, "GPU 0", "warning"),
    ],
)
def test_a_card_that_torch_cannot_use_well_is_found(tmp_path, change, check, status):
    rows = gpu.gpus(CUDA_TORCH | {"gpus": [CARD | change]}, smi(), WANTED, tmp_path)
    assert statuses(rows)[check] == status


def test_several_cards_need_nccl_and_an_lstm_cudnn(tmp_path):
    torch = CUDA_TORCH | {"nccl": None, "cudnn": None}
    assert statuses(gpu.gpus(torch, smi(), WANTED, tmp_path))["NCCL"] == "ok"
    two = statuses(gpu.gpus(torch | {"gpus": [CARD, CARD]}, smi(), WANTED, tmp_path))
    assert (two["NCCL"], two["cuDNN"]) == ("warning", "warning")


def test_amd_and_apple(tmp_path, monkeypatch):
    root = bus(tmp_path, cards.AMD)
    assert gpu.gpus(TORCH, None, WANTED, root)[0].status == "ok"  # graphics without compute
    (row,) = gpu.gpus(TORCH, None, WANTED, files(root, **{"dev/kfd": ""}))
    assert row.status == "warning" and "whl/rocm" in row.commands[0]
    rocm = CUDA_TORCH | {"cuda": None, "hip": "7.1", "arch_list": ["gfx942"]}
    assert statuses(gpu.gpus(rocm, None, WANTED, root)) == {"GPU 0": "ok"}
    (row,) = gpu.gpus(TORCH | {"accelerator": "mps"}, None, WANTED, tmp_path)
    assert row.status == "ok" and "mps" in row.found
    monkeypatch.setattr(gpu.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(gpu.platform, "machine", lambda: "arm64")
    assert gpu.gpus(TORCH, None, WANTED, tmp_path)[0].status == "warning"


# ---- speed


def judged(cores: int = 2, **devices: dict) -> dict[str, Finding]:
    facts = {f"speed {name.replace('_', ':')}": measured for name, measured in devices.items()}
    return {f.check.removeprefix("speed "): f for f in speed.speeds({"torch": TORCH} | facts, cores)}


def test_plausible_speeds_are_fine():
    rows = judged(cpu=CPU_SPEED, cuda_0=GPU_SPEED)
    assert [f.status for f in rows.values()] == ["ok", "ok"]
    assert "100 GFLOP/s with 2 threads (52 GFLOP/s with one)" in rows["cpu"].found
    assert "bf16 70.0 TFLOP/s" in rows["cuda:0"].found and "480 GB/s" in rows["cuda:0"].found


@pytest.mark.parametrize(
    ("change", "cores", "omp", "command"),
    [
        ({"threads": 1}, 16, "1", "unset OMP_NUM_THREADS"),
        ({"threads": 32}, 2, None, "export OMP_NUM_THREADS=2"),
        ({"fp32_one_thread": 99e9}, 2, None, "top"),
        ({"bf16": 50e9}, 2, None, "--bf16 False"),
        ({}, 4, None, None),  # two physical cores of four logical ones
    ],
)
def test_a_cpu_that_is_slower_than_it_should_be(monkeypatch, change, cores, omp, command):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if omp:
        monkeypatch.setenv("OMP_NUM_THREADS", omp)
    row = judged(cores, cpu=CPU_SPEED | change)["cpu"]
    assert row.status == ("warning" if command else "ok")
    assert command is None or command in row.commands[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fp32": 50e9}, "slower than the CPU"),
        ({"copy": 5e9}, "copies slower"),
        ({"bf16": 18e12}, "hardly faster"),
        ({"bf16": 35e12}, "50% of the fastest"),
        ({"upload": 0.5e9}, "slowly"),
    ],
)
def test_a_gpu_that_is_throttled_or_misinstalled_shows(change, words):
    rows = judged(cpu=CPU_SPEED, cuda_0=GPU_SPEED, cuda_1=GPU_SPEED | change)
    assert rows["cuda:0"].status == "ok"
    assert rows["cuda:1"].status == "warning" and words in rows["cuda:1"].advice
    assert "nvidia-smi" in rows["cuda:1"].commands[-1]


@pytest.mark.parametrize("wrong", [0.5, float("nan")])
def test_wrong_products_and_devices_that_cannot_compute_are_errors(wrong):
    broken = {"error": "RuntimeError: CUDA error: no kernel image is available"}
    rows = judged(cpu=CPU_SPEED | {"relative_error": {"fp32": 1e-7, "bf16": wrong}}, cuda_0=broken)
    assert rows["cpu"].status == rows["cuda:0"].status == "error"
    json.dumps(rows["cpu"].values, allow_nan=False)
    assert "no kernel image" in rows["cuda:0"].advice and "--use_cpu True" in rows["cuda:0"].commands[0]


def test_this_cpu_is_measured(monkeypatch):
    monkeypatch.setattr(timing, "LONG_ENOUGH", 0.0)
    measured = timing.measure("cpu", "bf16")
    assert measured["relative_error"]["fp32"] < 1e-6 < measured["relative_error"]["bf16"] < speed.LARGEST_ERROR
    assert all(measured[name] > 1e6 for name in ("fp32", "bf16", "fp32_one_thread", "copy"))
    assert measured["threads"] == timing.torch.get_num_threads()


def test_the_rate_of_a_product_counts_two_operations_per_multiply_add(monkeypatch):
    monkeypatch.setattr(timing, "seconds", lambda run, device: 2.0)
    assert timing.matmul_rate("cpu", timing.torch.float32) == 1024**3
    assert timing.copy_rate("cpu") == 128e6  # bytes: 128 million read and as many written, in two seconds
