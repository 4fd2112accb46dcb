"""Timing of training steps on one GPU: texts of real lengths, variants in turn, tables.

Lengths are those of imdb and SST-2 sentences in BERT's word pieces where HF_KIT_DATA names the folder of the data sets,
else drawn from lognormal distributions fitted to them (`LENGTHS`). All variants of a table take texts of the same
lengths, in turn, in several rounds; it holds medians (least..most) of real tokens a second, and the share of the best
bf16 matrix-product rate of the same run.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers
from torch import nn
from transformers import BertTokenizerFast

# Mean and standard deviation of the logarithm of a text's tokens; texts to a batch; tokens at most.
LENGTHS = {"imdb": (5.52, 0.65, 32, 512), "sst2": (3.12, 0.49, 256, 512)}
ROWS = {"imdb": ("imdb/train.jsonl", 10), "sst2": ("sst2/train_sentences.jsonl", 1)}  # file, every how many-th row
VOCABULARY = 30522
ROUNDS, WARM_UP, STEPS = 5, 5, 20
Batch = dict[str, torch.Tensor]


def draw_lengths(name: str) -> np.ndarray:
    """Tokens of 2,500 texts or so, `[texts]`."""
    mean, deviation, _, longest = LENGTHS[name]
    if "HF_KIT_DATA" not in os.environ:
        drawn = np.exp(np.random.default_rng(0).normal(mean, deviation, 2500)).round()
    else:
        data, (file, every) = Path(os.environ["HF_KIT_DATA"]), ROWS[name]
        tokenizer = BertTokenizerFast(vocab=str(data / "vocab/bert-base-uncased.vocab.txt"))
        with open(data / file, encoding="utf-8") as lines:
            texts = [json.loads(line)["text"] for line in lines][::every]
        drawn = np.array([len(ids) for ids in tokenizer(texts)["input_ids"]])
    return drawn.clip(4, longest).astype(int)


def make_batches(
    lengths: np.ndarray, size: int, by_length: bool, device: torch.device, multiple: int = 1
) -> list[Batch]:
    """`STEPS` batches in a random order; `by_length` puts texts of nearly equal length together, as the kit does.

    Args:
        multiple: padded lengths are multiples of this.
    """
    rng = np.random.default_rng(0)
    lengths = rng.choice(lengths, STEPS * size)
    groups = (np.sort(lengths) if by_length else lengths).reshape(STEPS, size)
    batches = []
    for group in rng.permutation(groups):
        longest = -(-group.max() // multiple) * multiple
        mask = torch.arange(longest) < torch.from_numpy(rng.permutation(group))[:, None]  # [b, t]
        ids = torch.from_numpy(rng.integers(5, VOCABULARY, mask.shape)) * mask
        labels = torch.from_numpy(rng.integers(0, 2, size))
        batches.append({"input_ids": ids, "attention_mask": mask.long(), "labels": labels})
    return [{name: values.to(device) for name, values in batch.items()} for batch in batches]


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def trainer(model: nn.Module, batches: list[Batch], bf16: bool = True) -> Callable[[], float]:
    """A function that trains once on all batches and returns real tokens a second; it has been warmed up."""
    device = batches[0]["input_ids"].device
    model.to(device).train()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-5, fused=device.type == "cuda")
    tokens = sum(batch["attention_mask"].sum().item() for batch in batches)

    def step(batch: Batch) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        nn.functional.cross_entropy(logits.float(), batch["labels"]).backward()
        optimizer.step()
        optimizer.zero_grad()

    def measure() -> float:
        synchronize(device)
        start = time.perf_counter()
        for batch in batches:
            step(batch)
        synchronize(device)
        return tokens / (time.perf_counter() - start)

    for batch in [*batches[:WARM_UP], max(batches, key=lambda batch: batch["input_ids"].numel())]:
        step(batch)
    return measure


def matrix_rate(device: torch.device, sizes: tuple[int, ...] = (2048, 8192)) -> float:
    """The best FLOP/s of square bf16 products."""
    best = 0.0
    for n in sizes:
        a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
        for _ in range(10):
            synchronize(device)
            start = time.perf_counter()
            for _ in range(10):
                a @ b
            synchronize(device)
            best = max(best, 10 * 2 * n**3 / (time.perf_counter() - start))
    return best


def rows(variants: dict[str, Callable], flops_a_token: float, rate: float) -> list[str]:
    """Lines of a table: the variants measured in turn; one that cannot run says why instead."""
    ready, lines = {}, []
    for name, make in variants.items():
        try:
            ready[name] = make()
        except Exception as reason:  # torch.compile's are of many kinds
            lines.append(f"| {name} | does not run: {' '.join(str(reason).split())[:120]} | | |")
    measured = {name: [] for name in ready}
    for _ in range(ROUNDS):
        for name, measure in ready.items():
            measured[name].append(measure())
    stock = next(iter(measured.values()))
    for name, values in measured.items():
        median = statistics.median(values)
        against = statistics.median(value / other for value, other in zip(values, stock, strict=True))
        share = median * flops_a_token / rate
        spread = f"{median:,.0f} ({min(values):,.0f}..{max(values):,.0f})"
        lines.append(f"| {name} | {spread} | {against:.2f}x | {share:.1%} |")
    return lines


def gpu(script: str) -> torch.device:
    """The GPU; where there is none, one line and exit status 1."""
    if not torch.cuda.is_available():
        sys.exit(f"{Path(script).name} measures a GPU, and PyTorch sees none here (`hf-kit doctor` says why)")
    return torch.device("cuda")


def write(script: str, rate: float, tables: dict[str, list[str]]) -> None:
    """`<script>.md` beside the script; printed as well."""
    lengths = "the data sets" if "HF_KIT_DATA" in os.environ else "the fitted distributions"
    lines = [
        f"Made by `python benchmarks/{Path(script).name}` on {torch.cuda.get_device_name()}, torch "
        f"{torch.__version__}, transformers {transformers.__version__}; lengths from {lengths}.",
        "",
        f"Best bf16 matrix product: {rate / 1e12:,.0f} TFLOP/s.",
    ]
    for title, table in tables.items():
        head = f"| {title} | real tokens/s | against the first | share of the matrix rate |"
        lines += ["", head, "|---|---|---|---|", *table]
    Path(script).with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
