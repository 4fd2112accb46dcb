"""The commands that install what a GPU needs: driver, container runtime, and the torch built for it."""

import importlib.util
import platform
import shlex
import sys
from pathlib import Path

from hf_kit.doctor.cards import in_container, in_wsl

DRIVER_PAGE = "https://www.nvidia.com/drivers"
WHEELS = "https://download.pytorch.org/whl"

# By the `ID` (or `ID_LIKE`) of /etc/os-release.
DRIVER_COMMANDS = {
    "ubuntu": (
        "sudo apt-get update && sudo apt-get install -y ubuntu-drivers-common",
        "sudo ubuntu-drivers install",
        "sudo reboot",
    ),
    "debian": (
        "sudo sed -i -E '/^(deb|Components:)/ s/ main.*/ main contrib non-free non-free-firmware/'"
        " $(ls /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources 2>/dev/null) && sudo apt-get update",
        "sudo apt-get install -y linux-headers-amd64 nvidia-driver firmware-misc-nonfree",
        "sudo reboot",
    ),
    "fedora": (
        "sudo dnf install -y https://download1.rpmfusion.org/nonfree/fedora/"
        "rpmfusion-nonfree-release-$(rpm -E %fedora).noarch.rpm",
        "sudo dnf install -y akmod-nvidia xorg-x11-drv-nvidia-cuda",
        "sudo reboot  # five minutes later: the module is being built",
    ),
    "rhel": (
        "sudo dnf config-manager --add-repo https://developer.download.nvidia.com/compute/cuda/repos/"
        "rhel$(rpm -E %rhel)/$(uname -m)/cuda-rhel$(rpm -E %rhel).repo",
        "sudo dnf install -y kernel-devel-$(uname -r) cuda-drivers",
        "sudo reboot",
    ),
    "arch": ("sudo pacman -Syu --needed nvidia-open", "sudo reboot"),
    "suse": (
        "sudo zypper install -y nvidia-open-driver-G06-signed-kmp-default nvidia-compute-utils-G06",
        "sudo reboot",
    ),
}


def pip_install(*arguments: str) -> str:
    """The command that installs into the environment that is running, and into no other."""
    what = " ".join(shlex.quote(a) for a in arguments)
    if importlib.util.find_spec("pip"):
        return f"{shlex.quote(sys.executable)} -m pip install {what}"
    return f"uv pip install --python {shlex.quote(sys.executable)} {what}"


def driver(root: Path = Path("/")) -> tuple[str, ...]:
    """How this system gets the newest NVIDIA driver; `nvidia-smi` at the end shows whether it did."""
    if in_container(root):
        return (f"# on the host: install the driver from {DRIVER_PAGE} and restart", *container_runtime())
    if in_wsl(root):
        return (f"# in Windows, not in WSL: install the driver from {DRIVER_PAGE}", "wsl --shutdown  # in Windows")
    if platform.system() == "Linux":
        for name in _distribution(root):
            if name in DRIVER_COMMANDS:
                return (*DRIVER_COMMANDS[name], "nvidia-smi")
    return (f"# install the driver from {DRIVER_PAGE} and restart, then", "nvidia-smi")


def container_runtime() -> tuple[str, ...]:
    """What the host of a container does, once, so that containers see its cards."""
    return (
        "sudo apt-get install -y nvidia-container-toolkit"
        "  # on the host; its package source: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit",
        "sudo nvidia-ctk runtime configure --runtime=docker && sudo systemctl restart docker  # on the host",
        "docker run --gpus all ...  # start this container anew",
    )


def torch_for_cuda(wanted: str, newest_cuda: str | None) -> str | None:
    """The torch build for a driver that takes CUDA up to `newest_cuda`; `None` for a driver too old for all of them.

    A driver runs every build of its own major version and of earlier ones (CUDA's minor version compatibility).
    `wanted` is the kit's requirement, such as "torch<2.14,>=2.10".
    """
    if newest_cuda is None or int(newest_cuda.split(".")[0]) < 12:
        return None
    build = "cu130" if int(newest_cuda.split(".")[0]) >= 13 else "cu126"
    return torch_build(wanted, build)


def torch_build(wanted: str, build: str) -> str:
    """Install the torch of one of the package indexes of pytorch.org: "cpu", "cu126", "cu130", "rocm7.1"."""
    return pip_install("--force-reinstall", wanted, "--index-url", f"{WHEELS}/{build}")


def _distribution(root: Path) -> list[str]:
    try:
        text = (root / "etc/os-release").read_text(encoding="utf-8")
    except OSError:
        return []
    release = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    names = [release.get("ID", ""), *release.get("ID_LIKE", "").strip("\"'").split()]
    return [name.strip("\"'") for name in names]
