"""The tokenizer of a run: trained to the byte, loaded with its traps defused, data sets tokenized exactly and once."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
import torch
import transformers
from datasets import ClassLabel, Dataset
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

from hf_kit.errors import UserError
from hf_kit.tokenization import POSITIONS_AFTER_PADDING, effective_max_length, load_tokenizer, tokenize_dataset
from hf_kit.tokenizer_training import TRAINERS, in_the_class_that_loads, train_tokenizer
from hf_kit.truncation import kept_tokens

ENGLISH = [
    "The film is a quiet, moving story about growing up.",
    "I wanted to like this movie; it is far too long and badly acted!",
    "Badly written, badly acted, badly lit: a long evening.",
    "A moving performance in an otherwise forgettable film.",
]
CHINESE = [
    "这家酒店的服务非常好，房间很干净。",
    "房间很小，服务态度非常差，不会再来了！",
    "酒店位置很好，早餐非常丰富，服务非常好。",
    "笔记本的屏幕很亮，键盘手感非常好。",
]
TEXTS = ENGLISH + CHINESE
UNSEEN = ["A badly lit, moving evening at the Hotel Ürümqi", "服务非常周到，鳜鱼很好吃 and the film was long", ""]
TYPES = list(TRAINERS)

# hf_kit is kept from being imported until the ids are there; then it trains again under other hash seeds.
FRESH_PROCESS = """
import hashlib, json, sys
sys.modules["hf_kit"] = None
from transformers import AutoTokenizer
root, folder, given = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
out = {"ids": AutoTokenizer.from_pretrained(folder)(given["unseen"])["input_ids"]}
del sys.modules["hf_kit"]
sys.path.insert(0, root)
from hf_kit.tokenizer_training import train_tokenizer
for name in given["types"]:
    backend = train_tokenizer(given["texts"], tokenizer_type=name, vocab_size=400).backend_tokenizer
    out[name] = hashlib.sha256(backend.to_str().encode()).hexdigest()
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def trained():
    return {name: train_tokenizer(TEXTS, tokenizer_type=name, vocab_size=400) for name in TYPES}


@pytest.fixture(scope="module")
def fresh_process(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    trained["unigram"].save_pretrained(folder)
    given = json.dumps({"texts": TEXTS, "unseen": UNSEEN, "types": TYPES})
    root = str(Path(__file__).parents[1])
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", FRESH_PROCESS, root, str(folder), given],
        cwd=folder, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


# Training


@pytest.mark.parametrize("name", TYPES)
def test_a_trained_tokenizer_survives_saving_and_auto_loading(name, trained, tmp_path):
    tokenizer = trained[name]
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    pairs = UNSEEN[::-1]
    assert dict(loaded(UNSEEN, pairs)) == dict(tokenizer(UNSEEN, pairs))
    assert loaded.is_fast and loaded.padding_side == "right"
    named = ["pad_token", "unk_token", "cls_token", "sep_token", "mask_token", "bos_token", "eos_token"]
    assert [getattr(loaded, token) for token in named] == "[PAD] [UNK] [CLS] [SEP] [MASK] [CLS] [SEP]".split()
    assert loaded.pad_token_id == 0


@pytest.mark.parametrize("model_type", ["bert", "roberta", "deberta-v2", "modernbert", "llama"])
@pytest.mark.parametrize("name", ["wordpiece", "bpe"])
def test_the_config_beside_the_files_does_not_change_the_tokens(name, model_type, trained, tmp_path):
    trained[name].save_pretrained(tmp_path)
    AutoConfig.for_model(model_type).save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)(UNSEEN)["input_ids"] == trained[name](UNSEEN)["input_ids"]


def test_a_fresh_process_without_the_kit_gets_the_same_tokens(trained, fresh_process):
    assert fresh_process["ids"] == trained["unigram"](UNSEEN)["input_ids"]


@pytest.mark.parametrize("name", TYPES)
def test_the_same_texts_give_the_same_file_in_another_process(name, trained, fresh_process):
    # Hash seeds differ between processes: within one, an unstable order can look stable.
    assert hashlib.sha256(trained[name].backend_tokenizer.to_str().encode()).hexdigest() == fresh_process[name]


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("vocab_size", [40, 10_000])
def test_vocab_size_is_a_cap(name, vocab_size):
    vocab_size = vocab_size + 240 if name == "bpe" else vocab_size
    tokenizer = train_tokenizer(TEXTS, tokenizer_type=name, vocab_size=vocab_size)
    assert len(tokenizer) == len(tokenizer.get_vocab()) <= vocab_size
    assert max(tokenizer.get_vocab().values()) == len(tokenizer) - 1
    ids = tokenizer(ENGLISH[0], add_special_tokens=False)["input_ids"]
    assert set(ids) - {tokenizer.unk_token_id}, "even a small vocabulary keeps the most frequent characters"


