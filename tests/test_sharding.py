"""FSDP2 and DeepSpeed, on two CPU processes: the model of one process, whole in its files; and what FSDP2's layers are.

In float32 and without dropout, whose random numbers each process draws for its own rows.
"""

import importlib.util
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ranks import Ranks
from safetensors.torch import load_file
from sharded_on_cpu import shard_on_cpu
from test_accelerate_configs import plugin_environment
from test_processes import LSTM, PAIRS, SETTINGS, TEXTS
from test_processes import files as _files  # noqa: F401  their data, for each test here
from tiny import FAMILIES, IMAGE_FAMILIES, MARIAN
from transformers import AutoConfig, AutoModelForImageClassification, AutoModelForSeq2SeqLM
from transformers import AutoModelForSequenceClassification as AutoModelForTexts

from hf_kit.model_saving import _in_one_piece
from hf_kit.models.lstm.configuration_lstm import LstmConfig
from hf_kit.models.lstm.modeling_lstm import LstmForSequenceClassification
from hf_kit.sharding import compute_with_deepspeed_in, layers_to_shard, shared_by_three

TRANSFORMER = FAMILIES["bert"] | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
BERT = [*TEXTS, "--model_type=bert", f"--config_overrides={json.dumps(TRANSFORMER)}"]
LSTM_PAIRS = {"embedding_dim": 16, "hidden_dim": 16, "embedding_dropout": 0, "lstm_dropout": 0, "output_dropout": 0}
CASES = {
    "encoder": BERT,
    "LSTM": LSTM,
    "accumulated, averaged": [*BERT, "--gradient_accumulation_steps=2", "--average_checkpoints=2"],
    "adapters": [*TEXTS, "--model_name_or_path=bert", "--use_peft", "--lora_r=4", "--lora_dropout=0"],
    "pairs": [
        *(flag for flag in PAIRS if not flag.startswith(("--model_type", "--config"))),
        *(
            "--model_type=hf_kit_lstm_seq2seq",
            f"--config_overrides={json.dumps(LSTM_PAIRS)}",
        ),
    ],
}


KINDS = {
    "fsdp": (shard_on_cpu, ("FSDP_",), {"ACCELERATE_USE_FSDP": "true"}),
    "deepspeed_zero2": (
        None,
        ("ACCELERATE_DEEPSPEED",),
        {"ACCELERATE_USE_DEEPSPEED": "true", "DS_ACCELERATOR": "cpu"},
    ),
}
KINDS["deepspeed_zero3"] = KINDS["deepspeed_zero2"]
DEEPSPEED = pytest.mark.skipif(not importlib.util.find_spec("deepspeed"), reason="needs the package deepspeed")
each_kind = pytest.mark.parametrize("kind", [pytest.param(k, marks=[DEEPSPEED] * ("deep" in k)) for k in KINDS])


def run(name: str, flags: list[str], *, sharded: str | None = None, proven: bool = False) -> Path:
    """A run of two epochs, 8 rows a step, every checkpoint of which stays."""
    rows = (4 if sharded else 8) // (2 if any("accumulation" in flag for flag in flags) else 1)
    flags = [*flags, *SETTINGS, "--num_train_epochs=2", "--save_total_limit=9", f"--output_dir={name}"]
    flags += [f"--per_device_train_batch_size={rows}"]
    if sharded:
        first, prefixes, wanted = KINDS[sharded]
        given = plugin_environment(sharded)
        wanted = wanted | {name: value for name, value in given.items() if name.startswith(prefixes)}
        done = Ranks(2, flags, first, proven=proven, **wanted).end()
        assert done.stdout.count("2 process(es)") == 1
    else:
        Ranks(1, flags).end()
    return Path(name)


def logged(folder: Path) -> list[dict]:
    last = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    log = json.loads((last / "trainer_state.json").read_text())["log_history"]
    return [entry for entry in log if "loss" in entry]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = folder.glob("*model*.safetensors")
    return load_file(file)


@pytest.mark.slow
@each_kind
@pytest.mark.parametrize("case", CASES)
def test_it_is_the_model_of_one_process_whole_in_every_file(case, kind):
    if case == "adapters":
        run("bert", BERT)
    proven = case in ("encoder", "adapters")
    one, two = run("one", CASES[case]), run("two", CASES[case], sharded=kind, proven=proven)
    for entry, other in zip(logged(one), logged(two), strict=True):
        assert other["loss"] == pytest.approx(entry["loss"], rel=1e-5), entry["step"]
        assert other["grad_norm"] == pytest.approx(entry["grad_norm"], rel=1e-4), entry["step"]
    assert sorted(path.name for path in one.iterdir()) == sorted(path.name for path in two.iterdir())
    places = ["", *(path.name for path in one.glob("checkpoint-*")), *(["merged"] if case == "adapters" else [])]
    for place in places:
        expected, found = weights(one / place), weights(two / place)
        assert {name: (w.shape, w.dtype) for name, w in found.items()} == {
            name: (w.shape, w.dtype) for name, w in expected.items()
        }
        # Adam takes steps of full size also where a gradient is all but zero, and its sign is chance.
        assert max((expected[name] - found[name]).abs().max() for name in expected) < 1e-3
        if kind == "fsdp":
            assert not any(path.suffix in (".bin", ".pt", ".pth", ".distcp") for path in (two / place).iterdir())
    results, others = (json.loads((folder / "results.json").read_text()) for folder in (one, two))
    for score, value in results["validation"].items():
        assert others["validation"][score] == pytest.approx(value, rel=1e-4), score
    assert json.loads((two / "proof.json").read_text())["passed"]


