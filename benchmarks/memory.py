"""The memory that a run says it will need, beside what it takes.

    python benchmarks/memory.py

Each row is `hf-kit train` on the CPU, in a process of its own, for some steps on batches as long as the longest.
Estimated: what the run prints before its first step (`hf_kit/memory_estimate.py`). Measured: the most anonymous memory
that its process held while it trained. The process itself is measured in both, so the last column leaves it out. It
needs HF_KIT_DATA and MINILM. Writes `memory.md` and `.json` beside this file.
"""

import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import psutil
import side_by_side
from side_by_side import column, data_lines, evenly, markdown_table, needed

from hf_kit.huge_pages import ask_for_huge_pages

ROWS, LENGTH, IMAGES = 400, 128, 1500
TEXTS = ["--train_file", "DATA/texts.jsonl", "--max_length", str(LENGTH), "--per_device_train_batch_size", "32"]
VARIANTS = {
    "BiLSTM, 2 layers of 256": [
        *["text_classification/lstm.yaml", *TEXTS, "--config_overrides", '{"bidirectional": true, "num_layers": 2}']
    ],
    "MiniLM-L6": ["text_classification/finetune.yaml", *TEXTS, "--model_name_or_path", "$MINILM"],
    "MiniLM-L6, fp32": ["text_classification/finetune.yaml", *TEXTS, "--model_name_or_path", "$MINILM", "--bf16=False"],
    "MiniLM-L6, gradient checkpointing": [
        *["text_classification/finetune.yaml", *TEXTS, "--model_name_or_path", "$MINILM", "--gradient_checkpointing"]
    ],
    "MiniLM-L6, gradient checkpointing, fp32": [
        *["text_classification/finetune.yaml", *TEXTS, "--model_name_or_path", "$MINILM", "--gradient_checkpointing"],
        "--bf16=False",
    ],
    "MiniLM-L6, LoRA": ["text_classification/lora.yaml", *TEXTS, "--model_name_or_path", "$MINILM"],
    "MiniLM-L6, LoRA, fp32": [
        *["text_classification/lora.yaml", *TEXTS, "--model_name_or_path", "$MINILM", "--bf16=False"]
    ],
    "MiniLM-L6, LoRA, gradient checkpointing": [
        *["text_classification/lora.yaml", *TEXTS, "--model_name_or_path", "$MINILM", "--gradient_checkpointing"]
    ],
    "MiniLM-L6, LoRA, gradient checkpointing, fp32": [
        *["text_classification/lora.yaml", *TEXTS, "--model_name_or_path", "$MINILM", "--gradient_checkpointing"],
        "--bf16=False",
    ],
    "fresh Marian": ["translation/from_scratch.yaml", "--train_file", "DATA/pairs.jsonl"],
    "fresh ResNet, 40 pixels": ["image_classification/fashion_mnist.yaml", "--dataloader_num_workers", "0"],
}


def main() -> int:
    parser = side_by_side.parser(__doc__, repeats=1)
    parser.add_argument("--steps", type=int, default=8, help="training steps of each run (default 8)")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=[*VARIANTS], help="default: all")
    flags = parser.parse_args()
    needed("HF_KIT_DATA"), needed("MINILM")
    with tempfile.TemporaryDirectory(prefix="memory_") as folder:
        os.environ["HF_DATASETS_CACHE"] = f"{folder}/cache"
        compare(flags, Path(folder))
    return 0


def write_data(folder: Path) -> None:
    # Texts whose batches are all of one length.
    long = [line for line in data_lines("imdb", "train.jsonl") if len(line.split()) > LENGTH]
    (folder / "texts.jsonl").write_text("".join(evenly(long, ROWS)))
    (folder / "pairs.jsonl").write_text("".join(evenly(data_lines("tatoeba_en_zh", "train.jsonl"), 10 * ROWS)))


