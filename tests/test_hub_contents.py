"""What is published of a run folder: the list's files, as whole models or as adapters, and nothing else."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hf_kit.errors import UserError
from hf_kit.hub.contents import facts_of, model_files, stage

WHOLE = {"config.json", "model.safetensors", "tokenizer.json"}


def write(folder: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return folder


def model(folder: Path, model_type: str = "bert") -> Path:
    write(folder, {"config.json": {"model_type": model_type, "_name_or_path": "/home/a/b"}, "tokenizer.json": {}})
    save_file({"w": torch.zeros(1)}, folder / "model.safetensors")
    return folder


@pytest.fixture
def adapter(tmp_path):
    folder = tmp_path / "run"
    write(folder, {"adapter_config.json": {"base_model_name_or_path": "me/base"}, "tokenizer.json": {}})
    save_file({"w": torch.zeros(1)}, folder / "adapter_model.safetensors")
    model(folder / "merged")
    return folder


def test_only_what_is_on_the_list_is_published(tmp_path):
    folder = model(tmp_path / "run")
    for name in (
        "optimizer.pt",
        "training_args.bin",
        "predictions_test.jsonl",
        "proof_rows.jsonl",
        "samples_test.jsonl",
        "notes.txt",
        ".env",
    ):
        (folder / name).write_text("x")
    write(folder, {"checkpoint-5/model.safetensors": "x", "modeling_evil.py": "x"})
    assert set(model_files(folder)) == WHOLE


def test_a_translators_tokenizer_and_how_it_writes_are_published(tmp_path):
    files = set(
        "generation_config.json source.spm target.spm sentencepiece.bpe.model spiece.model vocab.json "
        "target_vocab.json".split()
    )
    folder = model(tmp_path / "run")
    for name in files:
        (folder / name).write_text("{}")
    assert set(model_files(folder)) == WHOLE | files


def test_an_adapter_goes_with_how_its_model_writes(adapter, tmp_path):
    write(adapter, {"merged/generation_config.json": {"num_beams": 3, "_name_or_path": "/home/a/b"}})
    staged = stage(model_files(adapter), tmp_path / "staged")
    assert json.loads((staged / "generation_config.json").read_text()) == {"num_beams": 3}


def test_configurations_lose_what_is_of_this_machine(tmp_path):
    folder = model(tmp_path / "run")
    write(folder, {"tokenizer_config.json": {"is_local": True, "local_files_only": True, "unk_token": "[UNK]"}})
    staged = stage(model_files(folder), tmp_path / "staged")
    assert json.loads((staged / "config.json").read_text()) == {"model_type": "bert"}
    assert json.loads((staged / "tokenizer_config.json").read_text()) == {"unk_token": "[UNK]"}
    assert (staged / "model.safetensors").samefile(folder / "model.safetensors"), "weights are linked, not copied"


def test_an_adapter_goes_alone_where_its_base_can_be_had(adapter, tmp_path):
    alone = {"adapter_config.json", "adapter_model.safetensors", "config/config.json", "tokenizer.json"}
    assert set(model_files(adapter)) == alone
    assert set(model_files(adapter, merge_lora=True)) == WHOLE
    write(adapter, {"adapter_config.json": {"base_model_name_or_path": None}})
    assert set(model_files(adapter)) == WHOLE
    write(adapter, {"adapter_config.json": {"base_model_name_or_path": "me/base"}})
    model(adapter / "merged", "hf_kit_lstm")
    assert set(model_files(adapter)) == WHOLE


@pytest.mark.parametrize("lost", ["merged/config.json", "adapter_model.safetensors"])
def test_what_is_not_whole_is_not_published(adapter, lost):
    (adapter / lost).unlink()
    with pytest.raises(UserError, match=lost.split("/")[-1]):
        model_files(adapter)


def test_weights_must_be_there(tmp_path):
    folder = model(tmp_path / "run")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no weights"):
        model_files(folder)


def test_facts_leave_the_settings_of_this_machine_out(tmp_path):
    run = {"task": "t", "state": {}, "precision": "no", "fingerprint": "f", "fingerprint_of": {"deepspeed": "/a/b"}}
    files = {"run.json": run, "results.json": {}, "figures/a.png": "x", "figures/a.svg": "x"}
    folder = write(tmp_path / "run", files)
    files = facts_of(folder, "task: t\n")
    assert set(files) == {"run.json", "recipe.yaml", "results.json", "figures/a.png"}
    assert "fingerprint_of" not in json.loads(files["run.json"])