@pytest.mark.slow
@each_kind
@pytest.mark.parametrize("case", ["encoder", "adapters"])
def test_it_goes_on_from_a_checkpoint_to_the_same_bits(case, kind):
    if case == "adapters":
        run("bert", BERT)
    folder = run("two", CASES[case], sharded=kind)
    expected = weights(folder)
    _, *later = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    for gone in [*later, folder / "merged"]:
        shutil.rmtree(gone, ignore_errors=True)
    for file in ("results.json", "model.safetensors", "adapter_model.safetensors"):
        (folder / file).unlink(missing_ok=True)
    run("two", CASES[case], sharded=kind)
    found = weights(folder)
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.slow
def test_two_processes_that_do_not_shard_cannot_go_on_from_it():
    folder = run("two", CASES["encoder"], sharded="fsdp")
    (folder / "results.json").unlink()
    flags = [*CASES["encoder"], *SETTINGS, "--num_train_epochs=2", "--save_total_limit=9", "--output_dir=two"]
    done = Ranks(2, [*flags, "--per_device_train_batch_size=4"]).end(expect=1)
    assert "(sharded by: FSDP2 -> None)" in done.stderr


def test_the_embeddings_are_in_none_of_the_layers():
    config = AutoConfig.for_model("bert", **FAMILIES["bert"], vocab_size=20)
    assert layers_to_shard(AutoModelForTexts.from_config(config)) == ["BertLayer"]
    lstm = LstmForSequenceClassification(LstmConfig(vocab_size=20, **FAMILIES["hf_kit_lstm"]))
    assert layers_to_shard(lstm) == ["VariableLengthLSTM"]
    config = AutoConfig.for_model("marian", **MARIAN, vocab_size=20, pad_token_id=0)
    assert layers_to_shard(AutoModelForSeq2SeqLM.from_config(config)) == ["MarianDecoderLayer", "MarianEncoderLayer"]
    config = AutoConfig.for_model("vit", **IMAGE_FAMILIES["vit"])
    assert layers_to_shard(AutoModelForImageClassification.from_config(config)) == ["ViTLayer"]


def test_a_weight_in_three_places_is_refused_by_name():
    config = AutoConfig.for_model("marian", **MARIAN, vocab_size=20, pad_token_id=0)
    shared = shared_by_three(AutoModelForSeq2SeqLM.from_config(config))
    assert {"model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"} < set(shared)
    config = AutoConfig.for_model("bert", **FAMILIES["bert"], vocab_size=20)
    assert shared_by_three(AutoModelForTexts.from_config(config)) == []


@pytest.mark.parametrize(
    ("dtype", "on"), [(torch.bfloat16, {"bf16"}), (torch.float16, {"fp16"}), (torch.float32, set())]
)
def test_deepspeed_computes_in_the_format_that_was_chosen(dtype, on):
    config = {"bf16": {"enabled": False}, "fp16": {"enabled": "auto", "loss_scale": 0}, "zero_optimization": {}}
    compute_with_deepspeed_in(dtype, config)
    assert {name for name in ("bf16", "fp16") if config[name]["enabled"]} == on
    assert config["fp16"]["loss_scale"] == 0


def test_the_exact_frozen_weights_come_back_into_what_is_saved():
    """Those of the checkpoint, and not their roundings; of what was started at random, the trained run's own."""
    trained = {"0.weight": torch.full((2, 2), 3.0), "1.weight": torch.full((2, 2), 0.1).bfloat16()}
    trained["2.weight"] = torch.full((2, 2), 7.0).bfloat16()
    trainer = SimpleNamespace(
        is_fsdp_enabled=True,
        is_deepspeed_enabled=False,
        args=SimpleNamespace(mixed_precision="bf16"),
        model=None,
        accelerator=SimpleNamespace(get_state_dict=lambda model: trained),
    )

    def rebuilt():
        model = torch.nn.Sequential(*(torch.nn.Linear(2, 2, bias=False) for _ in range(3)))
        for layer in model[1:]:
            layer.weight.requires_grad = False
            layer.weight.fill_(0.1)
        return SimpleNamespace(model=model)

    model = _in_one_piece(trainer, rebuilt)
    assert torch.equal(model[0].weight, torch.full((2, 2), 3.0))
    assert torch.equal(model[1].weight, torch.full((2, 2), 0.1))  # 0.10009765625 as bf16
    assert torch.equal(model[2].weight, torch.full((2, 2), 7.0))
