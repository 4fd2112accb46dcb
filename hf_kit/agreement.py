"""Processes that train one model must be the same program on the same data: compared before the first step.

Another version of a package, another state of a clone or another copy of a file on one machine of many would train on
without a word, and give a model that nobody can account for.
"""

import platform
import socket
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object

from hf_kit import run_folder
from hf_kit.errors import UserError

PACKAGES = "torch transformers accelerate datasets tokenizers peft safetensors numpy".split()
MOST = 5  # differences told of a process


@cache
def code_digest() -> str:
    """sha256 over the kit's own Python files, 64 hex digits."""
    package = Path(__file__).parent
    files = sorted(package.rglob("*.py"))
    return run_folder.hash_text("".join(f"{p.relative_to(package)} {run_folder.hash_file(p)}\n" for p in files))


def program_facts() -> dict[str, str]:
    """What this process runs."""
    facts = {"python": platform.python_version(), "hf_kit's code": code_digest()}
    for name in PACKAGES:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            facts[name] = "none"
    return facts


def refuse_differing(parts: dict[str, Any], processes: int) -> None:
    """Called on all processes, with what each of them would train.

    Args:
        parts: the run's fingerprint parts (settings, and digests of the data), and whatever else must be the same.

    Raises:
        UserError: on all of them alike: which process differs from process 0, and in what.
    """
    if processes == 1:
        return
    everyone = gather_object([(socket.gethostname(), program_facts() | parts)])
    first_host, first = everyone[0]
    wrong = []
    for rank, (host, facts) in enumerate(everyone):
        changed = run_folder.differences(first, facts)
        if changed:
            more = f" and {len(changed) - MOST} more" if len(changed) > MOST else ""
            wrong.append(f"process {rank} ({host}) has {'; '.join(changed[:MOST])}{more}")
    if wrong:
        raise UserError(
            f"the {processes} processes would not train the same: beside process 0 ({first_host}), {'. '.join(wrong)}. "
            "Make code, packages, data and flags the same on all machines; nothing was changed"
        )
