"""GPUs: card, driver and torch build must fit each other, and each misfit has its own remedy.

A GPU that cannot be used is a warning, since a run then trains on the CPU; one that torch would choose and cannot
compute on is an error.
"""

import os
import platform
from pathlib import Path

from hf_kit.doctor import installation
from hf_kit.doctor.cards import AMD, NVIDIA, Smi, in_container, kernel_driver, on_the_bus
from hf_kit.doctor.finding import ERROR, OK, WARNING, Finding

GIB = 2**30


def torch_build(torch: dict, wanted: str) -> list[Finding]:
    """Version and build of torch; it is an error where torch does not load."""
    if "error" in torch:
        again = (installation.pip_install("--force-reinstall", "--no-cache-dir", wanted),)
        return [Finding("torch", ERROR, "does not load", torch["error"], again, torch)]
    build = f"for CUDA {torch['cuda']}" if torch["cuda"] else f"for ROCm {torch['hip']}" if torch["hip"] else "for CPUs"
    if not torch["cuda"] and not torch["hip"] and torch["accelerator"]:
        build += f" and {torch['accelerator']}"
    return [Finding("torch", OK, f"{torch['version']}, built {build}", values=torch)]


def gpus(torch: dict, smi: Smi | None, wanted: str, root: Path = Path("/")) -> list[Finding]:
    """Rows on driver, CUDA libraries and cards.

    Args:
        torch: the facts of `probe_process.torch_facts`, or `{"error": reason}`.
        smi: the answer of nvidia-smi, `None` where there is no such program.
        wanted: the kit's requirement on torch.
        root: where `/proc` and `/sys` are.
    """
    nvidia = on_the_bus(NVIDIA, root)
    if smi is None and not nvidia and kernel_driver(root) is None:
        return _without_nvidia(torch, wanted, root)
    can_use = torch.get("cuda_available", False)
    if smi and not smi.error:
        values = {"version": smi.driver, "cuda": smi.cuda, "gpus": smi.gpus}
        found = f"{smi.driver}, takes CUDA up to {smi.cuda or 'unknown'}"
        if not can_use:  # else torch describes them, below
            found += "".join(f"; {_described(card)}" for card in smi.gpus)
        row = Finding("NVIDIA driver", OK, found, values=values)
    elif can_use:
        loaded = kernel_driver(root)
        row = Finding("NVIDIA driver", OK, f"{loaded or 'there'}; nvidia-smi is not", values={"version": loaded})
    else:
        return [_driver_trouble(smi, nvidia, root)]
    if can_use:
        return [row, *_libraries(torch, wanted), *_cards(torch, wanted)]
    return [row] if "error" in torch else [row, _misfit(torch, smi, wanted, root)]


def precision(torch: dict) -> list[Finding]:
    """The number format a run would choose here."""
    if "error" in torch:
        return []
    chosen = "fp32" if torch["precision"] == "no" else torch["precision"]
    values = {"mixed_precision": torch["precision"], "cpu_bf16": torch["cpu_bf16"]}
    found = f"{chosen}: {torch['precision_reason']}"
    if torch["gpus"]:
        found += f"; the CPU has {'' if torch['cpu_bf16'] else 'no '}bf16"
    return [Finding("precision", OK, found, values=values)]


def _described(card: dict) -> str:
    memory = f", {card['memory_bytes'] / GIB:.1f} GiB" if card["memory_bytes"] else ""
    capability = f", compute capability {card['compute_capability']}" if card["compute_capability"] else ""
    return f"{card['name']}{memory}{capability}"


def _driver_trouble(smi: Smi | None, nvidia: int, root: Path) -> Finding:
    card = f"{nvidia or 'an'} NVIDIA card{'s' if nvidia > 1 else ''}"
    loaded = kernel_driver(root)
    values = {"cards_on_bus": nvidia, "kernel_module": loaded, "error": smi.error if smi else None}
    if smi is None and loaded and in_container(root):
        advice = f"the host has driver {loaded}, this container was started without its GPUs; until then the CPU trains"
        return Finding(
            "NVIDIA driver", WARNING, "not in this container", advice, installation.container_runtime(), values
        )
    if smi is None:
        lacking = f"only the kernel's part of driver {loaded}" if loaded else "no driver"
        advice = f"{card} and {lacking}; until it is installed, the CPU trains"
        return Finding("NVIDIA driver", WARNING, "none", advice, installation.driver(root), values)
    advice = f"nvidia-smi says: {smi.error}"
    if "mismatch" in smi.error:
        advice += "; the driver was updated while in use, and a restart loads the new one"
        return Finding("NVIDIA driver", WARNING, "half updated", advice, ("sudo reboot",), values)
    advice += "; if the module does not load (a new kernel, Secure Boot), install the driver anew"
    commands = ("sudo modprobe nvidia && nvidia-smi", *installation.driver(root))
    return Finding("NVIDIA driver", WARNING, "does not answer", advice, commands, values)


