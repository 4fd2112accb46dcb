"""Pairs read apart: the same embeddings as of single texts, and every way that other models go."""

import json
import random

import pytest
import torch
from datasets import Dataset
from peft import PeftModel
from tiny import BAD, FAMILIES, GOOD, PLAIN, reviews, write_csv
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertTokenizerFast,
    RobertaTokenizerFast,
)

from hf_kit.cli import main
from hf_kit.hub.contents import model_files
from hf_kit.models.bi_encoder import BiEncoderConfig, BiEncoderForSequenceClassification
from hf_kit.models.bi_encoder.modeling_bi_encoder import split_pairs
from hf_kit.pair_encoding import start_at_cosines
from hf_kit.tokenizer_training import train_tokenizer

FIRST = ["a lovely film", "the rude waiter and the cold room on the very slow box", "happy"]
SECOND = ["warm", "a bright shop with a friendly waiter", "the phone story and the hotel on a box"]
QUICK = ("--baselines=False", "--disable_tqdm=True", "--per_device_train_batch_size=8")


def bert_tokenizer() -> BertTokenizerFast:
    trained = train_tokenizer([text for text, _ in reviews()], vocab_size=200)
    return BertTokenizerFast(tokenizer_object=trained.backend_tokenizer, model_max_length=64)


def roberta_tokenizer() -> RobertaTokenizerFast:
    letters = {c: i + 5 for i, c in enumerate("abcdefghijklmnopqrstuvwxyzĠ")}
    vocab = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4} | letters
    return RobertaTokenizerFast(vocab=vocab, merges=[], model_max_length=128)


