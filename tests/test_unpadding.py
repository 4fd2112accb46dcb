"""Packed texts: every text's logits and gradients are those of the padded batch, and nothing of it is saved."""

import copy
import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from tiny import FAMILIES, reviews, write_csv
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForSequenceClassification

from hf_kit import evaluation, packed_attention, run, unpadding
from hf_kit.arguments import KitTrainingArguments
from hf_kit.cli import main
from hf_kit.cpu_attention import attend_on_cpu
from hf_kit.packed_attention import Packing, kernel_fault, plain_attention

LENGTHS = [9, 3, 14, 1, 6]
SUPPORTED = ["bert", "camembert", "data2vec-text", "distilbert", "electra", "ernie", "roberta", "xlm-roberta"]


def make_model(family: str, dropout: bool = False, **overrides):
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **FAMILIES.get(family, FAMILIES["bert"]) | {"vocab_size": 50} | overrides)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():  # fresh weights are so small that attention hardly matters
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return model.train(dropout)


def make_batch(lengths=LENGTHS, longest=None, seed=0) -> dict[str, torch.Tensor]:
    """Texts padded on the right; text i is the same whatever stands beside it."""
    longest = longest or max(lengths)
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    texts = [torch.randint(5, 50, (n,), generator=torch.Generator().manual_seed(seed + n)) for n in lengths]
    # 1 is the padding token of RoBERTa's kind, 0 of BERT's; the mask is what counts.
    ids = torch.stack([F.pad(text, (0, longest - len(text)), value=1) for text in texts])
    return {"input_ids": ids, "attention_mask": mask.long()}


def unpadded(model):
    twin = copy.deepcopy(model)
    unpadding.unpad(twin)
    return twin


@pytest.fixture
def packed_texts(monkeypatch):
    """The shapes of the queries that packed attention got, a list that grows."""
    shapes = []

    def record(query, *args):
        shapes.append(tuple(query.shape))
        return plain_attention(query, *args)

    monkeypatch.setattr(unpadding, "plain_attention", record)
    return shapes


def logits_and_gradients(model, batch):
    logits = model(**batch).logits
    model.zero_grad()
    (logits * torch.arange(1.0, logits.numel() + 1, device=logits.device).view_as(logits)).sum().backward()
    return logits.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_same(model, other, batch, tolerance=1e-5):
    logits, gradients = logits_and_gradients(model, batch)
    others, other_gradients = logits_and_gradients(other, batch)
    torch.testing.assert_close(others, logits, rtol=tolerance, atol=tolerance)
    assert gradients.keys() == other_gradients.keys()
    for name, gradient in gradients.items():
        error = (other_gradients[name] - gradient).abs().max() / gradient.abs().max().clamp(min=1)
        assert error < tolerance, name


@pytest.mark.parametrize("family", SUPPORTED)
def test_logits_and_gradients_are_those_of_the_padded_batch(family, packed_texts):
    model = make_model(family)
    assert_same(model, unpadded(model), make_batch())
    assert packed_texts == [(sum(LENGTHS), 2, 8)] * 2  # both layers saw the tokens alone


def test_every_supported_family_is_tested():
    assert sorted(unpadding.STACKS) == SUPPORTED


def test_padding_on_the_left_or_inside_a_text_changes_nothing(packed_texts):
    model = make_model("bert")
    batch = make_batch()
    batch["attention_mask"] = batch["attention_mask"].flip(1)
    assert_same(model, unpadded(model), batch)
    assert not packed_texts  # the head reads the first position, which is padding here
    batch["attention_mask"] = (torch.rand(5, 14, generator=torch.Generator().manual_seed(0)) < 0.5).long()
    batch["attention_mask"][:, 0] = 1
    assert_same(model, unpadded(model), batch)
    assert len(packed_texts) == 2


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_text_does_not_depend_on_its_neighbours(family):
    model = unpadded(make_model(family))
    logits = model(**make_batch()).logits
    order = [3, 0, 4, 2, 1]
    torch.testing.assert_close(model(**make_batch([LENGTHS[i] for i in order])).logits, logits[order])
    others = model(**make_batch([9, 20, 3], longest=25)).logits
    torch.testing.assert_close(others[[0, 2]], logits[:2])
    alone = model(**make_batch([14])).logits
    torch.testing.assert_close(alone[0], logits[2])


