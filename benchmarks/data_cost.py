"""What rows cost before training: loading, checking and tokenizing rates, and how time and memory grow with the data.

    python benchmarks/data_cost.py

SST-2 phrases once, 4 times and 16 times (a suffix makes the copies differ), each in a fresh `hf-kit train` process that
takes five steps, with nothing cached and then once more; beside it the stock way, `load_dataset` and `map`, without
training. The kit's stages are told by the headings that it prints. It needs HF_KIT_DATA and MINILM, as the head of
`quality.py` says. Writes `data_cost.md`, `.json` and `.png` beside this file.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import side_by_side
from side_by_side import column, markdown_table, ratios, spread

TIMES = (1, 4, 16)
NAMES = {"minilm": "hf_kit, MiniLM-L6", "lstm": "hf_kit, LSTM", "stock": "load_dataset + map"}
MODELS = {
    "minilm": "text_classification/finetune.yaml --model_name_or_path $MINILM",
    "lstm": "text_classification/lstm.yaml",
}
STEPS = 5
# Seconds between one heading and the next.
STAGES = {"load": ("Data", "Data checks"), "tokenize": ("Data checks", "Model"), "begin": ("Model", "Training")}


def main() -> int:
    parser = side_by_side.parser(__doc__, repeats=3)
    parser.add_argument("--rows", type=int, default=67349, help="rows at 1x (default 67349: all)")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    side_by_side.needed("HF_KIT_DATA"), side_by_side.needed("MINILM")
    if flags.measure:
        load_and_map(flags.file, flags.result)
        return 0
    with tempfile.TemporaryDirectory(prefix="data_cost_") as folder:
        os.environ |= {"HF_DATASETS_CACHE": f"{folder}/cache", "PYTHONUNBUFFERED": "1"}
        compare(flags, Path(folder))
    return 0


def write_rows(path: Path, rows: int, times: int) -> None:
    lines = side_by_side.evenly(side_by_side.data_lines("sst2", "train_phrases.jsonl"), rows)
    read = [json.loads(line) for line in lines]
    with path.open("w", encoding="utf-8") as out:
        for copy in range(times):
            for row in read:
                text = row["text"] + (f" , copy {copy}" if copy else "")
                out.write(json.dumps({"text": text, "label": row["label"]}, ensure_ascii=False) + "\n")


def compare(flags: argparse.Namespace, folder: Path) -> None:
    files = {times: folder / f"{times}x.jsonl" for times in TIMES}
    for times, path in files.items():
        write_rows(path, flags.rows, times)
    variants = {}
    for times, path in files.items():
        for name in NAMES:
            # The second time stands right behind the first, whose cache it reads.
            variants[f"{name} {times}x first"] = lambda name=name, path=path: first_time(name, path, folder)
            variants[f"{name} {times}x second"] = lambda name=name, path=path: measure(name, path, folder)
    runs = side_by_side.in_turn(variants, flags.repeats)
    tables = [rates_table(runs, flags.rows, files), growth_table(runs)]
    about = [
        f"SST-2 phrases, {flags.rows:,} rows at 1x. Median (least..most) of {flags.repeats} rounds, every measurement "
        "a process of its own, in turn. First: nothing cached; second: the same again.",
        "First table, rates. For the kit: loading with splits and fingerprint; tokenizing with the data checks and, "
        "for the LSTM, with training a tokenizer. Second table, the whole process "
        f"from launch to end, nothing cached, {STEPS} training steps and the scores of 100 rows included (not for the "
        "stock way, which stops before the model); peak anonymous: memory that no file backs. In brackets: x the one "
        "at 1x.",
    ]
    settings = {"rows": flags.rows, "bytes": {f"{t}x": path.stat().st_size for t, path in files.items()}}
    side_by_side.write_results("data_cost", about, tables, {"settings": settings, "runs": runs})
    panels = {
        title: {
            f"{NAMES[name]}, {times}x": column(runs[f"{name} {times}x first"], key) for name in NAMES for times in TIMES
        }
        for title, key in (("seconds, whole process", "process_seconds"), ("peak anonymous MB", "peak_anonymous_mb"))
    }
    side_by_side.draw("data_cost", panels)


def rates_table(runs: dict, rows: int, files: dict[int, Path]) -> str:
    lines = []
    for name in NAMES:
        for times in TIMES:
            count, size = rows * times, files[times].stat().st_size
            cells = [NAMES[name], f"{times}x"]
            for stage in ("load", "tokenize"):
                for turn in ("first", "second"):
                    seconds = spread(column(runs[f"{name} {times}x {turn}"], stage)).median
                    cells.append(f"{count / seconds:,.0f} rows/s, {size / 1e6 / seconds:.1f} MB/s")
            lines.append(cells)
    head = ["", "data", "loading, first", "loading, second", "tokenizing, first", "tokenizing, second"]
    return markdown_table(head, lines)


def growth_table(runs: dict) -> str:
    lines = []
    for name in NAMES:
        base = runs[f"{name} 1x first"]
        for times in TIMES:
            own = runs[f"{name} {times}x first"]
            cells = [NAMES[name], f"{times}x"]
            for key, digits in (("process_seconds", ".1f"), ("peak_anonymous_mb", ",.0f")):
                ratio = ratios(column(own, key), column(base, key)).median
                cells.append(f"{spread(column(own, key)):{digits}} [{ratio:.2f} x]")
            lines.append(cells)
    return markdown_table(["", "data", "s", "peak anonymous MB"], lines)


def first_time(name: str, path: Path, folder: Path) -> dict:
    shutil.rmtree(folder / "cache", ignore_errors=True)
    return measure(name, path, folder)


def measure(name: str, path: Path, folder: Path) -> dict:
    """Seconds of the stages and of all, and the peak memory, of one process."""
    if name == "stock":
        return side_by_side.measure_self(name, folder, ["--file", str(path)])
    data = Path(os.environ["HF_KIT_DATA"]) / "sst2"
    shutil.rmtree(folder / "run", ignore_errors=True)
    words = os.path.expandvars(f"-m hf_kit.cli train {MODELS[name]} --train_file {path}")
    words += f" --validation_file {data}/dev.jsonl --max_eval_samples 100 --max_steps {STEPS} --eval_strategy no"
    words += f" --save_strategy no --load_best_model_at_end False --baselines False --output_dir {folder}/run"
    headings: dict[str, float] = {}
    seen = side_by_side.watched([sys.executable, *words.split()], folder, headings.setdefault)
    return seen | {stage: headings[end] - headings[begin] for stage, (begin, end) in STAGES.items()}


def load_and_map(path: Path, result: Path) -> None:
    """The usual two lines, timed."""
    from datasets import load_dataset
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(os.environ["MINILM"])
    start = time.perf_counter()
    rows = load_dataset("json", data_files=str(path), split="train")
    loaded = time.perf_counter()
    rows.map(lambda some: tokenizer(some["text"], truncation=True, max_length=512), batched=True)
    numbers = {"load": loaded - start, "tokenize": time.perf_counter() - loaded}
    side_by_side.finish(numbers, result)


if __name__ == "__main__":
    sys.exit(main())
