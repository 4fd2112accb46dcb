"""Every family of image models goes the whole way: train, evaluate, save, reload, same logits; then LoRA on that."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from PIL import Image
from tiny import IMAGE_FAMILIES, write_photos
from transformers import AutoImageProcessor, AutoModelForImageClassification

from hf_kit.cli import main

HEADS = ("classifier", "head")


def train(*flags: str) -> None:
    common = "--baselines=False --disable_tqdm=True --num_train_epochs=2 --per_device_train_batch_size=8".split()
    assert main(["train", "--task=image_classification", *flags, *common]) == 0


@torch.inference_mode()
def logits(model, processor, paths) -> torch.Tensor:
    images = [Image.open(path).convert("RGB") for path in paths]
    return model.eval()(**processor(images=images, return_tensors="pt")).logits


@pytest.mark.parametrize(
    "family",
    [name if name in ("vit", "resnet") else pytest.param(name, marks=pytest.mark.slow) for name in IMAGE_FAMILIES],
)
def test_the_whole_way_and_lora(family, tmp_path, capsys):
    write_photos(tmp_path / "photos")
    write_photos(tmp_path / "more", 5, seed=1)
    paths = sorted(str(path) for path in Path("more").rglob("*.png"))
    overrides = json.dumps(IMAGE_FAMILIES[family])
    train(f"--model_type={family}", f"--config_overrides={overrides}", "--train_file=photos", "--output_dir=base")

    results = json.loads((tmp_path / "base/results.json").read_text())
    assert {"validation", "test"} <= set(results)
    processor = AutoImageProcessor.from_pretrained("base", backend="pil")
    model = AutoModelForImageClassification.from_pretrained("base")
    assert model.config.id2label == {0: "lying", 1: "upright"}
    before = logits(model, processor, paths)

    # The folder scores other images as its own trainer scored them, and predicts what the reloaded model says.
    capsys.readouterr()
    assert main(["evaluate", "base", "--test_file=more", "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert scored["rows"] == 10
    assert main(["predict", "base", "more", "--json", "--bf16=False"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [a["image"] for a in answers] == paths
    expected = before.softmax(-1)[:, 1]
    assert [a["scores"]["upright"] for a in answers] == pytest.approx(expected.tolist(), abs=1e-5)

    # LoRA on the saved folder: base untouched, head trained, adapter and merged folder agree.
    adapt = ("--model_name_or_path=base", "--use_peft", "--lora_r=4", "--learning_rate=1e-2")
    train(*adapt, "--train_file=photos", "--output_dir=lora")
    base = AutoModelForImageClassification.from_pretrained("base")
    started = {n: p.clone() for n, p in base.named_parameters()}
    assert torch.equal(logits(base, processor, paths), before)
    adapted = PeftModel.from_pretrained(base, "lora")
    merged = AutoModelForImageClassification.from_pretrained("lora/merged")
    after = logits(merged, processor, paths)
    assert torch.allclose(logits(adapted, processor, paths), after, atol=1e-4)
    assert not torch.allclose(after, before, atol=1e-4)
    changed = [n for n, p in merged.named_parameters() if not torch.equal(p, started[n])]
    assert any(n.startswith(HEADS) for n in changed), changed
    assert any(not n.startswith(HEADS) and p.dim() > 1 for n, p in merged.named_parameters() if n in changed), changed
    assert main(["predict", "lora", paths[0]]) == 0


def test_the_head_is_swapped_by_the_number_of_labels(tmp_path, capsys):
    write_photos(tmp_path / "photos")
    overrides = json.dumps(IMAGE_FAMILIES["vit"])
    train("--model_type=vit", f"--config_overrides={overrides}", "--train_file=photos", "--output_dir=two")
    rng = np.random.default_rng(5)
    (tmp_path / "photos/noise").mkdir()
    for i in range(20):
        Image.fromarray(rng.integers(0, 255, (16, 20, 3)).astype(np.uint8)).save(tmp_path / f"photos/noise/{i}.png")
    capsys.readouterr()
    train("--model_name_or_path=two", "--train_file=photos", "--output_dir=three")
    assert "not in the checkpoint, so new: classifier" in capsys.readouterr().out
    assert json.loads((tmp_path / "three/config.json").read_text())["id2label"]["1"] == "noise"
