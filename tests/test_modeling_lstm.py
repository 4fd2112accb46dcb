"""The LSTM gives a text the same answer in any company, is nn.LSTM underneath, and keeps transformers' contracts."""

import json
import subprocess
import sys
import warnings

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    pipeline,
)

from hf_kit.models import own_model_types
from hf_kit.models.lstm import LstmConfig, LstmForSequenceClassification
from hf_kit.models.lstm.finetuning_lstm import TRAINING_DEFAULTS, lora_target_parameters
from hf_kit.models.lstm.modeling_lstm import VariableLengthLSTM, classification_loss

POOLINGS = ["last", "mean", "max", "attention"]
SHAPES = [(1, False), (1, True), (2, False), (2, True)]
LENGTHS = [5, 1, 9, 3]
PAD = 0


def tiny_config(**fields) -> LstmConfig:
    # Large first vectors make texts differ enough to tell a wrong step from rounding.
    sizes = {"vocab_size": 40, "embedding_dim": 6, "hidden_dim": 5, "num_labels": 3, "initializer_range": 1.0}
    return LstmConfig(**sizes | fields)


def tiny_model(seed: int = 0, **fields) -> LstmForSequenceClassification:
    torch.manual_seed(seed)
    return LstmForSequenceClassification(tiny_config(**fields)).eval()


def texts(seed: int = 0, lengths=LENGTHS) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(1, 40, (n,), generator=generator) for n in lengths]


def padded(rows: list[torch.Tensor], width: int | None = None, side: str = "right"):
    """`input_ids` and `attention_mask`, [b, width]."""
    width = width or max(map(len, rows))
    ids = torch.full((len(rows), width), PAD)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        where = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
        ids[i, where], mask[i, where] = row, 1
    return {"input_ids": ids, "attention_mask": mask}


def assert_close(a, b, tolerance=1e-5):
    torch.testing.assert_close(a, b, atol=tolerance, rtol=0)


# --- a text's answer is its own --------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize(("num_layers", "bidirectional"), SHAPES)
@torch.no_grad()
def test_logits_do_not_depend_on_padding_or_on_the_other_texts(pooling, num_layers, bidirectional):
    model = tiny_model(pooling=pooling, num_layers=num_layers, bidirectional=bidirectional)
    rows = texts()
    alone = torch.cat([model(row[None]).logits for row in rows])
    assert alone.std(0).min() > 1e-2
    for batch in (padded(rows), padded(rows, 14), padded(rows, 14, side="left")):
        assert_close(model(**batch).logits, alone)
        assert_close(model(input_ids=batch["input_ids"]).logits, alone)
        assert_close(
            model(inputs_embeds=model.embedding(batch["input_ids"]), attention_mask=batch["attention_mask"]).logits,
            alone,
        )
    assert_close(model(**padded(rows[::-1])).logits, alone.flip(0))


@torch.no_grad()
def test_masked_steps_count_for_nothing_wherever_they_stand():
    model = tiny_model(bidirectional=True)
    row = texts()[0]
    gapped = torch.tensor([[7, row[0], 8, 9, row[1], row[2], 3, row[3], row[4], 11]])
    mask = torch.tensor([[0, 1, 0, 0, 1, 1, 0, 1, 1, 0]])
    assert_close(model(input_ids=gapped, attention_mask=mask).logits, model(row[None]).logits)


@pytest.mark.parametrize("pooling", POOLINGS)
@torch.no_grad()
def test_an_empty_text_has_finite_logits_of_its_own(pooling):
    model = tiny_model(pooling=pooling, bidirectional=True)
    for parameter in model.lstm.parameters():
        parameter.normal_()
    alone = model(torch.tensor([[PAD]])).logits
    assert alone.isfinite().all() and alone.abs().max() > 1e-2
    batch = padded([*texts(), torch.tensor([], dtype=torch.long)])
    assert_close(model(**batch).logits[-1:], alone)
    batch["input_ids"][-1] = 7  # masked out, so still an empty text
    assert_close(model(**batch).logits[-1:], alone)
    assert_close(model(torch.zeros(2, 0)).logits, alone.expand(2, -1))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize(("num_layers", "bidirectional"), SHAPES)