def test_nothing_is_packed_where_nothing_is_padded(packed_texts):
    model = make_model("bert")
    assert_same(model, unpadded(model), make_batch([7, 7]))
    batch = make_batch([7, 7])
    del batch["attention_mask"]
    assert_same(model, unpadded(model), batch)
    assert not packed_texts


def test_a_row_of_padding_alone_is_padding():
    model = make_model("bert")
    assert_same(model, unpadded(model), make_batch([9, 0, 3]))


def test_what_shows_the_layers_is_padded(packed_texts):
    model = make_model("bert")
    twin = unpadded(model)
    ours = twin(**make_batch(), output_hidden_states=True).hidden_states
    for state, plain in zip(ours, model(**make_batch(), output_hidden_states=True).hidden_states, strict=True):
        torch.testing.assert_close(state, plain)
    twin.config.output_hidden_states = True
    assert twin(**make_batch()).hidden_states[1].shape == (5, 14, 16)
    assert not packed_texts


def test_another_model_of_the_same_configuration_is_padded(packed_texts):
    model = make_model("bert")
    other = type(model)(model.config).eval()
    logits = other(**make_batch()).logits
    unpadding.unpad(model)
    torch.testing.assert_close(other(**make_batch()).logits, logits)
    assert not packed_texts


def test_a_mask_of_the_callers_own_is_kept(packed_texts):
    model = make_model("bert")
    batch = make_batch()
    batch["attention_mask"] = torch.ones(5, 1, 14, 14, dtype=torch.bool).tril()
    torch.testing.assert_close(unpadded(model)(**batch).logits, model(**batch).logits)
    assert not packed_texts


def test_padding_of_the_result_is_zero():
    model = unpadded(make_model("bert"))
    states = model.bert(**make_batch()).last_hidden_state
    padding = make_batch()["attention_mask"] == 0
    assert (states[padding] == 0).all() and (states[~padding] != 0).all()


