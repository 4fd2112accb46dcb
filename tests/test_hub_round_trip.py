"""Push, pull, predict, go on with another head, with LoRA, from the adapter: for every family of models."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_server import HubServer, connect, environment
from huggingface_hub import ModelCard
from PIL import Image
from tiny import FAMILIES, IMAGE_FAMILIES, MARIAN, pairs, reviews, write_csv
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hf_kit.cli import main

TEXTS = ["a lovely film", "the rude waiter and the cold room on the very slow box", "happy"]
QUICK = ("--baselines=False", "--disable_tqdm=True", "--max_steps=1", "--max_length=32", "--vocab_size=200")
FAST = ("hf_kit_lstm", "bert")
# What a stranger does: no kit, the network of this machine alone.
NO_KIT = """
import json, sys
class NoKit:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hf_kit":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, NoKit())
"""
STRANGER = f"""{NO_KIT}
import numpy as np
import torch
exec(sys.argv[1].replace("REPO", sys.argv[2]))
model = getattr(classify, "model")
texts = json.loads(sys.argv[3])
with torch.inference_mode():
    logits = model(**classify.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")).logits
print(json.dumps({{"logits": logits.tolist(), "answer": answer[0]["label"]}}))
"""


@pytest.fixture
def hub(monkeypatch):
    with HubServer() as server:
        connect(monkeypatch, server)
        yield server


def train(*flags: str) -> None:
    assert main(["train", *flags, *QUICK]) == 0


@torch.inference_mode()
def logits(name: str) -> torch.Tensor:
    tokenizer, model = AutoTokenizer.from_pretrained(name), AutoModelForSequenceClassification.from_pretrained(name)
    return model.eval()(**tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")).logits


def predicted(name: str, capsys) -> list[dict]:
    capsys.readouterr()
    assert main(["predict", name, *TEXTS, "--json", "--bf16=False"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in FAMILIES]
)
def test_there_and_back(family, hub, capsys):
    write_csv(Path("reviews.csv"), reviews(60))
    stars = [(text, f"{len(text) % 3} stars") for text, _ in reviews(60)]
    write_csv(Path("stars.csv"), stars)
    push = ("--push_to_hub", "--learning_rate=1e-2")
    fresh = (f"--model_type={family}", f"--config_overrides={json.dumps(FAMILIES[family])}")
    train(*fresh, "--train_file=reviews.csv", "--output_dir=base", *push, "--hub_model_id=me/base")
    assert torch.equal(logits("me/base"), logits("base"))
    assert predicted("me/base", capsys) == predicted("base", capsys)

    # Another head on it, from the Hub.
    train("--model_name_or_path=me/base", "--train_file=stars.csv", "--output_dir=stars", *push, "--hub_model_id=me/s")
    assert logits("me/s").shape == (3, 3)
    assert torch.equal(logits("me/s"), logits("stars"))

    # LoRA on it: the adapter alone goes up, for its base is there; but a model of ours goes up merged.
    lora = ("--model_name_or_path=me/base", "--use_peft", "--lora_r=4", "--train_file=stars.csv")
    train(*lora, "--output_dir=lora", *push, "--hub_model_id=me/adapter")
    there = set(hub.files("me/adapter"))
    adapter, whole = {"adapter_model.safetensors", "adapter_config.json"}, {"model.safetensors", "config.json"}
    if family == "hf_kit_lstm":
        assert whole <= there and not adapter & there
    else:
        assert adapter | {"config/config.json"} <= there and not whole & there
        assert json.loads(hub.files("me/adapter")["adapter_config.json"])["base_model_name_or_path"] == "me/base"
    for pulled, own in zip(predicted("me/adapter", capsys), predicted("lora", capsys), strict=True):
        assert pulled["scores"] == pytest.approx(own["scores"], abs=1e-5)

    # On from the adapter; and the merged model, which loads as it is.
    train("--model_name_or_path=me/adapter", "--train_file=stars.csv", "--output_dir=on")
    assert main(["push", "lora", "me/merged", "--merge_lora"]) == 0
    assert torch.equal(logits("me/merged"), logits("lora/merged"))


@pytest.mark.proof
@pytest.mark.slow
@pytest.mark.parametrize("family", ["hf_kit_lstm", "bert"])
def test_a_stranger_uses_what_was_pushed(family, hub, tmp_path):
    write_csv(Path("reviews.csv"), reviews(60))
    push = ("--push_to_hub", "--learning_rate=1e-2", "--train_file=reviews.csv")
    fresh = (f"--model_type={family}", f"--config_overrides={json.dumps(FAMILIES[family])}")
    train(*fresh, "--output_dir=base", *push, "--hub_model_id=me/base")
    train("--model_name_or_path=me/base", "--use_peft", "--output_dir=lora", *push, "--hub_model_id=me/lora")
    for repo, folder in (("me/base", "base"), ("me/lora", "lora/merged")):
        proof = json.loads(hub.files(repo)["proof.json"])
        assert proof["passed"]
        command = [sys.executable, "-I", "-c", STRANGER, proof["usage"], repo, json.dumps(TEXTS)]
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON"))}
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=plain | environment(hub, token=None, cache=tmp_path / "cache"),
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        said = json.loads(done.stdout.splitlines()[-1])
        assert said["answer"] in ("good", "bad")
        assert torch.allclose(torch.tensor(said["logits"]), logits(folder), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=[pytest.mark.proof] * (name in ("vit", "resnet"))) for name in IMAGE_FAMILIES]
)
def test_images_there_and_back(family, hub, capsys):
    few = (
        "--baselines=False",
        "--disable_tqdm=True",
        "--max_steps=1",
        "--max_train_samples=60",
        "--max_eval_samples=20",
    )
    push = ("--task=image_classification", "--push_to_hub", *few)
    overrides = f"--config_overrides={json.dumps(IMAGE_FAMILIES[family])}"
    assert (
        main(["train", f"--model_type={family}", overrides, "--output_dir=base", *push, "--hub_model_id=me/base"]) == 0
    )
    there = hub.files("me/base")
    assert {"model.safetensors", "preprocessor_config.json"} <= set(there) and json.loads(there["proof.json"])["passed"]
    assert "figures/worst_errors.png" not in there
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save("photo.png")
    answers = []
    for name in ("me/base", "base"):
        capsys.readouterr()
        assert main(["predict", name, "photo.png", "--json", "--bf16=False"]) == 0
        answers.append(json.loads(capsys.readouterr().out.splitlines()[-1]))
    assert answers[0] == answers[1]
    lora = ("--model_name_or_path=me/base", "--use_peft", "--lora_r=2", "--output_dir=lora", "--hub_model_id=me/lora")
    assert main(["train", *lora, *push]) == 0
    assert "adapter_model.safetensors" in hub.files("me/lora")
    assert json.loads(hub.files("me/lora")["proof.json"])["passed"]
    assert main(["predict", "me/lora", "photo.png"]) == 0


SOURCES = ["two red dog.", "one house.", "five"]
WRITERS = {"marian": MARIAN, "hf_kit_lstm_seq2seq": {"embedding_dim": 16, "hidden_dim": 16}}
PAIRS = ("--task=translation", "--train_file=pairs.csv", "--baselines=False", "--disable_tqdm=True", "--max_steps=2")
# A length and a number of beams that are no default, nor those of the base: what is pushed must say them.
OWN_WAY = ("--generation_max_length=9", "--generation_num_beams=3")


def translated(name: str, capsys) -> list[str]:
    capsys.readouterr()
    assert main(["predict", name, *SOURCES, "--json", "--bf16=False"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    return [json.loads(line)["translation"] for line in lines]


def push_a_translator_and_its_adapter(family: str) -> None:
    write_csv(Path("pairs.csv"), pairs(60), ("en", "zh"))
    fresh = (f"--model_type={family}", f"--config_overrides={json.dumps(WRITERS[family])}", "--vocab_size=80")
    push = ("--push_to_hub", *PAIRS)
    base = ("--output_dir=base", "--hub_model_id=me/base", "--generation_max_length=13")
    assert main(["train", *fresh, *push, *base]) == 0
    lora = ("--model_name_or_path=me/base", "--use_peft", "--lora_r=4", "--output_dir=lora", "--hub_model_id=me/lora")
    strategy = () if family == "hf_kit_lstm_seq2seq" else ("--hub_strategy=every_save",)
    assert main(["train", *lora, *push, *OWN_WAY, *strategy]) == 0


@pytest.mark.parametrize("family", ["marian", pytest.param("hf_kit_lstm_seq2seq", marks=pytest.mark.slow)])
def test_translators_there_and_back(family, hub, capsys):
    push_a_translator_and_its_adapter(family)
    whole = {"model.safetensors", "config.json", "generation_config.json", "tokenizer.json"}
    adapter = {"adapter_model.safetensors", "adapter_config.json", "config/config.json"}
    for repo in ("me/base", "me/lora"):
        there = set(hub.files(repo))
        assert "figures/score_by_length.png" in there
        assert not any("samples" in name or "rows" in name or "predictions" in name for name in there), there
        if repo == "me/lora" and family == "marian":
            assert adapter | {"generation_config.json", "tokenizer.json"} <= there and not {"config.json"} & there
        else:  # a model of ours goes up merged
            assert whole <= there and not adapter & there
        writes = json.loads(hub.files(repo)["generation_config.json"])
        assert (writes["max_length"], writes["num_beams"]) == ((14, 4) if repo == "me/base" else (10, 3))
    assert "tok:zh" in hub.files("me/base")["README.md"].decode()
    for step in [commit for commit in hub.commits("me/lora") if commit.title.startswith("Step")]:
        assert json.loads(step.files["generation_config.json"])["num_beams"] == 3
    assert translated("me/base", capsys) == translated("base", capsys)
    assert translated("me/lora", capsys) == translated("lora", capsys)
    assert main(["push", "lora", "me/merged", "--merge_lora"]) == 0
    assert translated("me/merged", capsys) == translated("lora", capsys)


@pytest.mark.proof
@pytest.mark.slow
@pytest.mark.parametrize("family", WRITERS)
def test_a_stranger_runs_the_lines_of_a_translators_card(family, hub, tmp_path):
    push_a_translator_and_its_adapter(family)
    for repo in ("me/base", "me/lora"):
        assert json.loads(hub.files(repo)["proof.json"])["passed"]
        card = hub.files(repo)["README.md"].decode()
        metadata = ModelCard(card).data
        assert metadata.pipeline_tag == "translation" and metadata.language == ["en", "zh"]
        (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "PYTHON"))}
        done = subprocess.run(
            [sys.executable, "-I", "-c", f"{NO_KIT}\n{code}\nprint(answer)"],
            capture_output=True,
            text=True,
            env=plain | environment(hub, token=None, cache=tmp_path / "cache"),
            cwd=tmp_path,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        # A model of random weights may begin its sentence with spaces, which the card leaves out.
        assert f"# {done.stdout.splitlines()[-1].strip()}" in code
