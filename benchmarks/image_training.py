"""Training a small ResNet: the kit beside the stock `Trainer`, on Fashion-MNIST at 40 pixels, batches of 128.

    python benchmarks/image_training.py

Same rows, model, changes of the images (random resized crop, mirrored), learning rate and schedule. The kit runs as
`hf-kit train` does, with its defaults; the stock recipe is that of transformers' run_image_classification.py, with
Pillow in the place of torchvision, and `Trainer`'s default workers and precision. It needs HF_KIT_DATA. Writes
`image_training.md` and `.json` beside this file.
"""

import argparse
import json
import math
import os
import random
import sys
import tempfile
from pathlib import Path

import side_by_side
from side_by_side import column, markdown_table, ratios, spread

NAMES = {
    "kit": "hf_kit (bf16 where the CPU has it, channels last)",
    "stock": "Trainer, its defaults: fp32, no workers",
    "bf16": "Trainer, bf16, no workers",
}
BATCH = 128
SIDE, CROP_SCALE = 40, 0.8
MODEL = {"embedding_size": 32, "hidden_sizes": [48, 96, 192], "depths": [2, 2, 1], "layer_type": "basic"}
LEARNING_RATE, WARMUP_SHARE, WEIGHT_DECAY = 3e-3, 0.1, 0.05


def main() -> int:
    parser = side_by_side.parser(__doc__, repeats=3)
    parser.add_argument("--steps", type=int, default=40, help="steps of the measured epoch (default 40; 468: all rows)")
    parser.add_argument("--warmup", type=int, default=5, help="steps before the clock starts (default 5)")
    parser.add_argument("--variants", nargs="+", choices=NAMES, default=[*NAMES], help="default: all three")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    side_by_side.needed("HF_KIT_DATA")
    if flags.measure:
        (train_with_kit if flags.measure == "kit" else train_with_trainer)(flags)
    else:
        with tempfile.TemporaryDirectory(prefix="image_training_") as folder:
            os.environ["HF_DATASETS_CACHE"] = f"{folder}/cache"
            compare(flags, Path(folder))
    return 0


