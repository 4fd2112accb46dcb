"""The encoder-decoder gives a text the same answer in any company, writes as it was taught, and keeps the contracts."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModelForSeq2SeqLM, Seq2SeqTrainer, Seq2SeqTrainingArguments

from hf_kit.arguments import LoraArguments, ModelArguments
from hf_kit.backbone import load_config, load_model
from hf_kit.lora import add_lora, finish_adapter_folder, trainable_share
from hf_kit.models import own_model_types
from hf_kit.models.lstm import LstmForConditionalGeneration, LstmSeq2SeqConfig
from hf_kit.models.lstm.continued_lstm import ContinuedLSTM
from hf_kit.models.lstm.finetuning_lstm_seq2seq import lora_target_parameters

LENGTHS = [5, 1, 9, 3]
PAD, EOS, START = 0, 2, 1


def tiny_config(**fields) -> LstmSeq2SeqConfig:
    # Large first vectors make texts differ enough to tell a wrong step from rounding.
    sizes = {"vocab_size": 40, "embedding_dim": 6, "hidden_dim": 8, "initializer_range": 1.0}
    tokens = {"pad_token_id": PAD, "eos_token_id": EOS, "decoder_start_token_id": START}
    return LstmSeq2SeqConfig(**sizes | tokens | fields)


def tiny_model(seed: int = 0, **fields) -> LstmForConditionalGeneration:
    torch.manual_seed(seed)
    return LstmForConditionalGeneration(tiny_config(**fields)).eval()


def texts(seed: int = 0, lengths=LENGTHS, vocab_size: int = 40) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, vocab_size, (n,), generator=generator) for n in lengths]


def padded(rows: list[torch.Tensor], width: int | None = None, side: str = "right"):
    """`input_ids` and `attention_mask`, [b, width]."""
    width = width or max(map(len, rows))
    ids = torch.full((len(rows), width), PAD)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        where = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
        ids[i, where], mask[i, where] = row, 1
    return {"input_ids": ids, "attention_mask": mask}


def targets(rows: int = len(LENGTHS), steps: int = 6) -> torch.Tensor:
    ids = torch.randint(3, 40, (rows, steps), generator=torch.Generator().manual_seed(9))
    ids[:, 0] = START
    return ids


def assert_close(a, b, tolerance=1e-5):
    torch.testing.assert_close(a, b, atol=tolerance, rtol=0)


# --- a text's answer is its own --------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_layers", [1, 2])
@torch.no_grad()
def test_logits_do_not_depend_on_padding_or_on_the_other_texts(num_layers):
    model, rows, decoder = tiny_model(num_layers=num_layers, lstm_dropout=0.0), texts(), targets()
    alone = torch.cat([model(row[None], decoder_input_ids=decoder[i : i + 1]).logits for i, row in enumerate(rows)])
    other = model(rows[0][None].roll(1), decoder_input_ids=decoder[:1]).logits
    assert (other - alone[:1])[:, -1].abs().max() > 1e-2  # the source reaches the last step
    for batch in (padded(rows), padded(rows, 14), padded(rows, 14, side="left")):
        ids, mask = batch["input_ids"], batch["attention_mask"]
        assert_close(model(**batch, decoder_input_ids=decoder).logits, alone)
        assert_close(model(ids, decoder_input_ids=decoder).logits, alone)
        embedded = model.get_input_embeddings()(ids)
        assert_close(model(inputs_embeds=embedded, attention_mask=mask, decoder_input_ids=decoder).logits, alone)
        encoded = model.get_encoder()(**batch)
        assert_close(model(encoder_outputs=encoded, attention_mask=mask, decoder_input_ids=decoder).logits, alone)
    reversed_batch = padded(rows[::-1])
    assert_close(model(**reversed_batch, decoder_input_ids=decoder.flip(0)).logits, alone.flip(0))


@torch.no_grad()
def test_masked_steps_count_for_nothing_wherever_they_stand():
    model, row, decoder = tiny_model(), texts()[0], targets(1)
    gapped = torch.tensor([[7, row[0], 8, 9, row[1], row[2], 3, row[3], row[4], 11]])
    mask = torch.tensor([[0, 1, 0, 0, 1, 1, 0, 1, 1, 0]])
    got = model(gapped, mask, decoder, output_attentions=True)
    want = model(row[None], decoder_input_ids=decoder, output_attentions=True)
    assert_close(got.logits, want.logits)
    assert_close(got.encoder_last_hidden_state[:, mask[0].bool()], want.encoder_last_hidden_state)
    assert_close(got.cross_attentions[0][..., mask[0].bool()], want.cross_attentions[0])
    assert_close(got.cross_attentions[0].sum(-1), torch.ones(1, 1, 6))


@torch.no_grad()
def test_an_empty_text_has_finite_logits_of_its_own():
    model, decoder = tiny_model(), targets(5)
    alone = model(torch.tensor([[PAD]]), decoder_input_ids=decoder[4:]).logits
    assert alone.isfinite().all() and alone.abs().max() > 1e-2
    batch = padded([*texts(), torch.tensor([], dtype=torch.long)])
    assert_close(model(**batch, decoder_input_ids=decoder).logits[4:], alone)
    batch["input_ids"][4] = 7  # masked out, so still an empty text
    assert_close(model(**batch, decoder_input_ids=decoder).logits[4:], alone)


@torch.no_grad()
def test_equals_the_formulas_on_nn_lstm():
    model, row, decoder = tiny_model(), texts()[0], targets(1)
    encoder = nn.LSTM(6, 4, 2, bidirectional=True)
    encoder.load_state_dict(model.encoder.lstm.state_dict())
    writer = nn.LSTM(6, 8, 2)
    writer.load_state_dict(model.decoder.lstm.state_dict())
    vectors = model.get_input_embeddings().weight

    source = encoder(vectors[row])[0]  # [s, h]
    cell = (model.decoder.bridge.weight @ source.mean(0) + model.decoder.bridge.bias).view(2, 8)
    states = writer(vectors[decoder[0]], (cell.tanh(), cell))[0]  # [t, h]
    weights = (states @ model.decoder.query.weight.T @ source.T / 8**0.5).softmax(-1)
    attentional = model.decoder.combine(torch.cat([weights @ source, states], -1)).tanh()
    output = model(row[None], decoder_input_ids=decoder, output_attentions=True)
    assert_close(output.cross_attentions[0][0, 0], weights)
    assert_close(output.logits[0], attentional @ vectors.T + model.lm_head.bias)


@torch.no_grad()
def test_forward_takes_and_ignores_what_others_pass_and_can_return_a_tuple():
    model, batch, decoder = tiny_model(), padded(texts()), targets()
    output = model(**batch, decoder_input_ids=decoder)
    more = {"decoder_inputs_embeds": None, "output_hidden_states": None, "task_ids": None, "inputs_embeds": None}
    as_tuple = model(**batch, decoder_input_ids=decoder, return_dict=False, **more)
    assert type(as_tuple) is tuple and torch.equal(as_tuple[0], output.logits)
    encoded = (output.encoder_last_hidden_state,)
    again = model(encoder_outputs=encoded, attention_mask=batch["attention_mask"], decoder_input_ids=decoder)
    assert torch.equal(again.logits, output.logits)
    with pytest.raises(ValueError, match="either input_ids or inputs_embeds"):
        model(decoder_input_ids=decoder)
    with pytest.raises(ValueError, match="decoder_input_ids or labels"):
        model(**batch)


# --- the loss and gradients ------------------------------------------------------------------------------------------


def test_labels_are_shifted_and_those_of_minus_100_do_not_count():
    model, batch = tiny_model(), padded(texts())
    labels = targets()[:, 1:]
    labels[1, 2:] = -100
    shifted = model.prepare_decoder_input_ids_from_labels(labels)
    assert shifted[1].tolist() == [START, *labels[1, :2].tolist(), PAD, PAD]
    output = model(**batch, labels=labels)
    logits = model(**batch, decoder_input_ids=shifted).logits
    assert_close(output.logits, logits, 0)
    counted = labels != -100
    assert_close(output.loss, nn.functional.cross_entropy(logits[counted], labels[counted]))
    assert "cache" not in output and "past_key_values" not in output


@pytest.mark.parametrize("tie", [True, False])
def test_every_parameter_gets_a_gradient(tie):
    model = tiny_model(tie_word_embeddings=tie).train()
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == tie
    model(**padded(texts()), labels=targets()).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.abs().max() > 1e-6, name


def test_dropout_is_for_training_only():
    model, batch = tiny_model(lstm_dropout=0.5, embedding_dropout=0.0, output_dropout=0.0), padded(texts())
    logits = [model.train(training)(**batch, labels=targets()).logits for training in (True, True, False, False)]
    assert not torch.equal(logits[0], logits[1]) and torch.equal(logits[2], logits[3])


def test_the_kernel_drops_nothing_itself(monkeypatch):
    """cuDNN's dropout has a state that no checkpoint holds; ours between the layers is drawn from torch's generator."""
    asked, own = [], torch._VF.lstm
    monkeypatch.setattr(torch._VF, "lstm", lambda *args: (asked.append(args[4:6]), own(*args))[1])
    lstm = ContinuedLSTM(3, 4, num_layers=3, dropout=0.5)
    x, state = torch.randn(5, 2, 3), (torch.zeros(3, 2, 4), torch.zeros(3, 2, 4))
    torch.manual_seed(0)
    out, (hidden, cell) = lstm(x, state)
    assert asked == [(1, 0.0)] * 3 and hidden.shape == cell.shape == (3, 2, 4)
    torch.testing.assert_close(hidden[-1], out[-1])
    torch.manual_seed(0)
    whole = nn.LSTM(3, 4, num_layers=3, dropout=0.5)
    whole.load_state_dict(lstm.state_dict())
    torch.manual_seed(0)
    expected, after = whole(x, state)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close((hidden, cell), after)


def test_bf16_autocast_stays_close_to_fp32_and_on_the_fused_kernel():
    model, batch = tiny_model(initializer_range=0.3), padded(texts())
    exact = model(**batch, labels=targets()).logits
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.profiler.profile() as profile:
        output = model(**batch, labels=targets())
    output.loss.backward()
    assert_close(output.logits.float(), exact, 3e-2)
    assert output.loss.dtype is torch.float32
    assert all(p.grad.isfinite().all() for p in model.parameters())
    calls = {event.key: event.count for event in profile.key_averages()}
    # Two layers in two directions and two in one. Where the kernel really computes in bf16, autocast's entry and the
    # kernel behind it are counted each.
    assert calls["aten::mkldnn_rnn_layer"] in (6, 8, 10, 12)


def test_accumulation_does_not_change_the_gradient(tmp_path):
    rows = [
        {"input_ids": row.tolist(), "labels": label.tolist()}
        for row, label in zip(texts(lengths=[4] * 8), targets(8), strict=True)
    ]

    def gradient(batch_size, steps):
        model = tiny_model(embedding_dropout=0.0, lstm_dropout=0.0, output_dropout=0.0)
        arguments = Seq2SeqTrainingArguments(
            str(tmp_path), max_steps=1, per_device_train_batch_size=batch_size, gradient_accumulation_steps=steps,
            learning_rate=1.0, optim="sgd", lr_scheduler_type="constant", max_grad_norm=0, use_cpu=True,
            save_strategy="no", disable_tqdm=True, train_sampling_strategy="sequential",
        )  # fmt: skip
        before = model.decoder.query.weight.detach().clone()
        Seq2SeqTrainer(model, arguments, train_dataset=rows).train()
        return before - model.decoder.query.weight.detach()

    assert_close(gradient(2, 4), gradient(8, 1), 1e-6)


# --- generation ------------------------------------------------------------------------------------------------------


def state_of(output):
    return output["cache" if "cache" in output else "past_key_values"]


@pytest.mark.parametrize("num_layers", [1, 2])
@torch.no_grad()
def test_step_by_step_equals_the_whole_target_at_once(num_layers):
    model, batch, decoder = tiny_model(num_layers=num_layers, lstm_dropout=0.0), padded(texts()), targets()
    expected = model(**batch, decoder_input_ids=decoder).logits
    encoded = {"encoder_outputs": model.get_encoder()(**batch), "attention_mask": batch["attention_mask"]}
    output = model(**encoded, decoder_input_ids=decoder[:, :2])
    assert_close(output.logits, expected[:, :2])
    for step in range(2, decoder.shape[1]):
        before = state_of(output).cell.clone()
        output, held = model(**encoded, decoder_input_ids=decoder[:, [step]], cache=state_of(output)), state_of(output)
        assert torch.equal(held.cell, before)  # a call does not change the state that it is given
        assert_close(output.logits[:, 0], expected[:, step])


def up_to_the_end(tokens: list[int]) -> list[int]:
    """Beam search fills up with the end token where the padding's number is 0."""
    return tokens[: tokens.index(EOS) + 1] if EOS in tokens else tokens