@torch.no_grad()
def test_equals_nn_lstm_on_a_packed_sequence(pooling, num_layers, bidirectional):
    model = tiny_model(pooling=pooling, num_layers=num_layers, bidirectional=bidirectional)
    reference = nn.LSTM(6, 5, num_layers, batch_first=True, bidirectional=bidirectional)
    reference.load_state_dict(model.lstm.state_dict())
    batch, lengths = padded(texts()), torch.tensor(LENGTHS)
    embedded = model.embedding(batch["input_ids"])
    packed, (h_n, _) = reference(pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False))
    states, _ = pad_packed_sequence(packed, batch_first=True)
    valid = batch["attention_mask"].bool()
    assert_close(model.lstm(embedded, lengths)[valid], states[valid], 1e-6)

    if pooling == "last":
        pooled = torch.cat([h_n[-2], h_n[-1]], -1) if bidirectional else h_n[-1]
    else:
        pooled = []
        for row, n in zip(states, LENGTHS, strict=True):
            if pooling == "mean":
                pooled.append(row[:n].mean(0))
            elif pooling == "max":
                pooled.append(row[:n].max(0).values)
            else:
                scores = torch.tanh(row[:n] @ model.pooler.projection.weight.T + model.pooler.projection.bias)
                pooled.append((scores @ model.pooler.context.weight[0]).softmax(0) @ row[:n])
        pooled = torch.stack(pooled)
    assert_close(model(**batch).logits, model.classifier(pooled), 1e-6)


@torch.no_grad()
def test_hidden_states_come_only_when_asked_and_in_the_order_of_the_text():
    model = tiny_model(bidirectional=True)
    rows = texts()
    left = padded(rows, 14, side="left")
    assert model(**left).hidden_states is None
    embedded, states = model(**left, output_hidden_states=True).hidden_states
    expected = model(**padded(rows, 14), output_hidden_states=True).hidden_states
    for got, want in ((embedded, expected[0]), (states, expected[1])):
        for i, row in enumerate(rows):
            assert_close(got[i, 14 - len(row) :], want[i, : len(row)], 1e-6)


@torch.no_grad()
def test_forward_takes_and_ignores_what_others_pass_and_can_return_a_tuple():
    model = tiny_model()
    batch = padded(texts())
    logits = model(**batch).logits
    more = {"inputs_embeds": None, "output_attentions": None, "token_type_ids": batch["input_ids"], "task_ids": None}
    assert_close(model(**batch, **more).logits, logits, 0)
    as_tuple = model(**batch, return_dict=False)
    assert type(as_tuple) is tuple and torch.equal(as_tuple[0], logits)
    with pytest.raises(ValueError, match="either input_ids or inputs_embeds"):
        model(attention_mask=batch["attention_mask"])


# --- gradients -------------------------------------------------------------------------------------------------------


def test_every_parameter_gets_a_gradient():
    model = tiny_model(pooling="attention", classifier_hidden_dim=7, bidirectional=True, num_layers=2).train()
    model(**padded(texts()), labels=torch.tensor([0, 1, 2, 0])).loss.backward()
    for name, parameter in model.named_parameters():
        # Above rounding: a bias that softmax cancels has a gradient of 1e-9.
        assert parameter.grad.isfinite().all() and parameter.grad.abs().max() > 1e-6, name
    assert model.embedding.weight.grad[PAD].abs().max() == 0


def test_gradients_of_the_recurrent_layer_are_right_with_lengths():
    torch.manual_seed(0)
    lstm = VariableLengthLSTM(2, 2, 2, batch_first=True, bidirectional=True).double()
    lengths = torch.tensor([3, 1])
    names, weights = zip(*lstm.named_parameters(), strict=True)
    x = torch.randn(2, 3, 2, dtype=torch.double, requires_grad=True)

    def valid_states(x, *weights):
        states = torch.func.functional_call(lstm, dict(zip(names, weights, strict=True)), (x, lengths))
        return torch.cat([states[0], states[1, :1]])

    assert torch.autograd.gradcheck(valid_states, (x, *weights), fast_mode=True)


def test_a_dropped_unit_never_reaches_the_next_layer():
    torch.manual_seed(0)
    lstm = VariableLengthLSTM(4, 5, 2, batch_first=True, dropout=0.5).train()
    x, lengths = torch.randn(3, 6, 4), torch.tensor([6, 2, 4])
    assert not torch.equal(lstm(x, lengths), lstm(x, lengths))
    lstm.eval()
    assert torch.equal(lstm(x, lengths), lstm(x, lengths))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_bf16_autocast_stays_close_to_fp32_and_on_the_fused_kernel(bidirectional):
    model = tiny_model(bidirectional=bidirectional, num_layers=2, pooling="mean")
    batch, labels = padded(texts()), torch.tensor([0, 1, 2, 0])
    exact = model(**batch).logits
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.profiler.profile() as profile:
        output = model(**batch, labels=labels)
    output.loss.backward()
    assert_close(output.logits.float(), exact, 3e-2)
    assert output.loss.dtype is torch.float32
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    calls = {event.key: event.count for event in profile.key_averages()}
    runs = 2 * (1 + bidirectional)
    # Where the kernel really computes in bf16, autocast's entry and the kernel behind it are counted each.
    assert calls["aten::mkldnn_rnn_layer"] in (runs, 2 * runs)