def compare(flags: argparse.Namespace, folder: Path) -> None:
    import pyarrow.parquet as pq

    whole = pq.read_table(Path(os.environ["HF_KIT_DATA"]) / "fashion_mnist" / "train.parquet")
    rows = min(flags.steps * BATCH, len(whole))
    pq.write_table(whole.take([i * len(whole) // rows for i in range(rows)]), folder / "train.parquet")
    extra = ["--folder", str(folder)]
    turn = {name: lambda name=name: side_by_side.measure_self(name, folder, extra) for name in flags.variants}
    runs = side_by_side.in_turn(turn, flags.repeats, tell="seconds")
    seconds = {name: column(own, "seconds") for name, own in runs.items()}
    table = []
    for name, own in runs.items():
        faster = "" if name == "kit" or "kit" not in runs else f"{ratios(seconds[name], seconds['kit']):.2f}"
        rate = spread([run["rows"] / run["seconds"] for run in own])
        memory = spread(column(own, "peak_anonymous_mb"))
        table.append([NAMES[name], f"{rate:,.0f}", faster, f"{memory:,.0f}"])
    head = ["variant", "images a second", "hf_kit is faster by", "peak memory, MB"]
    about = [
        f"A ResNet of 0.9 M parameters on {rows:,} pictures of Fashion-MNIST enlarged to {SIDE} pixels, batches of "
        f"{BATCH}, one epoch after {flags.warmup} steps of warm-up; medians of {flags.repeats} rounds in turn, in "
        "brackets the least and the most. Every measurement is a fresh process."
    ]
    settings = {"steps": flags.steps, "warmup": flags.warmup, "rows": rows, "batch": BATCH, "side": SIDE}
    data = {"settings": settings, "runs": runs}
    side_by_side.write_results("image_training", about, [markdown_table(head, table)], data)


def measured_epoch(trainer, flags: argparse.Namespace) -> None:
    import measured_training

    class MeasuredImages(measured_training.MeasuredEpoch):
        def numbers(self) -> dict:
            out = {"seconds": self.seconds, "steps": self.steps, "rows": len(self.trainer.train_dataset)}
            return out | ({"inside_seconds": self.inside} if self.on_cpu else {})

    MeasuredImages(trainer, flags.warmup, flags.result)


def train_with_kit(flags: argparse.Namespace) -> None:
    import measured_training

    with tempfile.TemporaryDirectory(dir=flags.folder) as run_folder:
        words = "--task image_classification --model_type resnet".split()
        words += ["--config_overrides", json.dumps(MODEL), "--image_size", str(SIDE), "--crop_scale", str(CROP_SCALE)]
        words += f"--train_file {flags.folder}/train.parquet --num_train_epochs {measured_training.EPOCHS}".split()
        words += f"--per_device_train_batch_size {BATCH} --learning_rate {LEARNING_RATE}".split()
        words += f"--lr_scheduler_type linear --warmup_steps {WARMUP_SHARE} --weight_decay {WEIGHT_DECAY}".split()
        words += "--validation_split_percentage 0 --test_split_percentage 0 --save_strategy no".split()
        words += "--eval_strategy no --load_best_model_at_end False".split()
        words += f"--baselines False --output_dir {run_folder}".split()
        measured_training.train_kit(words, lambda trainer: measured_epoch(trainer, flags))


def train_with_trainer(flags: argparse.Namespace) -> None:
    """The public example's way; otherwise as `train_with_kit`."""
    import measured_training
    import torch
    from datasets import load_dataset
    from PIL import Image
    from transformers import (
        AutoModelForImageClassification,
        ResNetConfig,
        Trainer,
        TrainingArguments,
        ViTImageProcessorPil,
        set_seed,
    )

    set_seed(0)
    processor = ViTImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, image_mean=[0.286] * 3, image_std=[0.353] * 3
    )
    rows = load_dataset("parquet", data_files=f"{flags.folder}/train.parquet", split="train")

    def changed(image: Image.Image) -> Image.Image:
        """torchvision's RandomResizedCrop and RandomHorizontalFlip."""
        image = image.convert("RGB")
        area = image.width * image.height * random.uniform(CROP_SCALE, 1)
        aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w = min(image.width, round(math.sqrt(area * aspect)))
        h = min(image.height, round(math.sqrt(area / aspect)))
        left, top = random.randint(0, image.width - w), random.randint(0, image.height - h)
        image = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, (left, top, left + w, top + h))
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else image

    def transform(batch: dict) -> dict:
        pixels = [processor(changed(image), return_tensors="pt")["pixel_values"][0] for image in batch["image"]]
        return {"pixel_values": pixels, "labels": batch["label"]}

    def collate(examples: list[dict]) -> dict:
        return {
            "pixel_values": torch.stack([example["pixel_values"] for example in examples]),
            "labels": torch.tensor([example["labels"] for example in examples]),
        }

    rows.set_transform(transform)
    model = AutoModelForImageClassification.from_config(ResNetConfig(num_labels=10, **MODEL))
    with tempfile.TemporaryDirectory(dir=flags.folder) as run_folder:
        arguments = TrainingArguments(
            output_dir=run_folder,
            num_train_epochs=measured_training.EPOCHS,
            per_device_train_batch_size=BATCH,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="linear",
            warmup_steps=WARMUP_SHARE,
            weight_decay=WEIGHT_DECAY,
            bf16=flags.measure == "bf16",
            save_strategy="no",
            remove_unused_columns=False,
            report_to="none",
            use_cpu=not torch.accelerator.is_available(),
        )
        trainer = Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collate)
        measured_epoch(trainer, flags)
        trainer.train()


if __name__ == "__main__":
    sys.exit(main())