@pytest.mark.parametrize("name", TYPES)
def test_training_texts_have_no_unknown_tokens_and_case_does_not_matter(name, trained):
    for text in TEXTS:
        ids = trained[name](text)["input_ids"]
        assert trained[name].unk_token_id not in ids
        assert ids == trained[name](text.upper())["input_ids"]


def test_byte_level_bpe_knows_every_character(trained):
    assert trained["bpe"].unk_token_id not in trained["bpe"]("鳜 🙂 Ürümqi \t \x07")["input_ids"]
    assert trained["bpe"].decode(trained["bpe"]("鳜 🙂", add_special_tokens=False)["input_ids"]).strip() == "鳜 🙂"
    assert trained["wordpiece"].unk_token_id in trained["wordpiece"]("鳜")["input_ids"]


def test_chinese_is_split_by_character_or_into_learned_words(trained):
    for name in ("wordpiece", "wordlevel"):
        assert trained[name].tokenize("服务非常好，film") == ["服", "务", "非", "常", "好", "，", "film"]
    for name in ("bpe", "unigram"):
        tokenizer = train_tokenizer(CHINESE * 5, tokenizer_type=name, vocab_size=400)
        assert len(tokenizer.tokenize("服务非常好")) < 5, name


def test_texts_to_be_written_keep_case_and_width_and_chinese_goes_by_character():
    options = {"tokenizer_type": "unigram", "vocab_size": 400, "lowercase": False}
    tokenizer = train_tokenizer([*CHINESE * 5, "Tom likes 服务", "Tom's film，非常好"], **options)
    assert tokenizer.tokenize("服务非常好，") == ["▁", "服", "务", "非", "常", "好", "，"]
    for text in ("Tom likes 服务", "Tom's film，非常好", "服务非常好"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == text
    assert tokenizer.tokenize("Tom") == ["▁Tom"]


def test_unigram_marks_where_words_begin_whatever_the_white_space(trained):
    text = "a  badly\nlit\u3000film，服务非常好"
    assert "".join(trained["unigram"].tokenize(text)) == "▁a▁badly▁lit▁film,服务非常好"
    ids = trained["unigram"](text, add_special_tokens=False)["input_ids"]
    assert trained["unigram"].decode(ids) == "a badly lit film,服务非常好"


@pytest.mark.parametrize("name", TYPES)
def test_texts_and_pairs_are_framed_as_asked(name, trained):
    plain = train_tokenizer(TEXTS, tokenizer_type=name, vocab_size=400, special_tokens="plain")
    a, b = (plain(text)["input_ids"] for text in (ENGLISH[0], CHINESE[0]))
    assert not {plain.cls_token_id, plain.sep_token_id} & {*a, *b}
    cls, sep = plain.cls_token_id, plain.sep_token_id
    assert plain(ENGLISH[0], CHINESE[0])["input_ids"] == [*a, sep, *b]
    assert "token_type_ids" not in plain(ENGLISH[0])
    framed = trained[name]
    assert framed(ENGLISH[0])["input_ids"] == [cls, *a, sep]
    pair = framed(ENGLISH[0], CHINESE[0])
    assert pair["input_ids"] == [cls, *a, sep, *b, sep]
    assert pair["token_type_ids"] == [0] * (len(a) + 2) + [1] * (len(b) + 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokenizer_type": "wordpeice"}, "did you mean `wordpiece`"),
        ({"special_tokens": "roberta"}, "bert, plain"),
        ({"vocab_size": 6}, "at least 7"),
        ({"vocab_size": 260, "tokenizer_type": "bpe"}, "at least 261"),
        ({"texts": ["", "  \n", "\u3000"]}, "every training text is empty"),
        ({"texts": []}, "every training text is empty"),
    ],
)
def test_mistakes_in_training_are_one_clear_error(change, message):
    with pytest.raises(UserError, match=re.escape(message)):
        train_tokenizer(**({"texts": TEXTS} | change))


# Loading


def _save_decoder_tokenizer(folder, **named_tokens):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocab = {token: i for i, token in enumerate(["film", "good", "<unk>", "</s>"])}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=backend, padding_side="left", **named_tokens).save_pretrained(folder)