# --- the loss --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize(
    ("problem_type", "num_labels", "labels", "loss"),
    [
        ("single_label_classification", 3, torch.tensor([0, 2, 1, 1]), nn.functional.cross_entropy),
        (
            "multi_label_classification",
            3,
            torch.tensor([[0.0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1]]),
            nn.functional.binary_cross_entropy_with_logits,
        ),
        (
            "regression",
            1,
            torch.tensor([0.5, -1.0, 2.0, 0.0]),
            lambda a, b: nn.functional.mse_loss(a.squeeze(-1), b),
        ),
    ],
)
def test_the_loss_is_torchs_and_the_config_stays_as_it_is(declared, problem_type, num_labels, labels, loss):
    model = tiny_model(num_labels=num_labels, problem_type=problem_type if declared else None)
    before = model.config.to_dict()
    output = model(**padded(texts()), labels=labels)
    assert_close(output.loss, loss(output.logits, labels), 1e-6)
    assert model.config.to_dict() == before


def test_a_declared_problem_takes_whole_numbers_for_targets():
    logits = torch.randn(4, 3)
    ones = torch.randint(0, 2, (4, 3))
    expected = nn.functional.binary_cross_entropy_with_logits(logits, ones.float())
    assert_close(classification_loss(logits, ones, "multi_label_classification"), expected, 1e-6)
    stars = torch.tensor([1, 5, 3, 2])
    expected = nn.functional.mse_loss(logits[:, 0], stars.float())
    assert_close(classification_loss(logits[:, :1], stars, "regression"), expected, 1e-6)


def test_the_loss_is_computed_in_fp32():
    logits, labels = torch.randn(4, 3).bfloat16(), torch.tensor([0, 2, 1, 1])
    assert_close(classification_loss(logits, labels, None), nn.functional.cross_entropy(logits.float(), labels), 1e-6)


def test_accumulation_does_not_change_the_gradient(tmp_path):
    rows = [{"input_ids": row.tolist(), "labels": i % 3} for i, row in enumerate(texts(lengths=[4] * 8))]

    def gradient(batch_size, steps):
        model = tiny_model()
        arguments = TrainingArguments(
            str(tmp_path), max_steps=1, per_device_train_batch_size=batch_size, gradient_accumulation_steps=steps,
            learning_rate=1.0, optim="sgd", lr_scheduler_type="constant", max_grad_norm=0, use_cpu=True,
            save_strategy="no", disable_tqdm=True, train_sampling_strategy="sequential",
        )  # fmt: skip
        before = model.classifier.weight.detach().clone()
        Trainer(model, arguments, train_dataset=rows).train()
        return before - model.classifier.weight.detach()

    assert_close(gradient(2, 4), gradient(8, 1), 1e-6)


# --- saving and loading ----------------------------------------------------------------------------------------------


def test_a_saved_model_loads_through_the_auto_classes_without_new_weights(tmp_path):
    model = tiny_model(bidirectional=True, pooling="attention", classifier_hidden_dim=4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    loaded, info = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert type(loaded) is LstmForSequenceClassification
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for name, parameter in model.state_dict().items():
        assert torch.equal(parameter, loaded.state_dict()[name]), name
    batch = padded(texts())
    assert_close(loaded.eval()(**batch).logits, model(**batch).logits, 0)


def test_a_new_head_leaves_the_loaded_weights_alone(tmp_path):
    model = tiny_model()
    with torch.no_grad():
        model.lstm.bias_ih_l0.fill_(0.25)
    model.save_pretrained(tmp_path)
    # One of the LSTM's parameters is missing, so that the module is initialized with the others loaded.
    weights = load_file(tmp_path / "model.safetensors")
    del weights["lstm.weight_hh_l0"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded = LstmForSequenceClassification.from_pretrained(tmp_path, num_labels=5, ignore_mismatched_sizes=True)
    assert loaded.classifier.weight.shape == (5, 5)
    for name in ("embedding.weight", "lstm.weight_ih_l0", "lstm.bias_ih_l0", "lstm.bias_hh_l0"):
        assert torch.equal(loaded.get_parameter(name), model.get_parameter(name)), name
    for gate in loaded.lstm.weight_hh_l0.chunk(4):
        assert_close(gate @ gate.T, torch.eye(5))


def trainable(model) -> dict[str, bool]:
    return {name: parameter.requires_grad for name, parameter in model.named_parameters()}


def test_frozen_embeddings_stay_frozen_through_saving_and_every_way_of_loading(tmp_path):
    model = tiny_model(freeze_embeddings=True)
    expected = {name: name != "embedding.weight" for name in trainable(model)}
    assert trainable(model) == expected
    assert trainable(AutoModelForSequenceClassification.from_config(model.config)) == expected
    model.save_pretrained(tmp_path)
    assert trainable(AutoModelForSequenceClassification.from_pretrained(tmp_path)) == expected
    loaded, info = LstmForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert trainable(loaded) == expected and not info["missing_keys"]
    loaded.resize_token_embeddings(50)
    assert trainable(loaded) == expected


def test_frozen_embeddings_do_not_change_in_training_and_the_rest_does():
    model = tiny_model(freeze_embeddings=True).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    model(**padded(texts()), labels=torch.tensor([0, 1, 2, 0])).loss.backward()
    optimizer.step()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == set(before) - {"embedding.weight"}


def test_weights_marked_as_loaded_are_never_drawn_again():
    model = tiny_model(pooling="attention", classifier_hidden_dim=4)
    with torch.no_grad():
        model.embedding.weight[PAD] = 1.0
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter._is_hf_initialized = True
    for module in model.modules():
        model._init_weights(module)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]), name