def generate(model, batch, **how) -> list[list[int]]:
    """What was written for each text, without the start token."""
    return [up_to_the_end(row) for row in model.generate(**batch, max_new_tokens=10, **how)[:, 1:].tolist()]


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("side", ["left", "right"])
def test_texts_are_translated_together_as_alone(beams, side):
    model, rows = tiny_model(seed=3), texts()
    alone = [generate(model, padded([row]), num_beams=beams)[0] for row in rows]
    assert len({tuple(row) for row in alone}) > 1
    assert generate(model, padded(rows, 14, side), num_beams=beams) == alone


@pytest.mark.parametrize("how", [{}, {"num_beams": 3}, {"do_sample": True}, {"do_sample": True, "num_beams": 3}])
def test_the_state_changes_nothing_but_the_time(how):
    model, batch = tiny_model(seed=3), padded(texts())
    written = []
    for use_cache in (True, False):
        torch.manual_seed(0)
        written.append(generate(model, batch, use_cache=use_cache, **how))
    assert written[0] == written[1]
    assert max(map(len, written[0])) > 3


@torch.no_grad()
def test_greedy_takes_the_most_probable_token_of_every_step():
    model, row = tiny_model(seed=3), texts()[0][None]
    ids = torch.tensor([[START]])
    for _ in range(10):
        best = model(row, decoder_input_ids=ids).logits[:, -1].argmax(-1)
        ids = torch.cat([ids, best[:, None]], 1)
        if best.item() == EOS:
            break
    assert model.generate(row, max_new_tokens=10).tolist() == ids.tolist()


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
@torch.no_grad()
def test_wide_beams_find_the_best_of_all_sequences(length_penalty):
    model = tiny_model(seed=1, vocab_size=5)
    model.lm_head.bias[EOS] = -1.0  # or the best sequences are all short
    rows, steps = texts(lengths=[3, 5, 2], vocab_size=5), 4
    found = model.generate(
        **padded(rows), max_new_tokens=steps, num_beams=64, num_return_sequences=3, early_stopping="never",
        length_penalty=length_penalty, return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    everything = torch.cartesian_prod(*[torch.arange(5)] * steps)  # [n, steps]
    decoder = torch.cat([torch.full((len(everything), 1), START), everything[:, :-1]], 1)
    lengths = set()
    for i, row in enumerate(rows):
        log_probs = model(row.expand(len(decoder), -1), decoder_input_ids=decoder).logits.log_softmax(-1)
        of_tokens = log_probs.gather(2, everything[..., None])[..., 0]
        scores = {}
        for tokens, parts in zip(everything.tolist(), of_tokens, strict=True):
            tokens = up_to_the_end(tokens)
            scores[tuple(tokens)] = parts[: len(tokens)].sum().item() / len(tokens) ** length_penalty
        best = sorted(scores, key=scores.get, reverse=True)[:3]
        for place, tokens in enumerate(best, start=3 * i):
            assert up_to_the_end(found.sequences[place, 1:].tolist()) == list(tokens)
            assert found.sequences_scores[place].item() == pytest.approx(scores[tokens], abs=1e-5)
            lengths.add(len(tokens))
    assert length_penalty == 0 or max(lengths) == steps


def test_generate_returns_the_attention_when_asked():
    model, row = tiny_model(seed=3), texts()[2][None]
    output = model.generate(row, max_new_tokens=3, min_new_tokens=3, return_dict_in_generate=True,
                            output_attentions=True)  # fmt: skip
    assert [step[0].shape for step in output.cross_attentions] == [(1, 1, 1, 9)] * 3


def test_a_model_that_cannot_take_back_what_it_read_refuses_an_assistant():
    model = tiny_model()
    with pytest.raises(ValueError, match="stateful"):
        model.generate(texts()[0][None], assistant_model=tiny_model(), max_new_tokens=3)


# --- saving and loading ----------------------------------------------------------------------------------------------


def moved(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


@pytest.mark.parametrize("tie", [True, False])
def test_a_saved_model_loads_through_the_auto_classes_without_new_weights(tmp_path, tie):
    model = moved(tiny_model(tie_word_embeddings=tie))
    model.save_pretrained(tmp_path)
    loaded, info = AutoModelForSeq2SeqLM.from_pretrained(tmp_path, output_loading_info=True)
    assert type(loaded) is LstmForConditionalGeneration
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert ("lm_head.weight" in load_file(tmp_path / "model.safetensors")) != tie
    for name, parameter in model.state_dict().items():
        assert torch.equal(parameter, loaded.state_dict()[name]), name
    assert (loaded.lm_head.weight is loaded.get_input_embeddings().weight) == tie
    batch = padded(texts())
    assert_close(loaded.eval()(**batch, labels=targets()).logits, model(**batch, labels=targets()).logits, 0)
    assert loaded.generation_config.eos_token_id == EOS


def test_a_missing_weight_is_drawn_and_the_loaded_ones_are_left_alone(tmp_path):
    model = moved(tiny_model())
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["decoder.lstm.weight_hh_l0"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded = LstmForConditionalGeneration.from_pretrained(tmp_path)
    for name, parameter in model.named_parameters():
        if name == "decoder.lstm.weight_hh_l0":
            for gate in loaded.get_parameter(name).chunk(4):
                assert_close(gate @ gate.T, torch.eye(8))
        else:
            assert torch.equal(loaded.get_parameter(name), parameter), name


def test_the_saved_folder_loads_in_a_fresh_process_without_hf_kit(tmp_path):
    model, folder = moved(tiny_model(seed=3)), tmp_path / "saved"
    model.save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["auto_map"] == {
        "AutoConfig": "configuration_lstm_seq2seq.LstmSeq2SeqConfig",
        "AutoModelForSeq2SeqLM": "modeling_lstm_seq2seq.LstmForConditionalGeneration",
    }
    code = (
        "import sys; sys.modules['hf_kit'] = None\n"
        "import json, torch\n"
        "from transformers import AutoModelForSeq2SeqLM as Auto\n"
        "model = Auto.from_pretrained(sys.argv[1], trust_remote_code=True).eval()\n"
        "assert type(model).__module__.startswith('transformers_modules'), type(model)\n"
        "ids, labels = (torch.tensor(x) for x in json.loads(sys.argv[2]))\n"
        "with torch.no_grad(): logits = model(ids, labels=labels).logits\n"
        "written = [model.generate(ids, num_beams=n, max_new_tokens=8).tolist() for n in (1, 3)]\n"
        "print(json.dumps([logits.tolist(), written]))\n"
    )
    ids, labels = padded(texts())["input_ids"], targets()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(folder), json.dumps([ids.tolist(), labels.tolist()])],
        capture_output=True,
        text=True,
        cwd=elsewhere,
        env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    logits, written = json.loads(done.stdout)
    assert_close(torch.tensor(logits), model(ids, labels=labels).logits.detach())
    assert written == [model.generate(ids, num_beams=n, max_new_tokens=8).tolist() for n in (1, 3)]


def test_the_modeling_file_names_every_file_that_it_needs():
    """transformers fetches only those from the Hub."""
    folder = Path(sys.modules[LstmForConditionalGeneration.__module__].__file__).parent

    def named(stem: str) -> set[str]:
        lines = (folder / f"{stem}.py").read_text(encoding="utf-8").splitlines()
        return {line.split()[1][1:] for line in lines if line.startswith("from .")}

    for model in ("modeling_lstm", "modeling_lstm_seq2seq"):
        direct = named(model)
        assert direct and set().union(*(named(stem) for stem in direct)) <= direct, model


# --- first weights, configuration ------------------------------------------------------------------------------------


def test_fresh_weights():
    model = tiny_model(vocab_size=2000, initializer_range=0.3)
    assert model.get_input_embeddings().weight.std().item() == pytest.approx(0.3, rel=0.05)
    for lstm in (model.encoder.lstm, model.decoder.lstm):
        for gate in lstm.weight_hh_l0.chunk(4):
            assert_close(gate @ gate.T, torch.eye(lstm.hidden_size))
        bias = lstm.bias_ih_l1 + lstm.bias_hh_l1
        assert [gate.unique().tolist() for gate in bias.chunk(4)] == [[0.0], [1.0], [0.0], [0.0]]
    assert model.decoder.query.weight.abs().max() > 0


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("vocab_size", 0, "from 1"),
        ("embedding_dim", 0, "from 1"),
        ("hidden_dim", 7, "an even number"),
        ("hidden_dim", 0, "an even number"),
        ("num_layers", 0, "from 1"),
        ("embedding_dropout", -0.1, "less than 1"),
        ("lstm_dropout", 1.0, "less than 1"),
        ("output_dropout", 2, "less than 1"),
        ("initializer_range", 0.0, "greater than 0"),
        ("pad_token_id", 40, "0 to 39"),
        ("eos_token_id", -1, "0 to 39"),
        ("decoder_start_token_id", 40, "0 to 39"),
        ("is_encoder_decoder", False, "True"),
    ],
)
def test_the_config_refuses_bad_values(field, value, allowed):
    with pytest.raises(ValueError) as error:
        tiny_config(**{field: value})
    assert field in str(error.value) and repr(value) in str(error.value) and allowed in str(error.value)
    config = tiny_config()
    setattr(config, field, value)
    with pytest.raises(ValueError, match=field):
        LstmForConditionalGeneration(config)


