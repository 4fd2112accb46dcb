"""Every test runs offline, without a GPU's noise, and in a folder of its own."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("HF_KIT_TEST_DEVICES", "")

import tempfile

# Before `datasets` is imported: it reads its cache folder once.
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="hf_kit_tests_")

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Run folders are relative to where the command starts."""
    monkeypatch.chdir(tmp_path)