def test_the_saved_folder_loads_in_a_fresh_process_without_hf_kit(tmp_path):
    model = tiny_model(bidirectional=True, pooling="attention", classifier_hidden_dim=4)
    folder = tmp_path / "saved"
    model.save_pretrained(folder)
    assert {"configuration_lstm.py", "modeling_lstm.py"} <= {path.name for path in folder.iterdir()}
    assert json.loads((folder / "config.json").read_text())["auto_map"] == {
        "AutoConfig": "configuration_lstm.LstmConfig",
        "AutoModelForSequenceClassification": "modeling_lstm.LstmForSequenceClassification",
    }
    code = (
        "import sys; sys.modules['hf_kit'] = None\n"
        "import json, torch\n"
        "from transformers import AutoModelForSequenceClassification as Auto\n"
        "model = Auto.from_pretrained(sys.argv[1], trust_remote_code=True).eval()\n"
        "assert type(model).__module__.startswith('transformers_modules'), type(model)\n"
        "with torch.no_grad(): print(json.dumps(model(torch.tensor(json.loads(sys.argv[2]))).logits.tolist()))\n"
    )
    ids = padded(texts())["input_ids"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(folder), json.dumps(ids.tolist())],
        capture_output=True,
        text=True,
        cwd=elsewhere,
        env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    assert_close(torch.tensor(json.loads(done.stdout)), model(ids).logits.detach(), 1e-6)