def _misfit(torch: dict, smi: Smi, wanted: str, root: Path) -> Finding:
    """Why torch cannot use a card whose driver is well."""
    values = {"torch_cuda": torch["cuda"], "driver_cuda": smi.cuda, "reason": torch["cuda_warning"]}
    newer_driver, fitting = installation.driver(root), installation.torch_for_cuda(wanted, smi.cuda)
    if smi.cuda is None:
        advice = "the driver is here without its CUDA library (libcuda), so the CPU trains"
        commands = ("docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility ...",)
        return Finding("CUDA", WARNING, "no libcuda", advice, commands if in_container(root) else newer_driver, values)
    if torch["cuda"] is None:
        advice = "this torch is built without CUDA, so the CPU trains; a build for this driver:"
        if not fitting:
            advice = (
                "this torch is built without CUDA, and the driver is too old for one with it; first a newer driver:"
            )
        return Finding("CUDA", WARNING, "not used", advice, (fitting,) if fitting else newer_driver, values)
    if _major(torch["cuda"]) > _major(smi.cuda):
        advice = f"the driver takes CUDA up to {smi.cuda}, torch is built for {torch['cuda']}, so the CPU trains; "
        if fitting:
            advice += "a build for this driver (the first line), or a newer driver (the others):"
            return Finding("CUDA", WARNING, "driver too old", advice, (fitting, *newer_driver), values)
        return Finding("CUDA", WARNING, "driver too old", advice + "a newer driver:", newer_driver, values)
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None:
        advice = f"CUDA_VISIBLE_DEVICES={hidden!r} hides the cards; if that is not meant:"
        return Finding("CUDA", WARNING, "cards hidden", advice, ("unset CUDA_VISIBLE_DEVICES",), values)
    advice = f"driver and torch fit, yet torch sees no card ({torch['cuda_warning'] or 'it gives no reason'})"
    return Finding("CUDA", WARNING, "not used", advice, ("sudo modprobe nvidia_uvm", "sudo reboot"), values)


def _major(version: str) -> int:
    return int(version.split(".")[0])


def _libraries(torch: dict, wanted: str) -> list[Finding]:
    """CUDA, cuDNN and NCCL as torch brings them."""
    rows = [Finding("CUDA", OK, f"{torch['cuda'] or torch['hip']}, as torch is built", values={"torch": torch["cuda"]})]
    values = {"version": torch["cudnn"]}
    if torch["cudnn"]:
        rows.append(Finding("cuDNN", OK, str(torch["cudnn"]), values=values))
    else:
        advice = "torch finds no cuDNN, so an LSTM trains slowly; it comes with torch:"
        commands = (installation.pip_install("--force-reinstall", wanted),)
        rows.append(Finding("cuDNN", WARNING, "none", advice, commands, values))
    values = {"version": torch["nccl"]}
    if torch["nccl"]:
        rows.append(Finding("NCCL", OK, torch["nccl"], values=values))
    elif len(torch["gpus"]) > 1:
        advice = "several GPUs cannot form one run without NCCL (there is none for Windows); one of them can train:"
        commands = ("export CUDA_VISIBLE_DEVICES=0",)
        rows.append(Finding("NCCL", WARNING, "none", advice, commands, values))
    else:
        rows.append(Finding("NCCL", OK, "none, and one GPU needs none", values=values))
    return rows


def _cards(torch: dict, wanted: str) -> list[Finding]:
    rows = []
    for i, card in enumerate(torch["gpus"]):
        major, minor = card["compute_capability"]
        bf16 = "bf16" if card["bf16"] else "no bf16"
        found = (
            f"{card['name']}, {card['free_bytes'] / GIB:.1f} GiB free of {card['total_bytes'] / GIB:.1f},"
            f" compute capability {major}.{minor}, {bf16}"
        )
        if not _has_kernels(torch["arch_list"], major, minor):
            built = " ".join(torch["arch_list"])
            advice = f"this torch has no kernels for it (only {built}); a build for older cards, or the CPU:"
            commands = (installation.torch_build(wanted, "cu126"), "hf-kit train RECIPE.yaml --use_cpu True")
            rows.append(Finding(f"GPU {i}", ERROR, found, advice, commands, card))
        elif card["free_bytes"] < 2 * GIB:
            advice = "little of its memory is free; see which programs hold it, or use another card"
            rows.append(Finding(f"GPU {i}", WARNING, found, advice, ("nvidia-smi",), card))
        else:
            rows.append(Finding(f"GPU {i}", OK, found, values=card))
    return rows


def _has_kernels(arch_list: list[str], major: int, minor: int) -> bool:
    """Binary code runs on its own major version from its minor on; `compute_` code is compiled for any later card."""
    for arch in arch_list:
        kind, _, number = arch.partition("_")
        number = number.rstrip("af")
        if not number.isdigit():
            return True  # a ROCm name, such as gfx942
        built = divmod(int(number), 10)
        if kind == "compute" and built <= (major, minor):
            return True
        if kind == "sm" and built[0] == major and built[1] <= minor:
            return True
    return not arch_list


def _without_nvidia(torch: dict, wanted: str, root: Path) -> list[Finding]:
    if "error" in torch:
        return []
    if torch["hip"] and torch["gpus"]:
        return _cards(torch, wanted)
    if torch["accelerator"]:
        return [
            Finding("GPU", OK, f"{torch['accelerator']}, used by torch", values={"accelerator": torch["accelerator"]})
        ]
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        advice = "torch cannot use the GPU of this Mac; it needs macOS 14 or newer"
        return [Finding("GPU", WARNING, "Apple", advice, ("softwareupdate --install --all --restart",))]
    amd = on_the_bus(AMD, root)
    if amd and (root / "dev/kfd").exists() and not torch["hip"]:
        advice = "an AMD GPU, and a torch that is not built for ROCm, so the CPU trains; if ROCm supports the card:"
        commands = (installation.torch_build(wanted, "rocm7.1"),)
        return [Finding("GPU", WARNING, "AMD, not used", advice, commands, {"amd_cards": amd})]
    return [Finding("GPU", OK, "none; that is fine, the CPU trains", values={"amd_cards": amd})]
