"""A fresh process without the kit tells a model that works elsewhere from one that does not."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from tiny import QUIET_RUN, reviews, write_csv

from hf_kit.cli import main
from hf_kit.errors import UserError
from hf_kit.hub.contents import model_files, stage
from hf_kit.proof.prove import failure, is_proof_of, prove
from hf_kit.proof.reference import read_reference
from hf_kit.saved_run import open_task

pytestmark = pytest.mark.proof
TINY_PAIRS = ["train", "text_classification/lstm.yaml", *QUIET_RUN, "--max_steps=2"]
TINY_PAIRS += ['--config_overrides={"embedding_dim":8,"hidden_dim":8}']


@pytest.fixture
def staged(made_once, tmp_path):
    """What a finished run would publish, in copies that may be spoilt."""
    shutil.copytree(made_once / "run", tmp_path / "run")
    target = tmp_path / "staged"
    files = model_files(tmp_path / "run")
    stage({name: c if isinstance(c, bytes) else c.read_bytes() for name, c in files.items()}, target)
    return target


def proof_of(staged: Path) -> dict:
    run = staged.parent / "run"
    return prove(staged, read_reference(run), open_task(run), None)


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(staged: Path, change) -> None:
    weights = load_file(staged / "model.safetensors")
    change(weights)
    save_file(weights, staged / "model.safetensors", metadata={"format": "pt"})


def rename_labels(staged: Path) -> None:
    edit(staged / "config.json", id2label={"0": "good", "1": "bad"}, label2id={"good": 0, "bad": 1})


def swap_words(staged: Path) -> None:
    path = staged / "tokenizer.json"
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    words = list(vocabulary)[-20:]
    for word, other in zip(words, reversed(words), strict=True):
        vocabulary[word] = len(vocabulary) - 20 + words.index(other)
    path.write_text(json.dumps(content))


def ask_for(line: str):
    def change(staged: Path) -> None:
        path = staged / "modeling_lstm.py"
        path.write_text(path.read_text().replace("import torch\n", f"{line}\nimport torch\n", 1))

    return change


def test_a_whole_model_is_proven_and_only_its_very_files(staged, monkeypatch):
    run, ended = subprocess.run, []
    monkeypatch.setattr(subprocess, "run", lambda *words, **options: ended.append(run(*words, **options)) or ended[-1])
    proof = proof_of(staged)
    assert ended[0].stdout == ""  # nobody was asked whether to run the folder's code
    assert proof["passed"], failure(proof)
    names = [check["name"] for check in proof["checks"]]
    assert names == [
        "nothing_random",
        "same_inputs",
        "same_outputs",
        "same_label_names",
        "usage_runs",
        "without_the_kit",
        "without_a_network",
    ]
    assert 'pipeline("text-classification", model="REPO", trust_remote_code=True)' in proof["usage"]
    assert str(staged) not in json.dumps(proof)
    assert is_proof_of(proof, staged)
    edit(staged / "config.json", pad_token_id=1)
    assert not is_proof_of(proof, staged)


QUICK = ("other weights", "code that needs the kit")
BROKEN = {
    "other weights": (
        lambda staged: edit_weights(staged, lambda w: w["classifier.bias"].add_(0.01)),
        "same_outputs",
    ),
    "no head": (
        lambda staged: edit_weights(staged, lambda w: [w.pop(k) for k in list(w) if k.startswith("classifier")]),
        "nothing_random",
    ),
    "labels exchanged": (rename_labels, "same_label_names"),
    "another tokenizer": (swap_words, "same_inputs"),
    "code that needs the kit": (ask_for("import hf_kit"), "loads"),
    "code that asks the network": (
        ask_for("import socket\ntry:\n    socket.create_connection(('127.0.0.1', 9))\nexcept OSError:\n    pass"),
        "without_a_network",
    ),
    "code left out": (lambda staged: (staged / "cpu_lstm.py").unlink(), "loads"),
}


@pytest.mark.parametrize(
    "case", [case if case in QUICK else pytest.param(case, marks=pytest.mark.slow) for case in BROKEN]
)
def test_what_does_not_work_elsewhere_is_found(case, staged):
    spoil, check = BROKEN[case]
    spoil(staged)
    proof = proof_of(staged)
    assert not proof["passed"]
    assert check in [one["name"] for one in proof["checks"] if not one["passed"]], proof["checks"]


def test_without_the_models_answers_nothing_is_proven(staged):
    path = staged.parent / "run" / "proof_rows.jsonl"
    path.write_text('{"inputs": 1}\n')
    with pytest.raises(UserError, match="proof_rows"):
        proof_of(staged)
    path.unlink()
    with pytest.raises(UserError, match="train again"):
        proof_of(staged)


def test_a_model_of_pairs_is_proven(tmp_path):
    rows = [(text, other, label) for (text, label), (other, _) in zip(reviews(), reviews(seed=9), strict=True)]
    write_csv(tmp_path / "reviews.csv", rows, ("text", "text2", "label"))
    write_csv(tmp_path / "dev.csv", rows[:10], ("text", "text2", "label"))
    assert main([*TINY_PAIRS, "--output_dir=run"]) == 0
    proof = json.loads(Path("run/proof.json").read_text())
    assert proof["passed"], proof["checks"]