def test_the_text_classification_pipeline_gives_each_text_its_own_label():
    words = {"[PAD]": 0, "[UNK]": 1, **{f"w{i}": i for i in range(2, 40)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    model = tiny_model(id2label={0: "a", 1: "b", 2: "c"}, label2id={"a": 0, "b": 1, "c": 2})
    classify = pipeline("text-classification", model=model, tokenizer=fast, device="cpu")
    inputs = ["w2 w3 w4", "w5", "w6 w7 w8 w9 never-seen w10", ""]
    together = classify(inputs, batch_size=4)
    for text, result in zip(inputs, together, strict=True):
        alone = classify(text)[0]
        assert alone["label"] == result["label"] and alone["score"] == pytest.approx(result["score"], abs=1e-5)
    with torch.no_grad():
        expected = model(torch.tensor([[2, 3, 4]])).logits.softmax(-1).max().item()
    assert together[0]["score"] == pytest.approx(expected, abs=1e-5)


# --- the classic model, its first weights, its config ----------------------------------------------------------------


def test_the_defaults_are_the_classic_model():
    config = LstmConfig()
    assert (config.vocab_size, config.embedding_dim, config.hidden_dim, config.num_labels) == (10000, 128, 256, 2)
    assert config.hidden_size == 256
    model = LstmForSequenceClassification(config)
    classic = nn.ModuleList([nn.Embedding(10000, 128), nn.LSTM(128, 256, batch_first=True), nn.Linear(256, 2)])
    assert model.num_parameters() == sum(p.numel() for p in classic.parameters())
    assert model.get_input_embeddings() is model.embedding
    assert isinstance(model.classifier, nn.Linear)
    assert TRAINING_DEFAULTS["learning_rate"] == 1e-3 and TRAINING_DEFAULTS["num_train_epochs"] == 10


def test_fresh_weights():
    model = tiny_model(vocab_size=2000, bidirectional=True, num_layers=2, initializer_range=0.3, hidden_dim=8)
    vectors = model.embedding.weight
    assert vectors[PAD].abs().max() == 0
    assert vectors[1:].std().item() == pytest.approx(0.3, rel=0.05)
    for suffix in ("l0", "l0_reverse", "l1", "l1_reverse"):
        for gate in getattr(model.lstm, f"weight_hh_{suffix}").chunk(4):
            assert_close(gate @ gate.T, torch.eye(8))
        w_ih = getattr(model.lstm, f"weight_ih_{suffix}")
        limit = (6 / (w_ih.shape[1] + 8)) ** 0.5
        assert 0.9 * limit < w_ih.abs().max() <= limit
        bias = getattr(model.lstm, f"bias_ih_{suffix}") + getattr(model.lstm, f"bias_hh_{suffix}")
        assert [gate.unique().tolist() for gate in bias.chunk(4)] == [[0.0], [1.0], [0.0], [0.0]]
    assert model.classifier.bias.abs().max() == 0 and model.classifier.weight.abs().max() > 0


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("pooling", "sum", "last, mean, max, attention"),
        ("classifier_activation", "swishy", "relu"),
        ("vocab_size", 0, "from 1"),
        ("embedding_dim", 0, "from 1"),
        ("hidden_dim", -1, "from 1"),
        ("num_layers", 0, "from 1"),
        ("classifier_hidden_dim", -1, "from 0"),
        ("embedding_dropout", -0.1, "less than 1"),
        ("lstm_dropout", 1.0, "less than 1"),
        ("classifier_dropout", 2, "less than 1"),
        ("initializer_range", 0.0, "greater than 0"),
        ("pad_token_id", 40, "0 to 39"),
    ],
)
def test_the_config_refuses_bad_values(field, value, allowed):
    with pytest.raises(ValueError) as error:
        tiny_config(**{field: value})
    assert field in str(error.value) and repr(value) in str(error.value) and allowed in str(error.value)
    config = tiny_config()
    setattr(config, field, value)
    with pytest.raises(ValueError, match=field):
        LstmForSequenceClassification(config)


def test_our_models_are_found_and_known_to_the_auto_classes():
    assert own_model_types()["hf_kit_lstm"].__name__ == "hf_kit.models.lstm.finetuning_lstm"
    config = AutoConfig.for_model("hf_kit_lstm", vocab_size=40, num_labels=4)
    assert AutoModelForSequenceClassification.from_config(config).classifier.out_features == 4


# --- LoRA ------------------------------------------------------------------------------------------------------------


def test_lora_reaches_the_lstm_and_trains_saves_reloads_and_merges(tmp_path):
    base = tmp_path / "base"
    tiny_model(bidirectional=True, num_layers=2).save_pretrained(base)

    def load_base():
        return LstmForSequenceClassification.from_pretrained(base).eval()

    model = load_base()
    targets = lora_target_parameters(model)
    assert len(targets) == 8 and {"lstm.weight_ih_l0", "lstm.weight_hh_l1_reverse"} <= set(targets)
    config = LoraConfig(r=2, target_modules=[], target_parameters=targets, task_type="SEQ_CLS")
    peft_model = get_peft_model(model, config).train()
    start = {name: p.detach().clone() for name, p in peft_model.named_parameters()}
    optimizer = torch.optim.Adam([p for p in peft_model.parameters() if p.requires_grad], lr=0.05)
    batch = padded(texts())
    for _ in range(3):
        optimizer.zero_grad()
        peft_model(**batch, labels=torch.tensor([0, 1, 2, 0])).loss.backward()
        optimizer.step()
    for name, parameter in peft_model.named_parameters():
        trained = "lora_" in name or "modules_to_save" in name
        assert parameter.requires_grad == trained and torch.equal(parameter, start[name]) != trained, name

    peft_model.eval()
    with torch.no_grad():
        logits = peft_model(**batch).logits
        assert (logits - load_base()(**batch).logits).abs().max() > 1e-2
        peft_model.save_pretrained(tmp_path / "adapter")
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # how PEFT says that adapter keys are missing
            reloaded = PeftModel.from_pretrained(load_base(), tmp_path / "adapter").eval()
        assert_close(reloaded(**batch).logits, logits, 1e-6)
        merged = reloaded.merge_and_unload()
        assert type(merged.lstm) is VariableLengthLSTM
        assert_close(merged(**batch).logits, logits, 1e-6)
        merged.save_pretrained(tmp_path / "merged")
        again = LstmForSequenceClassification.from_pretrained(tmp_path / "merged").eval()
        assert_close(again(**batch).logits, logits, 1e-6)
