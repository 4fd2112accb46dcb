"""The benchmark scripts start, and what they compute from their measurements is right; their timings are not tested."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
SCRIPTS = "encoder_training lstm_training image_training prediction data_cost startup checkpoint_saving kills".split()
SCRIPTS += "communication scaling_model".split()
sys.path.insert(0, str(FOLDER))

import communication  # noqa: E402
import model_flops  # noqa: E402
import prediction  # noqa: E402
import scaling_model  # noqa: E402
import side_by_side  # noqa: E402
import training_rates  # noqa: E402


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_says_what_it_measures(name):
    done = subprocess.run([sys.executable, FOLDER / f"{name}.py", "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"python benchmarks/{name}.py" in done.stdout


def test_the_readme_lists_every_script():
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert not [name for name in SCRIPTS if f"python benchmarks/{name}.py" not in readme]


def test_spread_is_the_median_with_least_and_most():
    assert side_by_side.spread([5.0, 1.0, 2.0]) == (2.0, 1.0, 5.0)
    assert f"{side_by_side.spread([5.0, 1.0, 2.0]):.1f}" == "2.0 (1.0..5.0)"


def test_ratios_are_taken_within_a_round():
    # The second round was twice as slow for both: the ratio is still three.
    assert side_by_side.ratios([30, 60], [10, 20]) == (3, 3, 3)
    with pytest.raises(ValueError):
        side_by_side.ratios([1, 2], [1])


def test_rows_are_drawn_evenly_from_a_sorted_file():
    lines = ["a"] * 50 + ["b"] * 50
    assert side_by_side.evenly(lines, 10) == ["a"] * 5 + ["b"] * 5
    assert side_by_side.evenly(lines, 1000) == lines


def test_encoder_flops_are_those_of_the_matrix_products():
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import BertConfig, BertForSequenceClassification

    layers, width, length, texts = 2, 32, 7, 3
    config = BertConfig(
        vocab_size=50,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=64,
        attn_implementation="eager",
    )
    model = BertForSequenceClassification(config)
    ids = torch.ones(texts, length, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model(ids).logits.sum().backward()
    matrices = {n: p.numel() for n, p in model.named_parameters() if p.dim() == 2 and ".embeddings." not in n}
    in_layers = sum(count for name, count in matrices.items() if ".encoder." in name)
    flops = model_flops.encoder_flops(
        [length] * texts, layers, width, in_layers, text_parameters=sum(matrices.values()) - in_layers
    )
    assert counter.get_total_flops() == flops


def test_lstm_flops_count_every_matrix_once_a_token():
    from torch import nn

    lstm = nn.LSTM(5, 7, bidirectional=True, bias=False)
    weights = sum(p.numel() for p in lstm.parameters())
    assert model_flops.lstm_flops([3, 4], embedding_dim=5, hidden_dim=7, directions=2) == 6 * weights * 7


def test_agreement_of_labels_and_scores():
    ours = [{"label": "a", "score": 0.9}, {"label": "a", "score": 0.51}]
    theirs = [{"label": "a", "score": 0.88}, {"label": "b", "score": 0.52}]
    equal, largest = prediction.agreement(ours, theirs)
    assert equal == 1 and largest == pytest.approx(0.03)


def test_the_table_of_a_training_shows_medians_and_ratios_to_the_kit():
    def measured(seconds: float) -> dict:
        numbers = {"rows": 10, "tokens": 100, "steps": 5, "seconds": seconds, "inside_seconds": 0.75 * seconds}
        return numbers | training_rates.rates(numbers, flops=200, best=1000) | {"peak_anonymous_mb": 7}

    runs = {"kit": [measured(0.5), measured(1.0)], "slow": [measured(2.0), measured(4.0)]}
    _, _, kit, slow = training_rates.table(runs, {"kit": "hf_kit", "slow": "stock"}).splitlines()
    assert [cell.strip() for cell in slow.split("|")[1:-1]] == [
        "stock",
        "600 (400..800)",
        "3.8 (2.5..5.0)",
        "38 (25..50)",
        "4.00 (4.00..4.00)",
        "7.5% (5.0%..10.0%)",
        "25.0% (25.0%..25.0%)",
        "7 (7..7)",
    ]
    assert kit.split("|")[5].strip() == ""


def test_a_watched_process_hands_over_its_lines_and_its_memory(tmp_path):
    lines: list[str] = []
    code = "import time; block = bytearray(b'x') * 50_000_000; print('made', flush=True); time.sleep(1)"
    seen = side_by_side.watched([sys.executable, "-c", code], tmp_path, lambda line, seconds: lines.append(line))
    assert lines == ["made"]
    if Path("/proc/self/status").exists():
        assert seen["peak_anonymous_mb"] > 50


def test_a_failed_process_ends_the_measurement(tmp_path):
    with pytest.raises(SystemExit, match="no such luck"):
        side_by_side.watched([sys.executable, "-c", "raise SystemExit('no such luck')"], tmp_path)


def test_the_measured_epoch_is_a_whole_one(tmp_path, monkeypatch):
    import measured_training
    from datasets import Dataset
    from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

    written = []
    monkeypatch.setattr(measured_training, "finish", lambda numbers, result: written.append(numbers))
    rows = Dataset.from_dict({"input_ids": [[1, 2, 3]] * 12, "labels": [0, 1] * 6})
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    arguments = TrainingArguments(
        "out", num_train_epochs=2, per_device_train_batch_size=2, use_cpu=True, save_strategy="no", disable_tqdm=True
    )
    model = BertForSequenceClassification(BertConfig(vocab_size=9, **sizes))
    trainer = Trainer(model, arguments, train_dataset=rows)
    measured_training.MeasuredEpoch(trainer, 2, tmp_path / "result.json", {"more": 1})
    trainer.train()
    assert trainer.state.global_step == 2 + 6  # the warm-up was cut off
    (numbers,) = written
    assert (numbers["steps"], numbers["rows"], numbers["tokens"], numbers["more"]) == (6, 12, 36, 1)
    assert 0 < numbers["inside_seconds"] < numbers["seconds"]


def test_start_and_rate_of_an_exchange_are_found_again():
    seconds = [2e-4 + scaling_model.ring(4 * size, 4, 3e9) for size in communication.SIZES]
    found = communication.fit([{"seconds": seconds}], 4)
    assert found["start"] == pytest.approx(2e-4) and found["rate"] == pytest.approx(3e9)
    assert found["off"] < 1e-6


def test_what_is_exchanged_in_a_node_and_between_nodes():
    node = scaling_model.NODE.rate * scaling_model.NODE.share
    network = scaling_model.NETWORK.rate * scaling_model.NETWORK.share
    assert scaling_model.all_reduce(1e9, 1) == 0
    assert scaling_model.all_reduce(1e9, 8) == pytest.approx(2 * 7 / 8 * 1e9 / node, rel=0.02)
    # Of two nodes each GPU meets its like with an eighth of the bytes.
    between = scaling_model.all_reduce(1e9, 16) - scaling_model.all_reduce(1e9, 8)
    assert between == pytest.approx(1e9 / 8 / network, rel=0.02)


def test_more_devices_are_never_faster_than_their_number():
    for work in scaling_model.WORKS:
        shares = [scaling_model.predicted(work, gpus)["efficiency"] for gpus in scaling_model.GPUS]
        assert shares[0] == 1 and sorted(shares, reverse=True) == shares
