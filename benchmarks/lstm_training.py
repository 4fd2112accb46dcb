"""Training a BiLSTM: the kit beside `nn.LSTM` on packed sequences and beside the padded loop that tutorials print.

    python benchmarks/lstm_training.py

IMDb cut at 256 tokens, batches of 64, word vectors of 128, 256 states a direction, Adam; full training steps. The kit
runs as `hf-kit train` does, with its defaults. The two loops train in fp32 on the same batches: `packed` is the same
network, max pooling over the valid steps; `padded` pads every batch to 256 and classifies the last step. It needs
HF_KIT_DATA. Writes `lstm_training.md`, `.json` and `.png` beside this file.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from itertools import chain, cycle, islice
from pathlib import Path

import model_flops
import side_by_side
import training_rates

from hf_kit.huge_pages import ask_for_huge_pages

NAMES = {"kit": "hf_kit", "packed": "nn.LSTM, packed, fp32", "padded": "loop padded to 256, last step, fp32"}
BATCH, LONGEST, EMBEDDING, HIDDEN = 64, 256, 128, 256
LEARNING_RATE, EMBEDDING_DROPOUT, CLASSIFIER_DROPOUT = 1e-3, 0.5, 0.3


def main() -> int:
    parser = side_by_side.parser(__doc__, repeats=5)
    parser.add_argument("--steps", type=int, default=40, help="steps measured (default 40; 390: all rows)")
    parser.add_argument("--warmup", type=int, default=5, help="steps before the clock starts (default 5)")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    flags = parser.parse_args()
    side_by_side.needed("HF_KIT_DATA")
    if flags.measure in ("kit", "batches"):
        train_with_kit(flags)
    elif flags.measure:
        train_in_a_loop(flags)
    else:
        with tempfile.TemporaryDirectory(prefix="lstm_training_") as folder:
            os.environ["HF_DATASETS_CACHE"] = f"{folder}/cache"
            compare(flags, Path(folder))
    return 0


def compare(flags: argparse.Namespace, folder: Path) -> None:
    lines = side_by_side.evenly(side_by_side.data_lines("imdb", "train.jsonl"), flags.steps * BATCH)
    (folder / "train.jsonl").write_text("".join(lines), encoding="utf-8")
    print("writing down the kit's batches ...", flush=True)
    side_by_side.measure_self("batches", folder, ["--folder", str(folder)])
    runs, best = training_rates.measure(
        list(NAMES),
        flags.repeats,
        folder,
        lambda own: model_flops.lstm_flops(own["lengths"], EMBEDDING, HIDDEN, directions=2),
    )
    what = f"BiLSTM {EMBEDDING}/{HIDDEN}, IMDb cut at {LONGEST} tokens, batches of {BATCH}"
    text = training_rates.about(what, runs["kit"][0], flags.repeats, flags.warmup, model_flops.LSTM_FORMULA, best)
    text.append("The padded loop is a weaker model as well: for most texts it classifies the state after padding.")
    settings = {"steps": flags.steps, "warmup": flags.warmup, "batch": BATCH, "bf16_flops": best}
    data = {"settings": settings, "runs": runs}
    side_by_side.write_results("lstm_training", text, [training_rates.table(runs, NAMES)], data)
    training_rates.draw("lstm_training", runs, NAMES)


def train_with_kit(flags: argparse.Namespace) -> None:
    """Writes the measured numbers, or for `batches` the rows of each step of the measured epoch, for the loops."""
    ask_for_huge_pages(["text_classification/lstm.yaml"])  # before torch loads, as `hf-kit train` does
    import measured_training  # loads torch, as do the others imported so late

    network = {"embedding_dim": EMBEDDING, "hidden_dim": HIDDEN, "bidirectional": True, "pooling": "max"}
    network |= {"embedding_dropout": EMBEDDING_DROPOUT, "classifier_dropout": CLASSIFIER_DROPOUT}

    def attach(trainer) -> None:
        if flags.measure == "kit":
            measured_training.MeasuredEpoch(trainer, flags.warmup, flags.result)
        else:
            write_batches(trainer, measured_training.EPOCHS - 1, flags.folder / "batches.json")
            side_by_side.finish({}, flags.result)

    with tempfile.TemporaryDirectory(dir=flags.folder) as run_folder:
        words = f"text_classification/lstm.yaml --train_file {flags.folder}/train.jsonl --max_length {LONGEST}"
        words += f" --validation_file {os.environ['HF_KIT_DATA']}/imdb/test.jsonl --max_eval_samples {BATCH}"
        words += f" --per_device_train_batch_size {BATCH} --num_train_epochs {measured_training.EPOCHS}"
        words += f" --learning_rate {LEARNING_RATE} --eval_strategy no --save_strategy no"
        words += f" --load_best_model_at_end False --baselines False --output_dir {run_folder}"
        measured_training.train_kit([*words.split(), "--config_overrides", json.dumps(network)], attach)


def write_batches(trainer, epoch: int, path: Path) -> None:
    """`{vocab_size, batches: [[token ids of a row, ...], ...], labels: [[...], ...]}` of that epoch, the first is 0."""
    loader = trainer.get_train_dataloader()
    loader.set_epoch(epoch)
    ids, labels = ([*trainer.train_dataset[name]] for name in ("input_ids", "labels"))
    dealt = [list(map(int, rows)) for rows in loader.batch_sampler]
    batches = [[[int(token) for token in ids[i]] for i in rows] for rows in dealt]
    answers = [[int(labels[i]) for i in rows] for rows in dealt]
    facts = {"vocab_size": trainer.model.config.vocab_size, "batches": batches, "labels": answers}
    path.write_text(json.dumps(facts))


def train_in_a_loop(flags: argparse.Namespace) -> None:
    """The usual loop over ready batches; building their tensors counts, as it does for the kit."""
    import torch
    from torch import nn

    facts = json.loads((flags.folder / "batches.json").read_text())
    torch.manual_seed(0)
    model = plain_classifier(facts["vocab_size"], packed=flags.measure == "packed")
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    inside = 0.0

    def step(rows: list[list[int]], labels: list[int]) -> None:
        nonlocal inside
        longest = max(map(len, rows)) if flags.measure == "packed" else LONGEST
        ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids in rows])  # [b, t]
        lengths, labels = torch.tensor([len(ids) for ids in rows]), torch.tensor(labels)
        optimizer.zero_grad()
        start = time.perf_counter()
        nn.functional.cross_entropy(model(ids, lengths), labels).backward()
        optimizer.step()
        inside += time.perf_counter() - start

    batches = list(zip(facts["batches"], facts["labels"], strict=True))
    for batch in islice(cycle(batches), flags.warmup):
        step(*batch)
    inside, start = 0.0, time.perf_counter()
    for batch in batches:
        step(*batch)
    seconds = time.perf_counter() - start
    lengths = [len(ids) for ids in chain(*facts["batches"])]
    numbers = {"seconds": seconds, "inside_seconds": inside, "steps": len(batches), "rows": len(lengths)}
    side_by_side.finish(numbers | {"tokens": sum(lengths), "lengths": lengths}, flags.result)


def plain_classifier(vocab_size: int, packed: bool):
    """Embedding -> `nn.LSTM` in both directions -> max over valid steps (packed) or the last step -> linear."""
    from torch import nn
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    class PlainClassifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(vocab_size, EMBEDDING, padding_idx=0)
            self.embedding_dropout = nn.Dropout(EMBEDDING_DROPOUT)
            self.lstm = nn.LSTM(EMBEDDING, HIDDEN, batch_first=True, bidirectional=True)
            self.classifier_dropout = nn.Dropout(CLASSIFIER_DROPOUT)
            self.classifier = nn.Linear(2 * HIDDEN, 2)

        def forward(self, ids, lengths):
            embedded = self.embedding_dropout(self.embedding(ids))  # [b, t, e]
            if packed:
                states, _ = self.lstm(pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False))
                states, _ = pad_packed_sequence(states, batch_first=True, padding_value=float("-inf"))
                pooled = states.amax(1)  # [b, 2h]
            else:
                pooled = self.lstm(embedded)[0][:, -1]
            return self.classifier(self.classifier_dropout(pooled))

    return PlainClassifier()


if __name__ == "__main__":
    sys.exit(main())