@pytest.mark.parametrize(
    ("named_tokens", "pad_id"),
    [({"eos_token": "</s>", "unk_token": "<unk>"}, 3), ({"unk_token": "<unk>"}, 2), ({"pad_token": "good"}, 1)],
)
def test_a_loaded_tokenizer_pads_on_the_right_with_a_row_that_exists(named_tokens, pad_id, tmp_path):
    _save_decoder_tokenizer(tmp_path, **named_tokens)
    tokenizer = load_tokenizer(str(tmp_path))
    assert (tokenizer.padding_side, tokenizer.pad_token_id, len(tokenizer)) == ("right", pad_id, 4)


def test_padding_with_eos_does_not_change_what_a_decoder_answers(tmp_path):
    _save_decoder_tokenizer(tmp_path, eos_token="</s>", unk_token="<unk>")
    tokenizer = load_tokenizer(str(tmp_path))
    model = _tiny_model("llama", vocab_size=4, pad_token_id=tokenizer.pad_token_id)
    alone = tokenizer(["good film"], return_tensors="pt")
    padded = tokenizer(["good film", "good good film film film"], padding=True, return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(model(**padded).logits[0], model(**alone).logits[0])


def test_what_cannot_be_loaded_is_one_clear_error(tmp_path):
    with pytest.raises(UserError, match=r"Cannot load a tokenizer from `.*nowhere`"):
        load_tokenizer(str(tmp_path / "nowhere"))
    _save_decoder_tokenizer(tmp_path / "bare")
    with pytest.raises(UserError, match="no pad, eos, sep or unk token"):
        load_tokenizer(str(tmp_path / "bare"))


@pytest.mark.parametrize("model_type", ["bert", "roberta", "t5"])
def test_a_folder_without_tokenizer_files_is_refused(model_type, tmp_path):
    AutoConfig.for_model(model_type).save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path) is not None, "transformers makes an empty tokenizer up"
    with pytest.raises(UserError, match="its vocabulary is empty"):
        load_tokenizer(str(tmp_path))


# Lengths

POSITIONS = 24
LIMITS = {
    "albert": 24, "bert": 24, "distilbert": 24, "electra": 24, "deberta-v2": 24, "gpt2": 24,
    "roberta": 22, "xlm-roberta": 22, "camembert": 22, "mpnet": 22, "longformer": 22,
}  # fmt: skip
ROTARY = ["modernbert", "llama", "qwen2"]


def _tiny_config(model_type, **changes):
    sizes = {
        "vocab_size": 32, "pad_token_id": 1, "max_position_embeddings": POSITIONS, "num_labels": 2,
        "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8,
        "embedding_size": 8, "pooler_hidden_size": 8, "num_key_value_heads": 2, "attention_window": 4,
    } | changes  # fmt: skip
    default = AutoConfig.for_model(model_type)
    return AutoConfig.for_model(model_type, **{name: n for name, n in sizes.items() if hasattr(default, name)})


def _tiny_model(model_type, **changes):
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(_tiny_config(model_type, **changes)).eval()


@pytest.mark.parametrize("model_type", LIMITS)
def test_a_text_of_the_effective_length_runs_and_one_token_more_does_not(model_type, trained):
    model = _tiny_model(model_type)
    limit = effective_max_length(trained["wordpiece"], model.config)
    assert limit == LIMITS[model_type]
    assert effective_max_length(trained["wordpiece"], model.config, limit) == limit
    with torch.no_grad():
        assert model(input_ids=torch.full((1, limit), 5)).logits.isfinite().all()
        with pytest.raises((RuntimeError, IndexError)):
            model(input_ids=torch.full((1, limit + 1), 5))
    with pytest.raises(UserError, match=rf"max_length {limit + 1} is more than the {limit} tokens"):
        effective_max_length(trained["wordpiece"], model.config, limit + 1)


@pytest.mark.parametrize("model_type", ROTARY)
def test_rotary_models_are_held_to_the_positions_of_their_config(model_type, trained):
    config = _tiny_config(model_type)
    assert effective_max_length(trained["bpe"], config) == POSITIONS
    with torch.no_grad():
        assert _tiny_model(model_type)(input_ids=torch.full((1, POSITIONS), 5)).logits.isfinite().all()
    with pytest.raises(UserError, match=f"more than the {POSITIONS} tokens"):
        effective_max_length(trained["bpe"], config, POSITIONS + 1)


