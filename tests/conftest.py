"""Every test runs offline, without a GPU's noise, and in a folder of its own."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("HF_KIT_TEST_DEVICES", "")

import atexit
import contextlib
import io
import json
import shutil
import tempfile

# Before `datasets` is imported: it reads its cache folder once.
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="hf_kit_tests_")

import pytest
import torch
from tiny import FAMILIES, reviews, write_csv

atexit.register(shutil.rmtree, os.environ["HF_DATASETS_CACHE"], ignore_errors=True)
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Run folders are relative to where the command starts."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def proof_without_a_process(request, monkeypatch):
    """Where a test is not about it, a finished run is not proven: a fresh process takes seconds."""
    if "proof" not in request.keywords:
        monkeypatch.setattr("hf_kit.publishing.prove", unproven)


def unproven(*_):
    check = {"name": "nothing", "passed": True, "detail": "nothing was looked at"}
    return {"passed": True, "checks": [check], "usage": "", "usage_output": None, "files": {}, "seconds": 0.0}


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """A folder with 60 `reviews.csv`, a small checkpoint `bert` and a finished run `run`, to be copied and spoilt."""
    from transformers import BertConfig, BertForMaskedLM

    from hf_kit.cli import main
    from hf_kit.tokenizer_training import train_tokenizer

    folder, rows = tmp_path_factory.mktemp("made"), reviews(60)
    BertForMaskedLM(BertConfig(vocab_size=200, **FAMILIES["bert"])).save_pretrained(folder / "bert")
    train_tokenizer([text for text, _ in rows], vocab_size=200).save_pretrained(folder / "bert")
    write_csv(folder / "reviews.csv", rows)
    lstm = ["--model_type=hf_kit_lstm", f"--config_overrides={json.dumps(FAMILIES['hf_kit_lstm'])}", "--vocab_size=200"]
    quick = ["--num_train_epochs=1", "--disable_tqdm", "--baselines=False"]
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        patch.setattr("hf_kit.publishing.prove", unproven)
        assert main(["train", *lstm, *quick, "--train_file=reviews.csv", "--output_dir=run"]) == 0
    return folder
