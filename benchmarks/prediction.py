"""Labelling texts: `hf-kit predict` beside `transformers.pipeline`, MiniLM-L6 on 2,500 IMDb reviews.

    python benchmarks/prediction.py

One model, trained for a moment on SST-2 into a temporary folder, is used by both: through `hf_kit.prediction.predict`
on the opened run, and through `pipeline("text-classification", batch_size=32, truncation=True)` on the same folder.
It needs HF_KIT_DATA and MINILM, as the head of `quality.py` says. Writes `prediction.md`, `.json` and `.png` beside
this file.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import side_by_side
from side_by_side import column, markdown_table, ratios, spread

NAMES = {"kit": "hf_kit predict", "pipeline": "pipeline, batch_size=32"}
TRAINING_ROWS, WARMUP_TEXTS = 960, 32


def main() -> int:
    parser = side_by_side.parser(__doc__, repeats=3)
    parser.add_argument("--texts", type=int, default=2500, help="reviews to label (default 2500)")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    side_by_side.needed("HF_KIT_DATA"), side_by_side.needed("MINILM")
    if flags.measure:
        label(flags)
    else:
        with tempfile.TemporaryDirectory(prefix="prediction_") as folder:
            os.environ["HF_DATASETS_CACHE"] = f"{folder}/cache"
            compare(flags, Path(folder))
    return 0


def reviews(count: int) -> list[str]:
    return [
        json.loads(line)["text"] for line in side_by_side.evenly(side_by_side.data_lines("imdb", "test.jsonl"), count)
    ]


def train(folder: Path) -> None:
    print(f"training a model on {TRAINING_ROWS:,} rows ...", flush=True)
    data = Path(os.environ["HF_KIT_DATA"]) / "sst2"
    words = f"train text_classification/finetune.yaml --model_name_or_path {os.environ['MINILM']}"
    words += f" --train_file {data}/train_sentences.jsonl --validation_file {data}/dev.jsonl --learning_rate 1e-4"
    words += f" --max_train_samples {TRAINING_ROWS} --max_eval_samples 100 --num_train_epochs 1 --baselines False"
    words += f" --output_dir {folder}/run"
    done = subprocess.run(
        [sys.executable, "-m", "hf_kit.cli", *words.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(done.stdout)


def compare(flags: argparse.Namespace, folder: Path) -> None:
    train(folder)
    extra = ["--folder", str(folder)]
    variants = {name: lambda name=name: side_by_side.measure_self(name, folder, extra) for name in NAMES}
    runs = side_by_side.in_turn(variants, flags.repeats, tell="texts_per_second")
    kit, pipeline = (runs[name][0].pop("answers") for name in NAMES)
    for own in runs.values():
        for numbers in own[1:]:
            numbers.pop("answers")
    equal, difference = agreement(kit, pipeline)
    rows = [
        [
            NAMES[name],
            f"{spread(column(own, 'texts_per_second')):.1f}",
            f"{spread(column(own, 'process_seconds')):.1f}",
            f"{ratios(column(own, 'seconds'), column(runs['kit'], 'seconds')):.2f}" if name != "kit" else "",
            f"{spread(column(own, 'peak_anonymous_mb')):,.0f}",
        ]
        for name, own in runs.items()
    ]
    head = ["variant", "texts/s", "s with start and loading", "speed of hf_kit / this", "peak anonymous MB"]
    table = markdown_table(head, rows)
    about = [
        f"{flags.texts:,} reviews, MiniLM-L6, cut at 512 tokens. Median (least..most) of {flags.repeats} rounds, every "
        f"measurement a process of its own, in turn; texts/s after loading and {WARMUP_TEXTS} other texts, tokenizing "
        "included.",
        f"The labels agree on {equal:,} of {flags.texts:,} texts; the scores differ by {difference:.2g} at most.",
    ]
    data = {"settings": {"texts": flags.texts}, "agreeing": equal, "largest_difference": difference, "runs": runs}
    side_by_side.write_results("prediction", about, [table], data)
    panels = {"texts/s": "texts_per_second", "peak MB": "peak_anonymous_mb"}
    side_by_side.draw(
        "prediction", {title: {NAMES[n]: column(own, key) for n, own in runs.items()} for title, key in panels.items()}
    )


def agreement(ours: list[dict], theirs: list[dict]) -> tuple[int, float]:
    """On how many texts the labels are equal, and the largest difference between two scores of one label.

    The scores of the two classes add up to one, so that a text with two labels can be compared as well.
    """
    equal, largest = 0, 0.0
    for one, other in zip(ours, theirs, strict=True):
        same = one["label"] == other["label"]
        equal += same
        largest = max(largest, abs(one["score"] - (other["score"] if same else 1 - other["score"])))
    return equal, largest


def label(flags: argparse.Namespace) -> None:
    """Write texts per second and the answers."""
    texts = reviews(flags.texts + WARMUP_TEXTS)
    warm, texts = texts[flags.texts :], texts[: flags.texts]
    if flags.measure == "kit":
        from hf_kit.prediction import predict
        from hf_kit.saved_run import open_run

        run = open_run(f"{flags.folder}/run")

        def answer(some: list[str]) -> list[dict]:
            return [answer for _, answer in predict(run, some)]
    else:
        from transformers import pipeline

        classify = pipeline("text-classification", model=f"{flags.folder}/run", batch_size=32, truncation=True)

        def answer(some: list[str]) -> list[dict]:
            return classify(some)

    answer(warm)
    start = time.perf_counter()
    answers = answer(texts)
    seconds = time.perf_counter() - start
    answers = [{"label": a["label"], "score": float(a["score"])} for a in answers]
    numbers = {"seconds": seconds, "texts_per_second": len(texts) / seconds, "answers": answers}
    side_by_side.finish(numbers, flags.result)


if __name__ == "__main__":
    sys.exit(main())