@pytest.mark.parametrize(("model_type", "limit"), [("roberta", POSITIONS - 1), ("mpnet", POSITIONS - 2)])
def test_with_padding_index_0_roberta_takes_one_token_more_and_mpnet_does_not(model_type, limit, trained):
    model = _tiny_model(model_type, pad_token_id=0)
    assert effective_max_length(trained["bpe"], model.config) == limit
    with torch.no_grad():
        model(input_ids=torch.full((1, limit), 5))
        with pytest.raises((RuntimeError, IndexError)):
            model(input_ids=torch.full((1, limit + 1), 5))


def test_without_a_limit_the_tokenizers_own_or_512_is_used(trained):
    tokenizer = train_tokenizer(TEXTS)
    for model_type in ("t5", "xlnet"):
        config = AutoConfig.for_model(model_type)
        assert effective_max_length(tokenizer, config) == 512
        assert effective_max_length(tokenizer, config, 4000) == 4000
    tokenizer.model_max_length = 128
    assert effective_max_length(tokenizer, AutoConfig.for_model("t5")) == 128
    assert effective_max_length(tokenizer, AutoConfig.for_model("bert")) == 128
    assert effective_max_length(tokenizer, AutoConfig.for_model("bert"), 512) == 512


def test_a_length_that_only_special_tokens_fill_is_refused(trained):
    with pytest.raises(UserError, match="leaves no room for text beside 3 special tokens"):
        effective_max_length(trained["bpe"], _tiny_config("bert"), 3)
    assert effective_max_length(trained["bpe"], _tiny_config("bert"), 4) == 4


def test_every_classifier_that_counts_positions_from_the_padding_index_is_known():
    models = Path(transformers.__file__).parent / "models"
    counting = set()
    for model_type in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        module = model_type.replace("-", "_")
        for source in (models / module).glob(f"modeling_{module}.py"):
            if "def create_position_ids_from_input_ids" in source.read_text(encoding="utf-8"):
                counting.add(model_type)
    assert "roberta" in counting and len(counting) > 5
    assert counting <= POSITIONS_AFTER_PADDING


# Tokenized data sets

WORDS = ["film", "long", "badly", "好", "moving", "服", "evening", "鳜"]  # one token each