def bi_encoder(family: str, tokenizer, **more) -> BiEncoderForSequenceClassification:
    torch.manual_seed(0)
    shape = FAMILIES[family] | {
        "max_position_embeddings": 160,
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = BiEncoderConfig(
        text_config=AutoConfig.for_model(family, **shape),
        pad_token_id=tokenizer.pad_token_id,
        cls_token_id=tokenizer.cls_token_id,
        sep_token_id=tokenizer.sep_token_id,
        doubled_separator=tokenizer.num_special_tokens_to_add(pair=True) > 3,
        **{"num_labels": 1, "problem_type": "regression"} | more,
    )
    return AutoModelForSequenceClassification.from_config(config).eval()


@torch.no_grad()
def cosines_of_single_texts(model, tokenizer) -> torch.Tensor:
    """As sentence-transformers computes them: each text alone, a mean over its tokens."""
    sides = []
    for texts in (FIRST, SECOND):
        means = []
        for text in texts:
            inputs = tokenizer(text, return_tensors="pt")
            means.append(model.encoder(**inputs).last_hidden_state.mean(1))
        sides.append(torch.cat(means))
    return F.cosine_similarity(*sides)


@pytest.mark.parametrize("family", ["bert", "distilbert", "electra", "roberta", "xlm-roberta", "mpnet", "deberta-v2"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_a_pair_has_the_cosine_of_its_texts_read_alone(family, side):
    tokenizer = roberta_tokenizer() if family in ("roberta", "xlm-roberta", "mpnet") else bert_tokenizer()
    if family == "distilbert":
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
    model = bi_encoder(family, tokenizer)
    tokenizer.padding_side = side
    pairs = tokenizer(FIRST, SECOND, padding=True, return_tensors="pt")
    assert ("token_type_ids" in pairs) == (family in ("bert", "electra", "deberta-v2"))
    expected = cosines_of_single_texts(model, tokenizer)
    with torch.no_grad():
        torch.testing.assert_close(model.cosine(**pairs), expected, atol=1e-5, rtol=1e-4)
        logits = model(**pairs).logits
        torch.testing.assert_close(logits, model.classifier(expected), atol=1e-5, rtol=1e-4)
        alone = model(**tokenizer(FIRST[0], SECOND[0], return_tensors="pt")).logits
        torch.testing.assert_close(alone, logits[:1], atol=1e-5, rtol=1e-4)
        pairs.pop("token_type_ids", None)
        torch.testing.assert_close(model(**pairs).logits, logits)


def test_a_separator_that_stands_in_a_text_does_not_split_it_where_types_tell():
    tokenizer = bert_tokenizer()
    config = bi_encoder("bert", tokenizer).config
    pair = tokenizer(["a [SEP] film"], ["warm"], return_tensors="pt")
    ids, kept = split_pairs(pair["input_ids"], pair["attention_mask"].bool(), pair["token_type_ids"], config)
    texts = [tokenizer.decode(row[own]) for row, own in zip(ids, kept, strict=True)]
    assert texts == ["[CLS] a [SEP] film [SEP]", "[CLS] warm [SEP]"]


@pytest.mark.parametrize("tokenizer", [bert_tokenizer(), roberta_tokenizer()], ids=["bert", "roberta"])
def test_empty_texts_are_texts_and_a_missing_one_is_an_error(tokenizer):
    model = bi_encoder("bert", tokenizer)
    assert model(**tokenizer([""], [""], return_tensors="pt")).logits.isfinite().all()
    with pytest.raises(ValueError, match="pairs of texts"):
        model(**tokenizer(["alone"], return_tensors="pt"))


@pytest.mark.parametrize(
    "problem, labels",
    [
        ("regression", torch.tensor([0.5, 2.0, 1.0])),
        ("single_label_classification", torch.tensor([0, 2, 1])),
        ("multi_label_classification", torch.tensor([[0.0, 1, 1], [1, 0, 0], [0, 0, 1]])),
    ],
)
def test_every_kind_of_label_has_its_loss_and_moves_all_weights(problem, labels):
    tokenizer = bert_tokenizer()
    model = bi_encoder("bert", tokenizer, problem_type=problem, num_labels=1 if problem == "regression" else 3)
    out = model(**tokenizer(FIRST, SECOND, padding=True, return_tensors="pt"), labels=labels)
    plain = {
        "regression": lambda x: F.mse_loss(x[:, 0], labels),
        "single_label_classification": lambda x: F.cross_entropy(x, labels),
        "multi_label_classification": lambda x: F.binary_cross_entropy_with_logits(x, labels),
    }
    torch.testing.assert_close(out.loss, plain[problem](out.logits))
    out.loss.backward()
    still = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not [name for name in still if "key.bias" not in name], still  # which softmax does not see


def test_the_first_tokens_state_where_the_checkpoint_pools_so():
    tokenizer = bert_tokenizer()
    model = bi_encoder("bert", tokenizer, pooling="first")
    inputs = tokenizer(FIRST, padding=True, return_tensors="pt")
    states = model.encoder(**inputs).last_hidden_state
    embedded = model.embed(**inputs)
    torch.testing.assert_close(embedded, states[:, 0])


def test_a_configuration_without_an_encoder_or_with_an_unknown_pooling_is_refused():
    with pytest.raises(Exception, match="pooling"):
        BiEncoderConfig(text_config=AutoConfig.for_model("bert"), pooling="median")
    with pytest.raises(ValueError, match="text_config"):
        BiEncoderForSequenceClassification(BiEncoderConfig())


class Cosines(torch.nn.Module):
    """Stands for a model of which only cosines are asked: a row's is its first token's id, in hundredths."""

    def __init__(self):
        super().__init__()
        self.config = AutoConfig.for_model("bert", problem_type="regression")
        self.classifier = torch.nn.Linear(1, 1)

    def cosine(self, input_ids, **_):
        return input_ids[:, 0] / 100


@pytest.mark.parametrize("direction", [1, -1, 0])
def test_a_fresh_heads_numbers_go_from_the_least_to_the_largest_either_way_round(direction):
    rows = Dataset.from_dict(
        {"input_ids": [[i, 5] for i in range(10, 90)], "labels": [2000.0 + 3 * direction * i for i in range(10, 90)]}
    )
    model = Cosines()
    start_at_cosines(model, rows, bert_tokenizer(), (1500.0, 2500.0))
    weight, bias = model.classifier.weight.item(), model.classifier.bias.item()
    assert (weight, bias) == ((-1000, 2500) if direction < 0 else (1000, 1500))
    assert model.training


@pytest.fixture
def checkpoint(tmp_path):
    """A BERT that was trained to fill in words, and rows of pairs: how many of five words of one kind they share."""
    tokenizer = train_tokenizer([text for text, _ in reviews()], vocab_size=200)
    torch.manual_seed(0)
    config = AutoConfig.for_model("bert", **FAMILIES["bert"] | {"vocab_size": 200})
    AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path / "words")
    tokenizer.save_pretrained(tmp_path / "words")
    rng, rows = random.Random(0), []
    for i in range(80):
        kind = (GOOD, BAD)[i % 2]
        other = kind if i % 4 < 2 else (BAD, GOOD)[i % 2]
        texts = [" ".join(rng.choices(words, k=4) + rng.choices(PLAIN, k=2)) for words in (kind, other)]
        rows.append((*texts, 4.5 if other is kind else 0.5))
    write_csv(tmp_path / "pairs.csv", rows, ("text", "text2", "score"))
    named = [(a, b, "same" if score > 2 else "other") for a, b, score in rows]
    write_csv(tmp_path / "named.csv", named, ("text", "text2", "label"))
    return tmp_path / "words"


def train(*flags: str) -> int:
    return main(["train", *flags, *QUICK])


@pytest.mark.proof
def test_the_whole_way_of_a_bi_encoder(checkpoint, capsys):
    flags = ("text_classification/similarity.yaml", "--train_file=pairs.csv", "--model_name_or_path=words")
    assert train(*flags, "--learning_rate=3e-3", "--num_train_epochs=6", "--output_dir=base") == 0
    said = capsys.readouterr().out
    assert "not in the checkpoint, so new: classifier" in said
    assert "a step of 8 x" in said, "the memory of a step is estimated"
    proof = json.loads((checkpoint.parent / "base/proof.json").read_text())
    assert proof["passed"], proof
    results = json.loads((checkpoint.parent / "base/results.json").read_text())
    assert results["validation"]["pearson"] > 0.8
    assert "bi-encoder" in (checkpoint.parent / "base/README.md").read_text()

    pair = ["lovely great happy warm", "--text_pair", "tasty bright friendly great"]
    assert main(["predict", "base", *pair, "--json", "--bf16=False"]) == 0
    answer = json.loads(capsys.readouterr().out)["score"]
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained("base"), AutoTokenizer.from_pretrained("base")
    inputs = tokenizer(pair[0], pair[2], return_tensors="pt")
    assert answer == pytest.approx(model.eval()(**inputs).logits.item(), abs=1e-4)
    assert answer > 2.5
    assert main(["evaluate", "base", "--test_file=pairs.csv"]) == 0

    # A finished one is a checkpoint like any other, and adapters go on it and on what it was made from.
    more = ("--train_file=pairs.csv", "--num_train_epochs=1", "--use_peft", "--lora_r=2", "--learning_rate=1e-2")
    assert train("--model_name_or_path=base", *more, "--output_dir=again") == 0
    assert train("--model_name_or_path=words", "--pair_encoding=apart", *more, "--output_dir=lora") == 0
    adapted = PeftModel.from_pretrained(AutoModelForSequenceClassification.from_pretrained("base"), "again").eval()
    merged = AutoModelForSequenceClassification.from_pretrained("again/merged").eval()
    torch.testing.assert_close(adapted(**inputs).logits, merged(**inputs).logits, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(merged(**inputs).logits, model(**inputs).logits, atol=1e-4)
    assert main(["predict", "lora", *pair]) == 0


def test_the_encoder_is_the_checkpoints_whatever_head_that_has(checkpoint, capsys):
    flags = ("--model_name_or_path=words", "--pair_encoding=apart", "--train_file=named.csv")
    assert train(*flags, "--max_steps=1", "--learning_rate=1e-12", "--output_dir=out") == 0
    ours = AutoModelForSequenceClassification.from_pretrained("out")
    assert ours.config.id2label == {0: "other", 1: "same"}
    theirs = AutoModel.from_pretrained("words", add_pooling_layer=False).state_dict()
    assert theirs.keys() == ours.encoder.state_dict().keys()
    assert all(torch.allclose(value, theirs[name]) for name, value in ours.encoder.state_dict().items())
    assert main(["predict", "out", "a film", "--text_pair", "warm"]) == 0
    capsys.readouterr()
    assert main(["predict", "out", "a film"]) == 1
    assert "reads a pair of texts" in capsys.readouterr().err


OLD = {"word_embedding_dimension": 16, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False}


@pytest.mark.parametrize(
    "said, pooling",
    [
        (OLD | {"pooling_mode_mean_tokens": True, "include_prompt": True}, "mean"),
        (OLD | {"pooling_mode_cls_token": True}, "first"),
        ({"embedding_dimension": 16, "pooling_mode": "cls", "include_prompt": True}, "first"),
        ({"embedding_dimension": 16, "pooling_mode": "mean"}, "mean"),
        (OLD | {"pooling_mode_max_tokens": True}, "pools by max_tokens"),
        (
            OLD | {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
            "pools by cls_token and mean_tokens",
        ),
        ({"pooling_mode": "lasttoken"}, "pools by lasttoken"),
        (OLD, "pools by nothing"),
        ([], "damaged"),
    ],
)
def test_how_sentence_transformers_pooled_is_read(checkpoint, capsys, said, pooling):
    (checkpoint / "1_Pooling").mkdir()
    (checkpoint / "1_Pooling/config.json").write_text(json.dumps(said))
    flags = ("--model_name_or_path=words", "--train_file=pairs.csv", "--max_steps=1", "--pair_encoding=apart")
    done = train(*flags, "--output_dir=out")
    if pooling not in ("mean", "first"):
        assert done == 1 and pooling in capsys.readouterr().err
        return
    assert done == 0
    assert AutoConfig.from_pretrained("out").pooling == pooling
    assert "the mean over its tokens" in capsys.readouterr().out or pooling == "first"


@pytest.mark.parametrize(
    ("modules", "says"),
    [
        ('[{"type": "st.models.Transformer"}, {"type": "st.models.Dense"}]', "Dense"),
        ('[{"type": "sentence_transformers.models.Normalize"}]', None),
        ("[{]", "modules.json is damaged"),
        ("[1]", "modules.json is damaged"),
    ],
)
def test_parts_that_a_bi_encoder_has_not_are_named(checkpoint, capsys, modules, says):
    (checkpoint / "modules.json").write_text(modules)
    flags = ("--model_name_or_path=words", "--train_file=pairs.csv", "--max_steps=1", "--pair_encoding=apart")
    done = train(*flags, "--output_dir=out")
    said = capsys.readouterr().err
    assert done == (1 if says and "damaged" in says else 0)
    assert says in said if says else "modules.json" not in said


def test_what_the_hub_does_not_show_is_said(checkpoint, capsys, monkeypatch):
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    from hf_kit import pair_encoding
    from hf_kit.arguments import ModelArguments

    arguments = ModelArguments(model_name_or_path="someone/encoder")
    for failure, warned in ((LocalEntryNotFoundError("offline"), True), (EntryNotFoundError("404"), False)):

        def refuse(*_, failure=failure, **__):
            raise failure

        monkeypatch.setattr(pair_encoding, "hf_hub_download", refuse)
        assert pair_encoding._pooling(arguments) == "mean"
        assert ("cannot be seen" in capsys.readouterr().err) == warned
        assert not pair_encoding.embeds_single_texts(arguments)


def test_who_reads_numbers_together_with_such_a_checkpoint_is_told_of_the_other_way(checkpoint, capsys, monkeypatch):
    (checkpoint / "modules.json").write_text("[]")
    monkeypatch.setenv("HOME", str(checkpoint.parent))
    flags = ("--model_name_or_path=~/words", "--train_file=pairs.csv", "--max_steps=1")
    assert train(*flags, "--output_dir=together") == 0
    assert "--pair_encoding apart" in capsys.readouterr().out
    assert train(*flags, "--pair_encoding=apart", "--output_dir=apart") == 0
    assert AutoConfig.from_pretrained("apart").pooling == "mean"


def test_a_finished_one_is_published_without_the_paths_of_this_machine(checkpoint, capsys):
    folder = checkpoint.parent
    flags = (f"--model_name_or_path={checkpoint}", "--train_file=pairs.csv", "--max_steps=1")
    assert train(*flags, "--pair_encoding=apart", "--output_dir=out") == 0
    config = model_files(folder / "out")["config.json"]
    text = config.decode() if isinstance(config, bytes) else config.read_text()
    assert str(folder) not in text and "_name_or_path" not in text
    # It is a checkpoint whose encoder's fields can be set, and which wants pairs.
    more = ("--model_name_or_path=out", "--max_steps=1", '--config_overrides={"hidden_dropout_prob": 0.25}')
    assert train(*more, "--train_file=pairs.csv", "--output_dir=again") == 0
    assert AutoConfig.from_pretrained("again").text_config.hidden_dropout_prob == 0.25
    write_csv(folder / "reviews.csv", reviews())
    capsys.readouterr()
    assert train(*more, "--train_file=reviews.csv", "--output_dir=lone") == 1
    assert "--text_pair_column" in capsys.readouterr().err
    assert not (folder / "lone").exists()
    assert main(["predict", "out", "a film", "--text_pair", ""]) == 0


def test_a_head_that_is_made_anew_starts_at_the_cosine(tmp_path):
    tokenizer = bert_tokenizer()
    bi_encoder("bert", tokenizer, problem_type="single_label_classification", num_labels=3).save_pretrained("classes")
    other = {"num_labels": 1, "problem_type": "regression", "ignore_mismatched_sizes": True}
    model = AutoModelForSequenceClassification.from_pretrained("classes", **other)
    assert (model.classifier.weight.item(), model.classifier.bias.item()) == (1, 0)


def test_a_single_separator_within_a_text_is_no_end_where_two_stand_between_texts():
    tokenizer = roberta_tokenizer()
    config = bi_encoder("roberta", tokenizer).config
    pair = tokenizer(["a </s> film", ""], ["warm </s>", "happy"], padding=True, return_tensors="pt")
    ids, kept = split_pairs(pair["input_ids"], pair["attention_mask"].bool(), None, config)
    alone = [tokenizer(text)["input_ids"] for text in ("a </s> film", "", "warm </s>", "happy")]
    assert [row[own].tolist() for row, own in zip(ids, kept, strict=True)] == alone


@pytest.mark.parametrize(
    "flags, said",
    [
        (("--model_type=bert",), "a fresh model's embeddings"),
        (("--model_type=hf_kit_bi_encoder",), "made around a checkpoint, by --model_name_or_path"),
        (("--model_name_or_path=words", "--train_file=reviews.csv"), "--text_pair_column"),
        (("--model_name_or_path=gpt",), "frames a pair in a way"),
        (("--model_name_or_path=lstm",), "no encoder that embeds a text"),
        (("--model_name_or_path=words", "--pair_encoding=appart"), "apart"),
    ],
)
def test_what_cannot_be_read_apart_is_said_before_any_work(checkpoint, made_once, capsys, flags, said):
    from transformers import GPT2Config, GPT2LMHeadModel

    write_csv(checkpoint.parent / "reviews.csv", reviews())
    (checkpoint.parent / "lstm").symlink_to(made_once / "run")
    GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=1, n_embd=8, vocab_size=200)).save_pretrained("gpt")
    tokenizer = train_tokenizer([text for text, _ in reviews()], vocab_size=200)
    tokenizer.cls_token = tokenizer.sep_token = None
    tokenizer.save_pretrained("gpt")
    assert train("--pair_encoding=apart", "--train_file=pairs.csv", "--output_dir=out", *flags) == 1
    assert said in capsys.readouterr().err
    assert not (checkpoint.parent / "out").exists()
