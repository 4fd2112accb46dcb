"""Saving a checkpoint: the kit's, synced, hashed and renamed, beside the one that the stock `Trainer` writes in place.

    python benchmarks/checkpoint_saving.py

The same model (MiniLM-L6 with AdamW's state, some 270 MB) after the same steps. Blocked is what a save takes from the
training loop; whole is the time until the checkpoint is committed, which for the stock `Trainer` is the same: it does
not wait for the disk, hashes nothing, and renames nothing. It needs HF_KIT_DATA and MINILM, as the head of `quality.py`
says. Writes `checkpoint_saving.md`, `.json` and `.png` beside this file.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import side_by_side
from side_by_side import column, markdown_table

NAMES = {"kit": "hf_kit", "stock": "Trainer"}
BATCH = 8
SAVES = 8


def main() -> int:
    parser = side_by_side.parser(__doc__, repeats=5)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    side_by_side.needed("HF_KIT_DATA"), side_by_side.needed("MINILM")
    if flags.measure:
        (save_with_kit if flags.measure == "kit" else save_with_trainer)(flags)
        return 0
    with tempfile.TemporaryDirectory(prefix="checkpoint_saving_") as name:
        folder = Path(name)
        os.environ["HF_DATASETS_CACHE"] = f"{folder}/cache"
        lines = side_by_side.data_lines("sst2", "train_sentences.jsonl")
        (folder / "train.jsonl").write_text("".join(side_by_side.evenly(lines, BATCH * SAVES)), encoding="utf-8")
        extra = ["--folder", str(folder)]
        turn = {one: lambda one=one: side_by_side.measure_self(one, folder, extra) for one in NAMES}
        runs = side_by_side.in_turn(turn, flags.repeats, tell="blocked")
    rows = []
    for one, own in runs.items():
        cells = [f"{side_by_side.spread(column(own, kind)):.3f} s" for kind in ("blocked", "whole")]
        cells += [
            f"{side_by_side.ratios(column(own, kind), column(runs['stock'], kind)):.2f}"
            for kind in ("blocked", "whole")
        ]
        rows.append([NAMES[one], *cells])
    head = ["checkpoint of", "blocked", "whole", "blocked / Trainer's", "whole / Trainer's"]
    about = [
        f"MiniLM-L6, {runs['kit'][0]['megabytes']:,.0f} MB a checkpoint, {SAVES - 1} saves a process (the first is "
        f"left out), {flags.repeats} rounds; medians with the least and the most, ratios within a round."
    ]
    data = {"settings": {"saves": SAVES, "repeats": flags.repeats}, "runs": runs}
    side_by_side.write_results("checkpoint_saving", about, [markdown_table(head, rows)], data)
    panels = {
        f"{kind}, seconds": {NAMES[one]: column(own, kind) for one, own in runs.items()}
        for kind in ("blocked", "whole")
    }
    side_by_side.draw("checkpoint_saving", panels)
    return 0


def watch(trainer, until_whole, result: Path) -> None:
    """Time every `_save_checkpoint` of `trainer`; after the last one write the medians and end the process."""
    save, blocked, whole = trainer._save_checkpoint, [], []

    def timed(*args):
        os.sync()  # what the saves before left to be written is not this one's
        start = time.perf_counter()
        save(*args)
        blocked.append(time.perf_counter() - start)
        until_whole()
        whole.append(time.perf_counter() - start)
        if len(blocked) == SAVES:
            (newest,) = Path(trainer.args.output_dir).glob(f"checkpoint-{SAVES}")
            size = sum(path.stat().st_size for path in newest.iterdir())
            medians = {"blocked": statistics.median(blocked[1:]), "whole": statistics.median(whole[1:])}
            side_by_side.finish(medians | {"megabytes": size / 1e6}, result)

    trainer._save_checkpoint = timed


def save_with_kit(flags: argparse.Namespace) -> None:
    import measured_training

    with tempfile.TemporaryDirectory(dir=flags.folder) as run_folder:
        words = f"text_classification/finetune.yaml --model_name_or_path {os.environ['MINILM']} --disable_tqdm"
        words += f" --train_file {flags.folder}/train.jsonl --validation_split_percentage 0 --test_split_percentage 0"
        words += f" --per_device_train_batch_size {BATCH} --save_strategy steps --save_steps 1 --baselines False"
        words += " --eval_strategy no --load_best_model_at_end False"
        words += f" --num_train_epochs 1 --output_dir {run_folder}"
        measured_training.train_kit(words.split(), lambda trainer: watch(trainer, trainer.commits.wait, flags.result))


def save_with_trainer(flags: argparse.Namespace) -> None:
    import torch
    from datasets import load_dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    tokenizer = AutoTokenizer.from_pretrained(os.environ["MINILM"])
    labels = {"negative": 0, "positive": 1}
    rows = load_dataset("json", data_files=f"{flags.folder}/train.jsonl", split="train").map(
        lambda row: tokenizer(row["text"]) | {"label": labels[row["label"]]}, remove_columns=["text"]
    )
    model = AutoModelForSequenceClassification.from_pretrained(os.environ["MINILM"], num_labels=2, dtype=torch.float32)
    with tempfile.TemporaryDirectory(dir=flags.folder) as run_folder:
        arguments = TrainingArguments(
            output_dir=run_folder,
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            save_strategy="steps",
            save_steps=1,
            save_total_limit=1,
            use_cpu=not torch.accelerator.is_available(),
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=rows,
            processing_class=tokenizer,
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        watch(trainer, lambda: None, flags.result)
        trainer.train()


if __name__ == "__main__":
    sys.exit(main())