def test_gradient_checkpointing_changes_nothing(packed_texts):
    model = make_model("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).train()
    for reentrant in (False, True):
        twin = unpadded(model)
        twin.activation_checkpointing_enable({"use_reentrant": reentrant})
        packed_texts.clear()
        assert_same(model, twin, make_batch())
        assert len(packed_texts) == 4  # once forwards, once again backwards


def test_lora_finds_the_layers_inside(packed_texts):
    config = LoraConfig(target_modules=["query", "value"], modules_to_save=["classifier"], task_type="SEQ_CLS")
    torch.manual_seed(1)
    model = get_peft_model(make_model("bert"), config).eval()
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    assert_same(model, unpadded(model), make_batch())
    assert packed_texts


def test_inference_mode_and_bf16_autocast(packed_texts):
    model = make_model("bert")
    with torch.inference_mode():
        plain = model(**make_batch()).logits
        torch.testing.assert_close(unpadded(model)(**make_batch()).logits, plain)
        with torch.autocast("cpu", torch.bfloat16):
            half = unpadded(model)(**make_batch()).logits
    torch.testing.assert_close(half.float(), plain, rtol=0.05, atol=0.1)
    assert len(packed_texts) == 4


def test_autocast_reaches_the_kernel_as_it_reaches_scaled_dot_product_attention(monkeypatch):
    seen = []

    def record(query, key, value, *args):
        seen.append({query.dtype, key.dtype, value.dtype})
        return plain_attention(query, key, value, *args)

    monkeypatch.setattr(unpadding, "plain_attention", record)
    model = make_model("bert")
    for layer in model.bert.encoder.layer:  # an adapter, say, that computes in float32
        layer.attention.self.query.register_forward_hook(lambda module, args, out: out.float())
    with torch.autocast("cpu", torch.bfloat16):
        unpadded(model)(**make_batch())
    assert seen == [{torch.bfloat16}] * 2


def test_training_with_dropout_keeps_its_rate(monkeypatch):
    rates = []

    def record(query, key, value, packing, dropout, scale):
        rates.append(dropout)
        return plain_attention(query, key, value, packing, dropout, scale)

    monkeypatch.setattr(unpadding, "plain_attention", record)
    model = unpadded(make_model("bert", dropout=True, attention_probs_dropout_prob=0.3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    batch = make_batch() | {"labels": torch.tensor([0, 1, 0, 1, 0])}
    losses = []
    for _ in range(60):
        losses.append(model(**batch).loss)
        losses[-1].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    assert set(rates) == {0.3}
    model.eval()(**batch)
    assert rates[-1] == 0


def test_nothing_of_it_is_saved(tmp_path, packed_texts):
    model = make_model("roberta")
    twin = unpadded(model)
    twin(**make_batch())
    model.save_pretrained(tmp_path / "padded")
    twin.save_pretrained(tmp_path / "unpadded")
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("padded", "unpadded")]
    assert configs[0] == configs[1]
    packed_texts.clear()
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "unpadded").eval()
    torch.testing.assert_close(again(**make_batch()).logits, model(**make_batch()).logits)
    assert again.config._attn_implementation == "sdpa" and not packed_texts


def test_a_run_trains_to_the_same_weights_and_scores(tmp_path, monkeypatch, packed_texts):
    write_csv(tmp_path / "reviews.csv", reviews())
    overrides = FAMILIES["bert"] | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    flags = ["--model_type=bert", f"--config_overrides={json.dumps(overrides)}", "--vocab_size=200", "--bf16=False"]
    flags += ["--train_file=reviews.csv", "--num_train_epochs=2", "--baselines=False", "--disable_tqdm=True"]
    assert main(["train", *flags, "--output_dir=padded"]) == 0
    assert not packed_texts
    # On a CPU the last layer would compute the first token alone, which packed texts know nothing of.
    for module in (run, evaluation):
        monkeypatch.setattr(module, "compute_first_token_alone", lambda model: False)
    monkeypatch.setattr(unpadding, "unpad_where_it_pays", lambda model, training: unpadding.unpad(model))
    assert main(["train", *flags, "--output_dir=unpadded"]) == 0
    assert packed_texts
    for name, weight in load_file("padded/model.safetensors").items():
        torch.testing.assert_close(load_file("unpadded/model.safetensors")[name], weight, rtol=1e-4, atol=1e-5)
    padded, packed = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("padded", "unpadded"))
    assert packed["test"]["loss"] == pytest.approx(padded["test"]["loss"], abs=1e-5)
    packed_texts.clear()
    assert main(["evaluate", "padded", "--test_file=reviews.csv"]) == 0
    assert packed_texts


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - set(SUPPORTED)))
def test_other_families_are_left_alone(family):
    if family == "hf_kit_lstm":
        import hf_kit.models  # noqa: F401  registers it
    model = make_model(family, pad_token_id=0)
    assert "family" in unpadding.obstacle(model)


def test_settings_that_packing_cannot_keep_are_left_alone():
    assert not unpadding.obstacle(make_model("bert"))
    assert "decoder" in unpadding.obstacle(make_model("bert", is_decoder=True))
    assert "chunk" in unpadding.obstacle(make_model("bert", chunk_size_feed_forward=2))
    model = make_model("bert")
    attend_on_cpu(model)  # as a run does before the trainer moves the model to a GPU
    assert model.config._attn_implementation != "sdpa" and not unpadding.obstacle(model)
    model.set_attn_implementation("eager")
    assert "eager" in unpadding.obstacle(model)


