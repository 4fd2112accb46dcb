"""Hold a folder that is to be published against the trained model, in a fresh process (`program.py`)."""

import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from huggingface_hub import constants

from hf_kit.card.personal import looks_personal
from hf_kit.proof import program
from hf_kit.redaction import TOKEN_VARIABLES
from hf_kit.run_folder import hash_file
from hf_kit.tasks.task import Task
from hf_kit.usage import CONFIG_FOLDER, Base

# How far outputs may lie from the trained model's: sums are taken in another order on another device or another number
# of threads. Relative to the largest output.
TOLERANCE = {"cpu": 1e-4, "cuda": 1e-3, "mps": 1e-3}
SECONDS = 600


def prove(staged: Path, reference: list[dict[str, Any]], task: Task, merged: Path | None) -> dict[str, Any]:
    """Whether `staged` is the model that gave `reference`: what `proof.json` holds.

    Args:
        staged: the model's files as they will be published, nothing else.
        reference: what `read_reference` gives.
        merged: a LoRA run's merged model, where `staged` is the adapter; its base must be in the Hub's cache.

    Returns:
        `passed`, `checks` (each with `name`, `passed`, `detail`), `usage` and `usage_output`, `files` (the sha256 of
        each), `python`, `seconds`, `date`.
    """
    base = _base(staged)
    config = json.loads((staged / (f"{CONFIG_FOLDER}/config.json" if base else "config.json")).read_text("utf-8"))
    own_code = bool(config.get("auto_map"))
    example = _example(reference)
    usage = task.usage(example["inputs"], own_code=own_code, base=base)
    largest = max(1.0, max(abs(value) for row in reference for value in _flat(row["output"])))
    names = task.label_names()
    request = {
        "folder": staged.resolve().as_posix(),
        "kind": task.proof_kind,
        "auto_class": task.auto_class.__name__,
        "remote_code": own_code,
        "config": CONFIG_FOLDER if base else None,
        "base": base,
        "merged": merged.resolve().as_posix() if base and merged else None,
        "rows": [row["inputs"] for row in reference],
        "example": next((i for i, row in enumerate(reference) if row is example), 0),
        "ids": [row["ids"] for row in reference],
        "outputs": [row["output"] for row in reference],
        "written": [row["written"] for row in reference],
        "start": config.get("decoder_start_token_id"),
        "tolerance": largest * TOLERANCE[reference[0]["device"]],
        "names": None if names is None else {str(i): name for i, name in enumerate(names)},
        "usage": usage,
        "answer": None if example["output"] is None else task.usage_answer(example["output"], example["written"]),
    }
    files = {str(p.relative_to(staged)): hash_file(p) for p in sorted(staged.rglob("*")) if p.is_file()}
    answer = _in_a_fresh_process(request)
    answer.pop("traceback", None)
    return answer | {
        "usage": usage,
        "files": files,
        "python": sys.version.split()[0],
        "date": datetime.now(UTC).date().isoformat(),
    }


def is_proof_of(proof: dict[str, Any] | None, staged: Path) -> bool:
    """Whether `proof` passed, and for the very files of `staged`."""
    if not proof or not proof.get("passed"):
        return False
    there = {str(p.relative_to(staged)) for p in staged.rglob("*") if p.is_file()}
    files = proof.get("files", {})
    return set(files) == there and all(hash_file(staged / name) == digest for name, digest in files.items())


def failure(proof: dict[str, Any]) -> str:
    """What did not hold, for a sentence."""
    return "; ".join(f"{check['name']}: {check['detail']}" for check in proof["checks"] if not check["passed"])


def _in_a_fresh_process(request: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="hf_kit_proof_") as name:
        scratch = Path(name)
        (scratch / "request.json").write_text(json.dumps(request, ensure_ascii=False), encoding="utf-8")
        # No launcher's rank, no token, no path to this kit, no device but the CPU; code of the folder is not cached.
        left_out = {*TOKEN_VARIABLES, "RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"}
        environment = {k: v for k, v in os.environ.items() if k not in left_out and not k.startswith("PYTHON")}
        environment |= {
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_CACHE": constants.HF_HUB_CACHE,
            "HF_MODULES_CACHE": str(scratch / "modules"),
            "CUDA_VISIBLE_DEVICES": "",
            "TOKENIZERS_PARALLELISM": "false",
        }
        command = [sys.executable, "-IB", program.__file__, str(scratch / "request.json"), str(scratch / "answer.json")]
        try:
            done = subprocess.run(
                command,
                env=environment,
                cwd=scratch,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
            said = " ".join(done.stderr.split())[-300:]
            answer = scratch / "answer.json"
            if answer.is_file():
                # The card tells of it, and of no folder of this machine.
                return json.loads(answer.read_text(encoding="utf-8").replace(request["folder"], "REPO"))
            detail = f"the process ended with status {done.returncode}: {said}"
        except (OSError, subprocess.TimeoutExpired) as reason:
            detail = " ".join(str(reason).split())[:300]
        check = {"name": "runs", "passed": False, "detail": detail}
        return {"passed": False, "checks": [check], "usage_output": None, "seconds": None}


def _base(staged: Path) -> Base | None:
    """Of an adapter."""
    if not (staged / "adapter_config.json").is_file():
        return None
    config = json.loads((staged / "adapter_config.json").read_text("utf-8"))
    return Base(config["base_model_name_or_path"], config.get("revision"))


def _example(reference: list[dict[str, Any]]) -> dict[str, Any]:
    """The shortest row that may be seen by all, for the lines of the card; else one without an answer to expect."""
    rows = sorted(reference, key=lambda row: len(str(row["inputs"])))
    for row in rows:
        if "image" in row["inputs"] or not any(looks_personal(str(value)) for value in row["inputs"].values()):
            return row
    return {"inputs": dict.fromkeys(rows[0]["inputs"], "a text of yours"), "output": None, "written": None}


def _flat(value: Any) -> list[float]:
    return [x for part in value for x in _flat(part)] if isinstance(value, list) else [value]