def test_the_model_is_found_and_known_to_the_auto_classes():
    own = own_model_types()["hf_kit_lstm_seq2seq"]
    assert own.TRAINING_DEFAULTS["learning_rate"] == 1e-3 and own.HEAD_MODULES == ()
    config = AutoConfig.for_model("hf_kit_lstm_seq2seq", vocab_size=40, embedding_dim=6, d_model=10)
    assert config.hidden_size == config.hidden_dim == 10 and config.is_encoder_decoder
    model = AutoModelForSeq2SeqLM.from_config(config)
    assert model.can_generate() and model.get_encoder() is model.encoder
    model.resize_token_embeddings(50)
    assert model.lm_head.weight is model.get_input_embeddings().weight and len(model.lm_head.bias) == 50
    assert model(texts()[0][None], labels=targets(1)).logits.shape == (1, 6, 50)


# --- LoRA ------------------------------------------------------------------------------------------------------------


def test_lora_reaches_all_matrices_and_trains_saves_reloads_merges_and_generates(tmp_path):
    dropouts = {"embedding_dropout": 0.0, "lstm_dropout": 0.0, "output_dropout": 0.0}
    tiny_model(seed=3, **dropouts).save_pretrained(tmp_path / "base")
    arguments = ModelArguments(model_name_or_path=str(tmp_path / "base"), config_overrides={})

    def load_base():
        return load_model(arguments, load_config(arguments), AutoModelForSeq2SeqLM, seed=0)

    named = lora_target_parameters(load_base().model)
    assert len(named) == 8 + 4 + 3 and {"encoder.lstm.weight_ih_l0", "decoder.query.weight"} <= set(named)
    peft_model = add_lora(load_base(), LoraArguments(lora_r=2), "SEQ_2_SEQ_LM").train()
    assert 0 < trainable_share(peft_model)[0] < trainable_share(peft_model)[1]
    start = {name: p.detach().clone() for name, p in peft_model.named_parameters()}
    optimizer = torch.optim.Adam([p for p in peft_model.parameters() if p.requires_grad], lr=0.05)
    batch = padded(texts())
    for _ in range(3):
        optimizer.zero_grad()
        peft_model(**batch, labels=targets()).loss.backward()
        optimizer.step()
    adapted = {name for name in start if "lora_" in name}
    assert len(adapted) == 2 * len(named)
    for name, parameter in peft_model.named_parameters():
        assert torch.equal(parameter, start[name]) != (name in adapted), name

    def answers(model):
        return model(**batch, labels=targets()).logits, generate(model, batch), generate(model, batch, num_beams=3)

    peft_model.eval()
    with torch.no_grad():
        logits, *written = answers(peft_model)
        before, *unlike = answers(load_base().model.eval())
        assert (logits - before).abs().max() > 1e-2 and written != unlike
        peft_model.save_pretrained(tmp_path / "adapter")
        finish_adapter_folder(tmp_path / "adapter", [])
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # how PEFT says that adapter keys are missing
            reloaded = PeftModel.from_pretrained(load_base().model, tmp_path / "adapter").eval()
        assert_close(answers(reloaded)[0], logits, 1e-6)
        assert list(answers(reloaded)[1:]) == written
        merged = reloaded.merge_and_unload()
        merged.save_pretrained(tmp_path / "merged")
        for model in (merged, LstmForConditionalGeneration.from_pretrained(tmp_path / "merged").eval()):
            again, *texts_again = answers(model)
            assert_close(again, logits, 1e-5)
            assert texts_again == written