def test_layers_that_do_not_hand_the_packing_on_are_found(monkeypatch):
    model = unpadded(make_model("bert"))
    forward = model.bert.encoder.layer[1].attention.forward
    monkeypatch.setattr(
        model.bert.encoder.layer[1].attention, "forward", lambda *args, packing, **kwargs: forward(*args, **kwargs)
    )
    with pytest.raises(RuntimeError, match="1 of 2 layers"):
        model(**make_batch())


def test_the_choice_and_its_reason(tmp_path, monkeypatch):
    model = make_model("bert")
    training = KitTrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    assert "only GPUs" in unpadding.unpad_where_it_pays(model, training)
    assert "family" in unpadding.unpad_where_it_pays(make_model("mpnet"), training)
    # A GPU that is not there; what would run on it is faked.
    monkeypatch.setattr(KitTrainingArguments, "device", torch.device("cuda"))
    monkeypatch.setattr(unpadding, "kernel_fault", lambda *_: "no kernel image")
    training.mixed_precision = "no"
    assert "bf16 or fp16" in unpadding.unpad_where_it_pays(model, training)
    training.mixed_precision = "bf16"
    assert "no kernel image" in unpadding.unpad_where_it_pays(model, training)
    assert model.config._attn_implementation == "sdpa"
    monkeypatch.setattr(unpadding, "kernel_fault", lambda *_: "")
    training.torch_compile = True
    assert "--torch_compile" in unpadding.unpad_where_it_pays(model, training)
    training.torch_compile = False
    assert unpadding.unpad_where_it_pays(model, training).startswith("padding is not computed")
    assert model.config._attn_implementation == unpadding.ATTENTION


def test_a_kernel_is_tried_before_it_is_used():
    device, dtype = torch.device("cpu"), torch.bfloat16

    def across_texts(query, key, value, packing, dropout, scale):
        one = Packing(packing.tokens, packing.ends[[0, -1]], packing.shape)
        return plain_attention(query, key, value, one, dropout, scale)

    def without_dropout(query, key, value, packing, dropout, scale):
        return plain_attention(query, key, value, packing, 0.0, scale)

    def no_scale(query, key, value, packing, dropout, scale):
        return plain_attention(query, key, value, packing, dropout, 1.0)

    state = torch.get_rng_state()
    assert kernel_fault(device, dtype, 4, 32, plain_attention) == ""
    assert (torch.get_rng_state() == state).all()
    assert "off by" in kernel_fault(device, dtype, 4, 32, across_texts)
    assert "off by" in kernel_fault(device, dtype, 4, 32, no_scale)
    assert "drops 0.0%" in kernel_fault(device, dtype, 4, 32, without_dropout)
    # The operator itself: PyTorch has it for GPUs alone.
    assert "CPU" in kernel_fault(device, dtype, 4, 32)


def test_the_operator_takes_what_it_is_given_and_has_a_gradient():
    inputs = [torch.empty(30, 2, 64, dtype=torch.bfloat16, device="meta", requires_grad=True) for _ in range(3)]
    packing = Packing(None, torch.empty(3, dtype=torch.int32, device="meta"), (2, 20))
    out = packed_attention.flash_attention(*inputs, packing, 0.1, 0.125)
    assert out.shape == (30, 2, 64)
    assert [g.shape for g in torch.autograd.grad(out.sum(), inputs)] == [(30, 2, 64)] * 3


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no GPU visible; HF_KIT_TEST_DEVICES=0 shows one to the tests"
)
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_a_gpu_gives_the_padded_batchs_logits_and_gradients(family):
    wide = {"hidden_size": 128} if family != "distilbert" else {"dim": 128}
    model = make_model(family, **wide).cuda()
    batch = {name: values.cuda() for name, values in make_batch([30, 3, 60, 1, 17]).items()}
    assert kernel_fault(torch.device("cuda"), torch.bfloat16, 2, 64) == ""
    with torch.autocast("cuda", torch.bfloat16):
        assert_same(model, unpadded(model), batch, tolerance=0.05)
