"""Every family goes the whole way: train, evaluate, save, reload, same logits; then LoRA on what was saved."""

import json

import pytest
import torch
from peft import PeftModel
from tiny import FAMILIES, reviews, write_csv
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from hf_kit.cli import main

TEXTS = ["a lovely film", "the rude waiter and the cold room on the very slow box", "happy"]


def train(*flags: str) -> None:
    common = ("--vocab_size=200", "--baselines=False", "--disable_tqdm=True", "--num_train_epochs=2", "--max_length=32")
    assert main(["train", *flags, *common]) == 0


@torch.inference_mode()
def logits(model, tokenizer) -> torch.Tensor:
    return model.eval()(**tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")).logits


@pytest.mark.parametrize("family", FAMILIES)
def test_the_whole_way_and_lora(family, tmp_path, capsys):
    write_csv(tmp_path / "reviews.csv", reviews())
    write_csv(tmp_path / "more.csv", reviews(20, seed=1))
    overrides = json.dumps(FAMILIES[family])
    train(f"--model_type={family}", f"--config_overrides={overrides}", "--train_file=reviews.csv", "--output_dir=base")

    results = json.loads((tmp_path / "base/results.json").read_text())
    assert {"validation", "test"} <= set(results)
    tokenizer = AutoTokenizer.from_pretrained("base")
    model = AutoModelForSequenceClassification.from_pretrained("base")
    assert model.config.id2label == {0: "bad", 1: "good"}
    before = logits(model, tokenizer)

    # The folder scores other rows as its own trainer scored them, and predicts what the reloaded model says.
    capsys.readouterr()
    assert main(["evaluate", "base", "--test_file=more.csv", "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert scored["rows"] == 20
    assert main(["predict", "base", *TEXTS, "--json", "--bf16=False"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = before.softmax(-1)[:, 1]
    assert [a["scores"]["good"] for a in answers] == pytest.approx(expected.tolist(), abs=1e-5)

    # LoRA on the saved folder: base untouched, head trained, adapter and merged folder agree.
    adapt = ("--model_name_or_path=base", "--use_peft", "--lora_r=4", "--learning_rate=1e-2")
    train(*adapt, "--train_file=reviews.csv", "--output_dir=lora")
    base = AutoModelForSequenceClassification.from_pretrained("base")
    head = {n: p.clone() for n, p in base.named_parameters()}
    assert torch.equal(logits(base, tokenizer), before)
    adapted = PeftModel.from_pretrained(base, "lora")
    merged = AutoModelForSequenceClassification.from_pretrained("lora/merged")
    after = logits(merged, tokenizer)
    assert torch.allclose(logits(adapted, tokenizer), after, atol=1e-5)
    assert not torch.allclose(after, before, atol=1e-4)
    changed = [n for n, p in merged.named_parameters() if not torch.equal(p, head[n])]
    assert any(n.startswith(("classifier", "score", "head")) for n in changed), changed
    assert any(not n.startswith(("classifier", "score", "head", "pre_classifier")) for n in changed), changed
    assert main(["predict", "lora", "a lovely film"]) == 0
