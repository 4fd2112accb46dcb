"""Starts the process that loads the libraries, and reads what it could still write."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import hf_kit

TIMEOUT = 120.0  # seconds; a cold disk needs some twenty to load everything, a hung driver never ends


def run(imports: dict[str, str]) -> dict[str, dict]:
    """The facts of each stage of `probe_process`; a stage that did not end has `{"error": why}`."""
    here = str(Path(hf_kit.__file__).parents[1])
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    # Safe path: a file of the user's called `random.py` or `torch.py` must not be imported in the real one's place.
    environment = os.environ | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
    with tempfile.TemporaryDirectory(prefix="hf_kit_doctor_", ignore_cleanup_errors=True) as folder:
        file = Path(folder) / "stages.jsonl"
        command = [sys.executable, "-m", "hf_kit.doctor.probe_process", str(file), json.dumps(imports)]
        try:
            done = subprocess.run(command, capture_output=True, env=environment, timeout=TIMEOUT, check=False)
            end = _ending(done.returncode, done.stderr.decode(errors="replace"))
        except subprocess.TimeoutExpired:
            end = f"did not end in {TIMEOUT:g} seconds"
        return read(file.read_text(encoding="utf-8") if file.exists() else "", end)


def read(lines: str, end: str) -> dict[str, dict]:
    """The stages of the process's file. `end`: how the process ended, for the stage that it ended in."""
    facts: dict[str, dict] = {}
    for line in lines.splitlines():
        try:
            said = json.loads(line)
        except json.JSONDecodeError:
            break  # cut off in the middle of a line
        facts[said["stage"]] = said.get("facts", {"error": f"it {end}"})
    return facts or {"torch": {"error": f"the process that loads it {end}"}}


def _ending(status: int, stderr: str) -> str:
    if status < 0:
        name = signal.Signals(-status).name
        return f"was killed by {name}" + (" (this CPU lacks an instruction)" if name == "SIGILL" else "")
    last = stderr.strip().splitlines()[-1:] or ["no message"]
    return f"ended with status {status}: {last[0][:200]}"
