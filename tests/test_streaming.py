"""Streaming: a run gets from a stream what it gets from the same rows in memory, and never holds them as a whole."""

import json
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from tiny import FAMILIES, reviews, write_csv

from hf_kit.cli import main

LSTM = (
    "--model_type=hf_kit_lstm",
    "--config_overrides=" + json.dumps(FAMILIES["hf_kit_lstm"] | {"classifier_dropout": 0.3}),
)
QUICK = ("--vocab_size=200", "--disable_tqdm=True", "--num_train_epochs=2", "--per_device_train_batch_size=8")


def run(*flags: str) -> int:
    return main(["train", *LSTM, *QUICK, *flags])


def write(kind: str, rows: list[tuple], name: str = "rows") -> str:
    path = Path(f"{name}.{kind}")
    if kind == "csv":
        return str(write_csv(path, rows))
    if kind == "jsonl":
        path.write_text("".join(json.dumps(dict(zip(("text", "label"), row, strict=True))) + "\n" for row in rows))
    else:
        Dataset.from_dict({"text": [r[0] for r in rows], "label": [r[1] for r in rows]}).to_parquet(path)
    return str(path)


def assert_same_run(one: str, two: str) -> None:
    first, second = load_file(f"{one}/model.safetensors"), load_file(f"{two}/model.safetensors")
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    results = [json.loads(Path(f"{name}/results.json").read_text()) for name in (one, two)]
    for part in ("validation", "test", "baselines"):
        assert results[0].get(part) == results[1].get(part)
    for part in ("steps", "epochs", "best_step"):
        assert results[0]["training"][part] == results[1]["training"][part]
    states = [json.loads(Path(f"{name}/run.json").read_text())["state"] for name in (one, two)]
    assert states[0] == states[1]
    assert Path(f"{one}/tokenizer.json").read_bytes() == Path(f"{two}/tokenizer.json").read_bytes()


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_set_that_fits_trains_to_the_same_weights_as_in_memory(kind):
    flags = ("--train_file", write(kind, reviews(117)), "--validation_file", write("csv", reviews(30, seed=9), "dev"))
    assert run(*flags, "--output_dir=memory") == 0
    assert run(*flags, "--output_dir=stream", "--streaming=True") == 0
    assert_same_run("memory", "stream")
