"""How long a user waits for the first sign of life: `hf-kit --help`, `import hf_kit`, the quickstart's first step.

    python benchmarks/startup.py

Beside them what they stand on: Python alone, and Python with torch and the `Trainer` loaded. Writes `startup.md`,
`.json` and `.png` beside this file.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import side_by_side
from side_by_side import column, markdown_table, spread

IMPORTS = {"Python": "pass", "torch and Trainer": "import torch; from transformers import Trainer"}
KIT = {"hf_kit, import": "import hf_kit"}
HELP, FIRST, SECOND = "hf_kit, hf-kit --help", "hf_kit, quickstart, first time", "hf_kit, quickstart, second time"


def main() -> int:
    parser = side_by_side.parser(__doc__, repeats=7)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.measure:
        first_step(flags.folder, flags.result)
        return 0
    with tempfile.TemporaryDirectory(prefix="startup_") as folder:
        os.environ["HF_DATASETS_CACHE"] = f"{folder}/cache"
        compare(flags, Path(folder))
    return 0


def compare(flags: argparse.Namespace, folder: Path) -> None:
    quickstart = [*sys.argv, "--measure", "quickstart", "--folder", str(folder), "--result", str(folder / "result")]
    variants = {name: lambda code=code: timed(["-c", code]) for name, code in (IMPORTS | KIT).items()}
    variants[HELP] = lambda: timed(["-m", "hf_kit.cli", "--help"])

    def first_time() -> dict:
        shutil.rmtree(folder / "cache", ignore_errors=True)
        return timed(quickstart)

    variants |= {FIRST: first_time, SECOND: lambda: timed(quickstart)}
    runs = side_by_side.in_turn(variants, flags.repeats)
    rows = [[name, f"{spread(column(own, 'process_seconds')):.2f}"] for name, own in runs.items()]
    table = markdown_table(["from launch to the end of", "s"], rows)
    about = [
        f"Median (least..most) of {flags.repeats} rounds, in turn. The quickstart ends with its first training step; "
        "the first time nothing is cached, the second time its texts are tokenized already. Files were read before: "
        "the first start after a reboot takes longer."
    ]
    side_by_side.write_results("startup", about, [table], {"runs": runs})
    side_by_side.draw("startup", {"seconds": {name: column(own, "process_seconds") for name, own in runs.items()}})


def timed(words: list[str]) -> dict:
    """Run Python with these words; not `side_by_side.watched`, which looks too seldom for tenths of a second."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(done.stdout)
    return {"process_seconds": seconds}


def first_step(folder: Path, result: Path) -> None:
    """The quickstart up to the end of its first step."""
    import measured_training  # loads torch
    from transformers import TrainerCallback

    class End(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            side_by_side.finish({}, result)

    with tempfile.TemporaryDirectory(dir=folder) as run_folder:
        flags = ["text_classification/quickstart.yaml", "--output_dir", f"{run_folder}/run"]
        measured_training.train_kit(flags, lambda trainer: trainer.add_callback(End()))


if __name__ == "__main__":
    sys.exit(main())
