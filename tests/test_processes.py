"""Several processes train the model that one would: the same loss in every step, the same weights, the same scores.

In float32 and without dropout, whose random numbers each process draws for its own rows.
"""

import json
from pathlib import Path

import pytest
import torch
from ranks import Ranks
from safetensors.torch import load_file
from tiny import FAMILIES, MARIAN, pairs, reviews, write_csv, write_photos
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from hf_kit.models.lstm.configuration_lstm import LstmConfig
from hf_kit.models.lstm.modeling_lstm import LstmForSequenceClassification
from hf_kit.tokenizer_training import train_tokenizer

pytestmark = pytest.mark.slow

# 43 rows in steps of 8: the last step has 3, fewer than there are processes where these are four.
TEXTS = ["--train_file=reviews.csv", "--validation_file=dev.csv", "--vocab_size=200"]
LSTM = [*TEXTS, "--model_type=hf_kit_lstm", f"--config_overrides={json.dumps(FAMILIES['hf_kit_lstm'])}"]
PAIRS = [
    *("--task=translation", "--train_file=pairs.csv", "--validation_file=dev_pairs.csv", "--vocab_size=80"),
    *("--model_type=marian", f"--config_overrides={json.dumps(MARIAN | {'dropout': 0})}", "--generation_max_length=8"),
]
CASES = {
    "by length": LSTM,
    "at random": [*LSTM, "--train_sampling_strategy=random"],
    "accumulated": [*LSTM, "--gradient_accumulation_steps=2"],
    "tokens per batch": [*LSTM, "--max_tokens_per_batch=60"],
    "streamed": [*LSTM, "--streaming"],
    "streamed in windows": [*LSTM, "--streaming", "--shuffle_buffer_size=16"],
    "class weights, smoothed": [*LSTM, "--class_weights=balanced", "--label_smoothing_factor=0.1"],
    "early stopping": [*LSTM, "--early_stopping_patience=1", "--num_train_epochs=6", "--metric_for_best_model=loss"],
    "adapters": [*TEXTS, "--model_name_or_path=lstm", "--use_peft", "--lora_r=4"],
    "images": [
        *("--task=image_classification", "--train_file=photos", "--validation_file=more_photos"),
        "--model_name_or_path=vit",
    ],
    "pairs": PAIRS,
    "pairs by tokens": [*PAIRS, "--max_tokens_per_batch=60"],
}
SETTINGS = [
    *("--test_split_percentage=0", "--baselines=False", "--bf16=False", "--logging_steps=1", "--disable_tqdm=True"),
    *("--learning_rate=1e-2", "--max_grad_norm=0.5", "--per_device_eval_batch_size=4"),
]


@pytest.fixture(autouse=True)
def files(tmp_path):
    torch.manual_seed(0)
    write_csv(tmp_path / "reviews.csv", reviews(43))
    write_csv(tmp_path / "dev.csv", reviews(21, seed=9))
    write_csv(tmp_path / "pairs.csv", pairs(43), ("en", "zh"))
    write_csv(tmp_path / "dev_pairs.csv", pairs(21, seed=9), ("en", "zh"))
    write_photos(tmp_path / "photos", 21)
    write_photos(tmp_path / "more_photos", 10, seed=9)
    train_tokenizer([text for text, _ in reviews(43)], vocab_size=200, special_tokens="plain").save_pretrained("lstm")
    LstmForSequenceClassification(LstmConfig(vocab_size=200, **FAMILIES["hf_kit_lstm"])).save_pretrained("lstm")
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    sizes = {"image_size": 16, "patch_size": 8}
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    ViTForImageClassification(ViTConfig(**small, **sizes, **none)).save_pretrained("vit")
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained("vit")


def run(name: str, processes: int, flags: list[str]) -> tuple[dict, list[dict], dict[str, torch.Tensor]]:
    """Results, logged steps and weights of a run of some flags, 8 rows a step."""
    epochs = [] if any("num_train_epochs" in flag for flag in flags) else ["--num_train_epochs=2"]
    steps = 2 if any("accumulation" in flag for flag in flags) else 1
    flags = [*flags, *SETTINGS, *epochs, f"--per_device_train_batch_size={8 // processes // steps}"]
    if any("max_tokens" in flag for flag in flags):
        # Each of the processes computes a batch of its own: as one process that accumulates as many.
        flags += [f"--gradient_accumulation_steps={4 // processes}"]
    done = Ranks(processes, [*flags, f"--output_dir={name}"]).end()
    assert done.stdout.count(f"{processes} process(es)") == 1, "one process speaks for all"
    folder = Path(name)
    results = json.loads((folder / "results.json").read_text())
    last = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    log = json.loads((last / "trainer_state.json").read_text())["log_history"]
    weights = load_file(next(folder.glob("*.safetensors")))
    return results, [entry for entry in log if "loss" in entry], weights


@pytest.mark.parametrize("case", CASES)
def test_two_processes_are_one(case):
    compare(case, 2)


@pytest.mark.parametrize("case", ["by length", "pairs by tokens"])
def test_four_processes_are_one(case):
    compare(case, 4)


def note_each_training_of_a_tokenizer() -> None:
    from hf_kit.tasks import text_classification

    train = text_classification.train_tokenizer

    def noted(*args, **kwargs):
        with open("trained.txt", "a") as file:
            file.write("x")
        return train(*args, **kwargs)

    text_classification.train_tokenizer = noted


def test_the_tokenizer_is_trained_once_for_all():
    flags = [*LSTM, *SETTINGS, "--num_train_epochs=1", "--output_dir=two"]
    Ranks(2, flags, note_each_training_of_a_tokenizer).end()
    assert Path("trained.txt").read_text() == "x"


def compare(case: str, processes: int) -> None:
    (one, log, weights), (several, other_log, others) = (run(f"p{n}", n, CASES[case]) for n in (1, processes))
    assert [entry["step"] for entry in log] == [entry["step"] for entry in other_log]
    for entry, other in zip(log, other_log, strict=True):
        assert other["loss"] == pytest.approx(entry["loss"], rel=1e-5), entry["step"]
        assert other["grad_norm"] == pytest.approx(entry["grad_norm"], rel=1e-5), entry["step"]
    assert several["training"]["steps"] == one["training"]["steps"]
    # Adam takes steps of full size also where a gradient is all but zero, and its sign is chance.
    assert max((weights[name] - others[name]).abs().max() for name in weights) < 1e-3
    for score, value in one["validation"].items():
        assert several["validation"][score] == pytest.approx(value, rel=1e-5), score
