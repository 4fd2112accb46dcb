"""Several processes beside one, on the cores of one machine: the same rows a step, the same work.

    python benchmarks/scaling.py

One process has all cores as threads; of several each has its share of them. "Apart" (`--apart`) are as many processes
that train at the same time, each a model of its own on its share of the rows, and exchange nothing: what is lost there
is lost to the machine and not to communication. An LSTM (128/256 in both directions, IMDb cut at 256 tokens, 64 rows a
step) and MiniLM-L6 (sentences of SST-2, 32 rows a step), through `hf-kit train` and torch's launcher with gloo. It
needs HF_KIT_DATA and MINILM, as the head of `quality.py` says. Writes `scaling.md`, `.json` and `.png` beside it.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import measured_training
import psutil
import side_by_side
from side_by_side import column, markdown_table, ratios, spread

ROWS = {"lstm": 64, "minilm": 32}  # a step
NAMES = {"lstm": "BiLSTM 128/256, IMDb, 64 rows a step", "minilm": "MiniLM-L6, SST-2 sentences, 32 rows a step"}
FILES = {"lstm": ("imdb", "train.jsonl"), "minilm": ("sst2", "train_sentences.jsonl")}


def main() -> int:
    parser = side_by_side.parser(__doc__, repeats=3)
    parser.add_argument("--steps", type=int, default=60, help="steps measured (default 60)")
    parser.add_argument("--warmup", type=int, default=8, help="steps before the clock starts (default 8)")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="default: 1 2")
    parser.add_argument("--apart", action="store_true", help="measure them also without any exchange")
    parser.add_argument("--works", nargs="+", choices=ROWS, default=[*ROWS], help="default: both")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    side_by_side.needed("HF_KIT_DATA"), side_by_side.needed("MINILM")
    if flags.measure:
        train(flags)
    else:
        with tempfile.TemporaryDirectory(prefix="scaling_") as folder:
            os.environ["HF_DATASETS_CACHE"] = f"{folder}/cache"
            compare(flags, Path(folder))
    return 0


def compare(flags: argparse.Namespace, folder: Path) -> None:
    for work in flags.works:
        lines = side_by_side.evenly(side_by_side.data_lines(*FILES[work]), flags.steps * ROWS[work])
        (folder / f"{work}.jsonl").write_text("".join(lines), encoding="utf-8")
    variants = {}
    for work in flags.works:
        for n in flags.processes:
            variants[f"{work}-{n}"] = work, n
            if flags.apart and n > 1:
                variants[f"{work}-{n}-apart"] = work, n
    turn = {name: lambda name=name, n=n: measure(name, n, folder) for name, (_, n) in variants.items()}
    runs = side_by_side.in_turn(turn, flags.repeats, tell="seconds")
    table = []
    for name, (work, n) in variants.items():
        seconds, alone = column(runs[name], "seconds"), column(runs[f"{work}-{flags.processes[0]}"], "seconds")
        rate = spread([run["rows"] / run["seconds"] for run in runs[name]])
        shown = f"{n}, apart" if name.endswith("apart") else str(n)
        table.append([NAMES[work], shown, f"{rate:.1f}", "" if n == 1 else f"{ratios(alone, seconds):.2f}"])
    head = ["work", "processes", "rows a second", "times one process"]
    cores = psutil.cpu_count(logical=False)
    about = [
        f"{flags.steps} steps after {flags.warmup}, on {cores} cores: one process with {cores} threads, several with "
        f"their share. Median (least..most) of {flags.repeats} rounds, every measurement fresh processes, in turn."
    ]
    data = {"settings": {"steps": flags.steps, "rows_a_step": ROWS}, "runs": runs}
    side_by_side.write_results("scaling", about, [markdown_table(head, table)], data)
    panels = {
        f"rows/s, {work}": {
            f"{n} process(es){', apart' if name.endswith('apart') else ''}": [
                run["rows"] / run["seconds"] for run in runs[name]
            ]
            for name, (of, n) in variants.items()
            if of == work
        }
        for work in flags.works
    }
    side_by_side.draw("scaling", panels)


def measure(name: str, processes: int, folder: Path) -> dict:
    """This script again, `processes` times together."""
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    cores = psutil.cpu_count(logical=False)
    os.environ["OMP_NUM_THREADS"] = str(max(1, cores // processes))
    launch = [sys.executable]
    if processes > 1:
        launch += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    own = ["--folder", str(folder), "--measure", name, "--result", str(result)]
    seen = side_by_side.watched([*launch, *sys.argv, *own], folder)
    numbers = json.loads(result.read_text()) | seen
    if name.endswith("apart"):
        numbers["rows"] *= processes
    return numbers


def train(flags: argparse.Namespace) -> None:
    work, processes, *apart = flags.measure.split("-")
    rank = int(os.environ.get("RANK", "0"))
    if apart:  # each for itself, with its share of the rows
        for name in [name for name in os.environ if name.startswith(("TORCHELASTIC", "MASTER_", "GROUP_", "ROLE_"))]:
            del os.environ[name]
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
            os.environ.pop(name, None)
    words = f"--train_file {flags.folder}/{work}.jsonl --validation_split_percentage 0 --test_split_percentage 0"
    words += f" --per_device_train_batch_size {ROWS[work] // int(processes)} --save_strategy no --baselines False"
    words += f" --num_train_epochs {measured_training.EPOCHS} --output_dir {flags.folder}/run-{flags.measure}"
    words += f"-{rank} --max_train_samples {flags.steps * ROWS[work] // int(processes)}" if apart else ""
    words += " --disable_tqdm True --logging_strategy no --eval_strategy no --load_best_model_at_end False"
    if work == "lstm":
        model = json.dumps({"embedding_dim": 128, "hidden_dim": 256, "bidirectional": True, "pooling": "max"})
        own = ["text_classification/lstm.yaml", f"--config_overrides={model}", "--max_length=256"]
    else:
        own = ["text_classification/finetune.yaml", f"--model_name_or_path={os.environ['MINILM']}"]
    result = flags.result if rank == 0 else flags.folder / f"rank-{rank}.json"

    def attach(trainer) -> None:
        numbers = {"parameters": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)}
        measured_training.MeasuredEpoch(trainer, flags.warmup, result, numbers)

    measured_training.train_kit([*own, *words.split()], attach)


if __name__ == "__main__":
    sys.exit(main())
