"""Finetuning an encoder: the kit beside the stock `Trainer`, on SST-2 sentences with MiniLM-L6, batches of 32.

    python benchmarks/encoder_training.py             # speed, memory, share of the machine's matrix rate
    python benchmarks/encoder_training.py --accuracy  # one whole epoch per variant and seed: dev and test accuracy

Same rows, model, dropout, seeds, learning rate and schedule. The kit runs as `hf-kit train` does, with its defaults.
It needs HF_KIT_DATA and MINILM, as the head of `quality.py` says. Writes `encoder_training.md`, `.json` and `.png`
(`encoder_accuracy` with `--accuracy`) beside this file.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

import model_flops
import side_by_side
import training_rates
from side_by_side import column, markdown_table

NAMES = {
    "kit": "hf_kit (bf16 where the CPU has it, batches by length)",
    "padded": "Trainer, padded to 128, fp32, random order",
    "dynamic": "Trainer, dynamic padding, fp32, random order",
    "best": "Trainer, dynamic padding, bf16, group_by_length",
}
BATCH = 32
LONGEST = 128
LEARNING_RATE, WARMUP_SHARE, WEIGHT_DECAY = 1e-4, 0.1, 0.01


def main() -> int:
    parser = side_by_side.parser(__doc__, repeats=5)
    parser.add_argument("--steps", type=int, default=60, help="steps of the measured epoch (default 60; 216: all rows)")
    parser.add_argument(
        "--warmup",
        type=int,
        default=50,
        help="steps before the clock starts (default 50: by then most lengths have been seen)",
    )
    parser.add_argument("--variants", nargs="+", choices=NAMES, default=[*NAMES], help="default: all four")
    parser.add_argument("--accuracy", action="store_true", help="train to the end and score, instead of timing steps")
    parser.add_argument("--epochs", type=int, default=1, help="with --accuracy (default 1)")
    parser.add_argument("--seeds", type=int, default=3, help="with --accuracy: 0 to this, exclusive (default 3)")
    parser.add_argument("--rows", type=int, help="with --accuracy: train on so many rows only")
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    side_by_side.needed("HF_KIT_DATA"), side_by_side.needed("MINILM")
    if flags.measure:
        (train_with_kit if flags.measure == "kit" else train_with_trainer)(flags)
    else:
        with tempfile.TemporaryDirectory(prefix="encoder_training_") as folder:
            os.environ["HF_DATASETS_CACHE"] = f"{folder}/cache"
            (accuracy if flags.accuracy else speed)(flags, Path(folder))
    return 0


def speed(flags: argparse.Namespace, folder: Path) -> None:
    lines = side_by_side.data_lines("sst2", "train_sentences.jsonl")
    rows = min(flags.steps, len(lines) // BATCH) * BATCH
    (folder / "train.jsonl").write_text("".join(side_by_side.evenly(lines, rows)), encoding="utf-8")
    runs, best = training_rates.measure(
        flags.variants, flags.repeats, folder, lambda own: model_flops.encoder_flops(own["lengths"], **own["shape"])
    )
    what = f"MiniLM-L6, SST-2 sentences, batches of {BATCH}"
    text = training_rates.about(
        what, next(iter(runs.values()))[0], flags.repeats, flags.warmup, model_flops.ENCODER_FORMULA, best
    )
    text.append(
        "The share is of the whole model's arithmetic, for every variant. The kit does less of it: the last layer "
        "computes only the token that the head reads."
    )
    settings = {"steps": flags.steps, "warmup": flags.warmup, "rows": rows, "batch": BATCH, "bf16_flops": best}
    data = {"settings": settings, "runs": runs}
    side_by_side.write_results("encoder_training", text, [training_rates.table(runs, NAMES)], data)
    training_rates.draw("encoder_training", runs, NAMES)


def accuracy(flags: argparse.Namespace, folder: Path) -> None:
    """Padded to 128 in fp32 is the same computation as padded to the longest row: one stands for both."""
    lines = side_by_side.data_lines("sst2", "train_sentences.jsonl")
    lines = side_by_side.evenly(lines, flags.rows or len(lines))
    (folder / "train.jsonl").write_text("".join(lines), encoding="utf-8")
    runs: dict[str, list[dict]] = {name: [] for name in ("kit", "dynamic", "best")}
    for seed in range(flags.seeds):
        extra = ["--folder", str(folder), "--seed", str(seed)]
        print(f"seed {seed} ({seed + 1}/{flags.seeds})", flush=True)
        turn = {name: lambda name=name, extra=extra: side_by_side.measure_self(name, folder, extra) for name in runs}
        for name, numbers in side_by_side.in_turn(turn, 1, tell="test").items():
            runs[name] += numbers
    rows = []
    for name, own in runs.items():
        label = NAMES[name] + (" (stands for padded to 128: the same numbers)" if name == "dynamic" else "")
        scores = [f"{mean_sd(column(own, split))}" for split in ("dev", "test")]
        rows.append([label, *scores])
    table = markdown_table(["variant", "dev accuracy, mean ± sd", "test accuracy, mean ± sd"], rows)
    about = [
        f"MiniLM-L6, SST-2 sentences, {flags.epochs} epoch(s) of batches of {BATCH}, learning rate {LEARNING_RATE:g}, "
        f"linear with {WARMUP_SHARE:.0%} warm-up, seeds 0 to {flags.seeds - 1}. The last model is scored: no rows "
        "choose anything. Nothing is timed here, so that the machine may do other work meanwhile.",
    ]
    settings = {"epochs": flags.epochs, "seeds": flags.seeds, "rows": flags.rows, "batch": BATCH}
    side_by_side.write_results("encoder_accuracy", about, [table], {"settings": settings, "runs": runs})
    side_by_side.draw("encoder_accuracy", {"test accuracy": {NAMES[n]: column(own, "test") for n, own in runs.items()}})


def mean_sd(scores: list[float]) -> str:
    deviation = f" ± {statistics.stdev(scores):.4f}" if len(scores) > 1 else ""
    return f"{statistics.mean(scores):.4f}{deviation}"


def shape(model) -> dict[str, int]:
    """What `model_flops.encoder_flops` asks of a BERT."""
    parameters = {name: p.numel() for name, p in model.named_parameters()}
    in_layers = sum(count for name, count in parameters.items() if ".encoder." in name)
    embeddings = sum(count for name, count in parameters.items() if ".embeddings." in name)
    return {
        "layers": model.config.num_hidden_layers,
        "width": model.config.hidden_size,
        "layer_parameters": in_layers,
        "text_parameters": sum(parameters.values()) - in_layers - embeddings,
    }


def train_with_kit(flags: argparse.Namespace) -> None:
    """Writes the measured numbers, or with `--accuracy` the scores."""
    import measured_training  # loads torch, as do the others imported so late

    data = Path(os.environ["HF_KIT_DATA"]) / "sst2"
    epochs = flags.epochs if flags.accuracy else measured_training.EPOCHS
    with tempfile.TemporaryDirectory(dir=flags.folder) as run_folder:
        words = (
            f"text_classification/finetune.yaml --model_name_or_path {os.environ['MINILM']} --num_train_epochs {epochs}"
        )
        words += f" --train_file {flags.folder}/train.jsonl --validation_file {data}/dev.jsonl"
        words += f" --test_file {data}/test.jsonl --per_device_train_batch_size {BATCH} --learning_rate {LEARNING_RATE}"
        words += f" --lr_scheduler_type linear --warmup_steps {WARMUP_SHARE} --weight_decay {WEIGHT_DECAY}"
        words += f" --seed {flags.seed} --eval_strategy no --save_strategy no --load_best_model_at_end False"
        words += f" --baselines False --output_dir {run_folder}"

        def attach(trainer) -> None:
            if not flags.accuracy:
                extra = {"shape": shape(trainer.model)}
                measured_training.MeasuredEpoch(trainer, flags.warmup, flags.result, extra)

        folder = measured_training.train_kit(words.split(), attach)
        results = json.loads((folder / "results.json").read_text())
    scores = {"dev": results["validation"]["accuracy"], "test": results["test"]["accuracy"]}
    side_by_side.finish(scores | {"seconds": results["training"]["seconds"]}, flags.result)


def train_with_trainer(flags: argparse.Namespace) -> None:
    """The public example's way (transformers' run_glue.py); otherwise as `train_with_kit`."""
    import measured_training
    import torch
    from datasets import load_dataset
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        default_data_collator,
        set_seed,
    )

    set_seed(flags.seed)
    padded, best = flags.measure == "padded", flags.measure == "best"
    tokenizer = AutoTokenizer.from_pretrained(os.environ["MINILM"])
    labels = {"negative": 0, "positive": 1}

    def tokenize(rows: dict) -> dict:
        how = {"padding": "max_length"} if padded else {}
        out = tokenizer(rows["text"], truncation=True, max_length=LONGEST, **how)
        return out | {
            "label": [labels[name] for name in rows["label"]],
            "length": list(map(sum, out["attention_mask"])),
        }

    data = Path(os.environ["HF_KIT_DATA"]) / "sst2"
    files = {"train": f"{flags.folder}/train.jsonl", "dev": f"{data}/dev.jsonl", "test": f"{data}/test.jsonl"}
    splits = load_dataset("json", data_files=files).map(tokenize, batched=True, remove_columns=["text"])
    model = AutoModelForSequenceClassification.from_pretrained(os.environ["MINILM"], num_labels=2, dtype=torch.float32)
    with tempfile.TemporaryDirectory(dir=flags.folder) as run_folder:
        arguments = TrainingArguments(
            output_dir=run_folder,
            num_train_epochs=flags.epochs if flags.accuracy else measured_training.EPOCHS,
            per_device_train_batch_size=BATCH,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="linear",
            warmup_steps=WARMUP_SHARE,
            weight_decay=WEIGHT_DECAY,
            seed=flags.seed,
            bf16=best,
            train_sampling_strategy="group_by_length" if best else "random",
            save_strategy="no",
            report_to="none",
            use_cpu=not torch.accelerator.is_available(),
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=splits["train"],
            processing_class=tokenizer,
            data_collator=default_data_collator if padded else DataCollatorWithPadding(tokenizer),
        )
        if not flags.accuracy:
            measured_training.MeasuredEpoch(trainer, flags.warmup, flags.result, {"shape": shape(model)})
        seconds = trainer.train().metrics["train_runtime"]
        scores = {}
        for name in ("dev", "test"):
            output = trainer.predict(splits[name])
            scores[name] = float((output.predictions.argmax(-1) == output.label_ids).mean())
    side_by_side.finish(scores | {"seconds": seconds}, flags.result)


if __name__ == "__main__":
    sys.exit(main())
