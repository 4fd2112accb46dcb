"""The commands as people type them, in processes of their own."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import FAMILIES, reviews, write_csv

import hf_kit

REPOSITORY = Path(hf_kit.__file__).parent.parent
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch"]
TRAIN = str(REPOSITORY / "recipes/train.py")
TINY = [
    "--model_type=hf_kit_lstm",
    f"--config_overrides={json.dumps(FAMILIES['hf_kit_lstm'])}",
    "--vocab_size=200",
    "--num_train_epochs=2",
    "--train_file=reviews.csv",
]


def start(command: list[str], expect: int = 0, **environment: str) -> subprocess.CompletedProcess:
    env = (
        {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | {"PYTHONPATH": str(REPOSITORY)} | environment
    )
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)
    assert done.returncode == expect, done.stdout + done.stderr
    return done


@pytest.mark.slow
def test_the_quickstart_as_printed_learns(tmp_path):
    done = start([*LAUNCH, TRAIN])
    results = json.loads((tmp_path / "runs/quickstart/results.json").read_text())
    assert results["test"]["accuracy"] > results["baselines"]["majority"]["test"]["accuracy"] + 0.15
    assert "hf-kit predict runs/quickstart" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_cpu_setting_launches(tmp_path):
    write_csv(tmp_path / "reviews.csv", reviews())
    config = REPOSITORY / "accelerate_configs/cpu.yaml"
    start([*LAUNCH, "--config_file", str(config), TRAIN, *TINY, "--output_dir=out"])
    assert (tmp_path / "out/results.json").is_file()


@pytest.mark.slow
def test_two_processes_form_one_run(tmp_path):
    write_csv(tmp_path / "reviews.csv", reviews(160))
    flags = [*TINY, "--baselines=False", "--test_split_percentage=20", "--bf16=False"]
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", TRAIN]
    done = start([*run, *flags, "--per_device_train_batch_size=8", "--output_dir=two"])
    assert done.stdout.count("2 process(es)") == 1
    start([sys.executable, TRAIN, *flags, "--per_device_train_batch_size=16", "--output_dir=one"])
    one, two = (json.loads((tmp_path / f"{name}/results.json").read_text()) for name in ("one", "two"))
    assert one["training"]["steps"] == two["training"]["steps"]
    for split in ("validation", "test"):
        assert one[split]["loss"] == pytest.approx(two[split]["loss"], abs=1e-3)
    # The same rows in the same steps: the same weights, but for the order of sums.
    first, second = load_file("one/model.safetensors"), load_file("two/model.safetensors")
    assert max((first[name] - second[name]).abs().max() for name in first) < 5e-3


@pytest.mark.slow
def test_a_mistake_is_one_line_without_a_traceback():
    done = start([sys.executable, "-m", "hf_kit.cli", "train", "--learning_rat=1"], expect=1)
    assert done.stderr.count("\n") <= 2 and "`learning_rate`" in done.stderr
    assert "Traceback" not in start([*LAUNCH, "-q", TRAIN, "--learning_rat=1"], expect=1).stderr


@pytest.mark.slow
def test_help_answers_without_loading_torch():
    code = "import sys; from hf_kit.cli import main; main(['--help']); assert 'torch' not in sys.modules"
    assert "hf-kit train" in start([sys.executable, "-c", code]).stdout


@pytest.mark.slow
def test_the_wheel_holds_recipes_and_launch_settings(tmp_path):
    start([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path), str(REPOSITORY)])
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"hf_kit/recipes/text_classification/quickstart.yaml", "hf_kit/accelerate_configs/cpu.yaml"} <= set(names)
    assert {"hf_kit/data/reviews_en.jsonl", "hf_kit/data/reviews_zh.jsonl"} <= set(names)
    # Unpacked elsewhere it finds its recipes inside itself.
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    code = "from hf_kit.recipe import find_recipe; print(find_recipe('text_classification/lstm.yaml'))"
    done = start([sys.executable, "-c", code], PYTHONPATH=str(tmp_path / "installed"))
    assert str(tmp_path / "installed") in done.stdout


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU visible; HF_KIT_TEST_DEVICES=0 shows one to the tests"
)
@pytest.mark.parametrize("family", ["hf_kit_lstm", "bert"])
def test_a_gpu_trains_and_its_model_gives_the_same_on_the_cpu(tmp_path, family):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from hf_kit.cli import main

    write_csv(tmp_path / "reviews.csv", reviews())
    flags = [f"--model_type={family}", f"--config_overrides={json.dumps(FAMILIES[family])}", *TINY[2:]]
    assert main(["train", *flags, "--output_dir=out", "--baselines=False"]) == 0
    tokenizer = AutoTokenizer.from_pretrained("out")
    model = AutoModelForSequenceClassification.from_pretrained("out").eval()
    inputs = tokenizer(["a lovely film", "the rude waiter and the cold room"], padding=True, return_tensors="pt")
    with torch.inference_mode():
        here = model(**inputs).logits
        there = model.cuda()(**inputs.to("cuda")).logits.cpu()
    torch.testing.assert_close(here, there, rtol=1e-3, atol=1e-4)