def _rows(n=21 * 17):
    """Texts of 0 to 20 tokens beside others of 0 to 16, in all combinations."""
    pick = [WORDS[i * i % 11 % len(WORDS)] for i in range(n + 40)]
    texts = [" ".join(pick[i : i + i % 21]) for i in range(n)]
    pairs = [" ".join(pick[i + 3 : i + 3 + i // 21]) for i in range(n)]
    return {"text": texts, "text2": pairs, "labels": [i % 2 for i in range(n)], "id": list(range(n))}


@pytest.mark.parametrize("special_tokens", ["bert", "plain"])
@pytest.mark.parametrize("pair_column", [None, "text2"])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("max_length", [5, 12, 13])
def test_rows_are_cut_as_the_tokenizer_would_and_counted_exactly(
    special_tokens, pair_column, side, max_length, tmp_path
):
    tokenizer = train_tokenizer(TEXTS, special_tokens=special_tokens)
    rows = _rows()
    result = tokenize_dataset(
        Dataset.from_dict(rows), tokenizer, "text", pair_column,
        max_length=max_length, truncation_side=side, cache_dir=tmp_path,
    )  # fmt: skip
    tokenizer.truncation_side = side
    inputs = (rows["text"], rows[pair_column]) if pair_column else (rows["text"],)
    whole = [len(ids) for ids in tokenizer(*inputs)["input_ids"]]
    wanted = tokenizer(*inputs, truncation=True, max_length=max_length)
    assert result.truncated == sum(n > max_length for n in whole) > 0
    assert result.lost_share == pytest.approx(1 - sum(map(len, wanted["input_ids"])) / sum(whole))
    assert result.dataset["whole"][:] == whole
    assert sum(n == max_length for n in whole) > 0, "texts that just fit are in the test"
    assert result.dataset["input_ids"][:] == wanted["input_ids"]
    assert result.dataset["length"][:] == [len(ids) for ids in wanted["input_ids"]]
    if special_tokens == "bert":
        assert result.dataset["token_type_ids"][:] == wanted["token_type_ids"]


@pytest.mark.parametrize("special_tokens", ["bert", "plain"])
@pytest.mark.parametrize("pair_column", [None, "text2"])
@pytest.mark.parametrize("max_length", [5, 12, 13])
def test_the_middle_is_cut_so_that_a_quarter_of_what_is_kept_is_the_head(
    special_tokens, pair_column, max_length, tmp_path
):
    tokenizer = train_tokenizer(TEXTS, special_tokens=special_tokens)
    rows = _rows()
    result = tokenize_dataset(
        Dataset.from_dict(rows), tokenizer, "text", pair_column,
        max_length=max_length, truncation_side="middle", cache_dir=tmp_path,
    )  # fmt: skip
    # Slowly: drop one token after another from the text that is longer by now (or was shorter at first), then frame.
    room = max_length - tokenizer.num_special_tokens_to_add(pair=pair_column is not None)
    wanted = []
    for columns in zip(*(rows[name] for name in ("text", pair_column) if name), strict=True):
        words = [text.split() for text in columns]
        keep = [len(w) for w in words]
        while sum(keep) > room:
            keep[max(range(len(keep)), key=lambda n: (keep[n], -len(words[n]), -n))] -= 1
        heads = [round(n / 4 + 1e-9) for n in keep]
        cut = [w if n == len(w) else [*w[:h], *w[len(w) - n + h :]] for w, n, h in zip(words, keep, heads, strict=True)]
        wanted += tokenizer(*([" ".join(w)] for w in cut))["input_ids"]
    assert result.dataset["input_ids"][:] == wanted


def test_of_the_510_tokens_beside_berts_two_the_middle_cut_keeps_128_and_382():
    kept = kept_tokens([None, *[0] * 1000, None], 512, "middle")
    assert kept == [0, *range(1, 129), *range(1001 - 382, 1001), 1001]


def test_only_the_models_columns_are_kept_and_the_collator_makes_the_mask(trained, tmp_path):
    dataset = Dataset.from_dict(_rows()).cast_column("labels", ClassLabel(names=["bad", "good"]))
    result = tokenize_dataset(dataset, trained["bpe"], "text", max_length=16, cache_dir=tmp_path).dataset
    assert result.column_names == ["input_ids", "token_type_ids", "length", "whole", "labels"]
    assert result.features["labels"] == dataset.features["labels"]
    batch = DataCollatorWithPadding(trained["bpe"])([result[i] for i in (1, 20)])
    assert batch["attention_mask"].sum(1).tolist() == batch["length"].tolist() == [result[1]["length"], 16]
    unlabelled = dataset.remove_columns(["labels", "id", "text2"])
    plain = train_tokenizer(TEXTS, special_tokens="plain")
    assert tokenize_dataset(unlabelled, plain, "text", max_length=16, cache_dir=tmp_path).dataset.column_names == [
        "input_ids",
        "length",
        "whole",
    ]


def test_the_tokenizer_is_left_as_it_was(trained, tmp_path):
    before = trained["bpe"].backend_tokenizer.to_str()
    tokenize_dataset(Dataset.from_dict(_rows()), trained["bpe"], "text", max_length=7, cache_dir=tmp_path)
    assert trained["bpe"].backend_tokenizer.to_str() == before


def test_the_cache_goes_by_content(tmp_path, monkeypatch):
    rows = _rows()
    tokenizer = train_tokenizer(TEXTS)

    def run(rows=rows, tokenizer=tokenizer, pair=None, max_length=8, **how):
        dataset = rows if isinstance(rows, Dataset) else Dataset.from_dict(rows)
        return tokenize_dataset(dataset, tokenizer, "text", pair, max_length=max_length, cache_dir=tmp_path, **how)

    first = run()
    assert not first.from_cache
    assert len(list((tmp_path / "hf_kit").iterdir())) == 1, "nothing is left beside the file"
    tokenizer("used with other settings", truncation=True, max_length=3, padding="max_length")
    again = run()
    assert again.from_cache and again[1:3] == first[1:3] and first.truncated > 0
    assert again.dataset[:] == first.dataset[:]

    relabelled = run(rows | {"labels": [1 - label for label in rows["labels"]], "id": rows["id"][::-1]})
    assert relabelled.from_cache and relabelled.dataset["labels"][:] == [1 - n for n in rows["labels"]]
    # The same rows in other chunks, or through an index, are the same content.
    halves = [Dataset.from_dict(rows).select(range(a, b)) for a, b in ((0, 23), (23, 357))]
    assert run(datasets.concatenate_datasets(halves)).from_cache
    backwards = Dataset.from_dict({name: column[::-1] for name, column in rows.items()})
    indexed = run(backwards.select(range(356, -1, -1)))
    assert indexed.from_cache and indexed.dataset[:] == first.dataset[:]
    longer = Dataset.from_dict({name: [*column[:5], *column] for name, column in rows.items()})
    large = longer.cast_column("text", datasets.Value("large_string"))
    assert run(large.select(range(5, 362))).from_cache

    assert not run(rows | {"text": [*rows["text"][:-1], rows["text"][-1][::-1]]}).from_cache
    moved = [" ".join(rows["text"][2:4]), "", *rows["text"][:2], *rows["text"][4:]]
    assert not run(rows | {"text": moved}).from_cache
    assert not run(rows | {"text": [rows["text"][1] + rows["text"][2], "", "", *rows["text"][3:]]}).from_cache
    assert not run(max_length=9).from_cache
    assert not run(pair="text2").from_cache
    assert not run(tokenizer=train_tokenizer(TEXTS[1:])).from_cache
    for how in ({"truncation_side": "left"}, {"truncation_side": "middle"}, {"windows": True}):
        assert not run(**how).from_cache
        assert run(**how).from_cache
    monkeypatch.setattr("hf_kit.tokenization.CACHE_SCHEMA", 10**6)
    assert not run().from_cache


def test_the_progress_bar_is_shown_only_for_work(trained, tmp_path, capfd):
    for expected in (True, False):
        tokenize_dataset(
            Dataset.from_dict(_rows()),
            trained["bpe"],
            "text",
            max_length=8,
            cache_dir=tmp_path,
            description="Tokenizing reviews",
        )
        assert ("Tokenizing reviews" in capfd.readouterr().err) is expected


def _cut_short(path):
    path.write_bytes(path.read_bytes()[:-100])


def _flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [_cut_short, _flip_a_byte, lambda path: path.write_bytes(b"")])
def test_a_damaged_cache_file_is_written_again(damage, trained, tmp_path):
    dataset = Dataset.from_dict(_rows())
    run = lambda: tokenize_dataset(dataset, trained["bpe"], "text", max_length=8, cache_dir=tmp_path)  # noqa: E731
    whole = run()
    wanted, truncated = whole.dataset[:], whole.truncated
    del whole
    (file,) = (tmp_path / "hf_kit").iterdir()
    damage(file)
    repaired = run()
    assert not repaired.from_cache
    assert repaired.dataset[:] == wanted and repaired.truncated == truncated
    assert run().from_cache


def test_a_data_set_stays_readable_while_another_process_replaces_its_file(trained, tmp_path):
    dataset = Dataset.from_dict(_rows())
    first = tokenize_dataset(dataset, trained["bpe"], "text", max_length=8, cache_dir=tmp_path).dataset
    wanted = first[:]
    (file,) = (tmp_path / "hf_kit").iterdir()
    file.unlink()
    second = tokenize_dataset(dataset, trained["bpe"], "text", max_length=8, cache_dir=tmp_path)
    assert not second.from_cache and second.dataset[:] == wanted == first[:]


def test_mistakes_in_tokenizing_are_one_clear_error(trained, tmp_path):
    with pytest.raises(UserError, match="no rows"):
        tokenize_dataset(Dataset.from_dict({"text": []}), trained["bpe"], "text", max_length=8, cache_dir=tmp_path)
    slow = transformers.ByT5Tokenizer()
    with pytest.raises(UserError, match="ByT5Tokenizer has no fast version"):
        tokenize_dataset(Dataset.from_dict(_rows()), slow, "text", max_length=8, cache_dir=tmp_path)


@pytest.mark.parametrize(("model_type", "kept"), [("bert", True), ("llama", True), ("qwen2", False)])
def test_the_tokenizer_saved_beside_a_config_is_the_one_that_loads(tmp_path, model_type, kept):
    config, trained = AutoConfig.for_model(model_type), train_tokenizer(TEXTS, vocab_size=400)
    tokenizer = in_the_class_that_loads(trained, config, TEXTS, 400)
    assert (tokenizer is trained) == kept
    tokenizer.save_pretrained(tmp_path)
    config.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded(UNSEEN)["input_ids"] == tokenizer(UNSEEN)["input_ids"]
    assert loaded.pad_token_id is not None and loaded.padding_side == "right"


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_endless_words_are_learned_from_in_pieces(kind):
    tokenizer = train_tokenizer(["a text", "ab" * 1600], tokenizer_type=kind, vocab_size=400)
    assert 500 < max(map(len, tokenizer.get_vocab())) <= 1002