def compare(flags, folder: Path) -> None:
    write_data(folder)

    def one(name: str) -> dict:
        result, began = folder / "result.json", time.perf_counter()
        result.unlink(missing_ok=True)
        process = multiprocessing.get_context("fork").Process(target=measure, args=(name, flags.steps, folder, result))
        process.start()
        process.join()
        if not result.exists():
            sys.exit(f"{name}: failed with status {process.exitcode}")
        return json.loads(result.read_text()) | {"process_seconds": time.perf_counter() - began}

    runs = side_by_side.in_turn({name: partial(one, name) for name in flags.variants}, flags.repeats, tell="off_by")
    head = ["run", "a step is of", "process", "weights", "optimizer", "step", "estimate MB", "measured MB", "off by"]
    head += ["without the process"]
    lines = []
    for name, own in runs.items():
        middle = {key: statistics.median(column(own, key)) for key in own[0] if key != "shape"}
        parts = [f"{middle[key] / 1e6:,.0f}" for key in ("process", "weights", "optimizer", "step", "total", "peak")]
        off = [f"{middle[key]:+.1%}" for key in ("off_by", "off_by_without")]
        lines.append([name, own[0]["shape"], *parts, *off])
    about = [
        f"{flags.steps} steps each, {flags.repeats} run(s), medians. Process: interpreter, libraries and data, "
        "measured before the first step. Step: activations, copies and gradients. Measured: the most anonymous memory "
        "(no file behind it) of the process while it trained, looked at every 5 ms. Off by: estimate / measured - 1, "
        "and the same with the process taken off both."
    ]
    side_by_side.write_results("memory", about, [markdown_table(head, lines)], {"runs": runs})


class Peak(threading.Thread):
    """Watches this process's anonymous memory.

    Attributes:
        bytes: the most seen.
    """

    def __init__(self):
        super().__init__(daemon=True)
        self.bytes = 0

    def run(self) -> None:
        process = psutil.Process()
        while True:
            self.bytes = max(self.bytes, side_by_side.anonymous_bytes(process))
            time.sleep(0.005)


def measure(name: str, steps: int, folder: Path, result: Path) -> None:
    """Train as `name` says; its numbers go to `result`."""
    recipe, *words = VARIANTS[name]
    given = [str(side_by_side.HERE.parent / "recipes" / recipe)]
    for word in words:
        given.append(os.environ[word[1:]] if word.startswith("$") else word.replace("DATA/", f"{folder}/"))
    if recipe.startswith("image"):
        given += ["--dataset_name", f"{os.environ['HF_KIT_DATA']}/fashion_mnist", "--max_train_samples", str(IMAGES)]
    given += ["--max_steps", str(steps + 1), "--eval_strategy", "no", "--save_strategy", "no", "--baselines", "False"]
    given += ["--load_best_model_at_end", "False", "--average_checkpoints", "1", "--max_eval_samples", "50"]
    given += ["--output_dir", str(folder / "run" / str(os.getpid()))]
    ask_for_huge_pages(given)  # before torch loads, as `hf-kit train` does

    from transformers import TrainerCallback

    from hf_kit import run
    from hf_kit.parsing import parse_arguments

    estimate, make_trainer = run.estimate, run.make_trainer
    found = []

    def kept(*args, **kwargs):
        found.append(estimate(*args, **kwargs))
        return found[0]

    class Watch(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            self.peak = Peak()
            self.peak.start()

        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == steps:
                (one,), peak = found, self.peak.bytes
                numbers = {name: getattr(one, name) for name in ("process", "weights", "optimizer", "step", "total")}
                numbers |= {"shape": " x ".join(map(str, one.shape)), "peak": peak, "off_by": one.total / peak - 1}
                numbers["off_by_without"] = (one.total - one.process) / (peak - one.process) - 1
                side_by_side.finish(numbers, result)

    def watched(*args, **kwargs):
        trainer = make_trainer(*args, **kwargs)
        trainer.add_callback(Watch())
        return trainer

    run.estimate, run.make_trainer = kept, watched
    run.train(parse_arguments(given))


if __name__ == "__main__":
    sys.exit(main())
