"""`run.json` says where a model comes from, and nothing of the machine that it was trained on."""

import getpass
import json
import os
import re
import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from datasets import Dataset, DatasetInfo, NamedSplit
from tiny import FAMILIES, reviews, write_csv

from hf_kit import origin
from hf_kit.arguments import DataArguments, ModelArguments
from hf_kit.cli import main
from hf_kit.data.sample import load_sample
from hf_kit.origin import describe_origin, languages_of

SAMPLE = load_sample().to_list()
ENGLISH, CHINESE = ([row["text"] for row in SAMPLE if row["language"] == language] for language in ("en", "zh"))
STATE = {"columns": {"text": "text", "text_pair": None}}


def rows(texts: list[str], split: str = "train", **info) -> Dataset:
    return Dataset.from_dict({"text": texts}, split=NamedSplit(split), info=DatasetInfo(**info) if info else None)


def described(data: dict, model: dict | None = None, splits: dict | None = None, state: dict = STATE) -> dict:
    training = SimpleNamespace(device=SimpleNamespace(type="cpu"), world_size=1)
    arguments = SimpleNamespace(data=DataArguments(**data), model=ModelArguments(**(model or {})), training=training)
    return describe_origin(arguments, splits or {"train": rows(ENGLISH[:50])}, state)


def test_files_and_folders_go_by_their_base_names():
    files = {"train_file": "/home/jane/work/mails.csv", "test_file": "../held.csv"}
    splits = {"train": rows(["a"]), "validation": rows(["b"]), "test": rows(["c"], "test")}
    found = described(files, splits=splits)["data"]
    assert found == {
        "files": {"train": "mails.csv", "test": "held.csv"},
        "splits": {"train": "train", "validation": "train", "test": "test"},
    }
    Path("mails").mkdir()
    assert described({"dataset_name": "./mails"})["data"]["folder"] == "mails"
    assert described({})["data"]["sample"] is True


def test_a_data_set_of_the_hub_goes_by_its_id_and_the_commit_it_was_loaded_at():
    commit = "a" * 40
    address = f"hf://datasets/org/set@{commit}/train.parquet"
    splits = {"train": rows(["a"], download_checksums={address: {"num_bytes": 1, "checksum": None}})}
    flags = {"dataset_name": "org/set", "dataset_config_name": "small", "dataset_revision": "main"}
    assert described(flags, splits=splits)["data"] == {
        "id": "org/set",
        "config": "small",
        "revision": commit,
        "splits": {"train": "train"},
    }
    assert described(flags)["data"]["revision"] == "main"  # all that is known


def test_a_base_model_in_a_folder_says_its_name_and_what_its_card_says():
    folder = Path("deep/down/my-bert")
    folder.mkdir(parents=True)
    model = {"model_name_or_path": str(folder), "tokenizer_name": str(folder)}
    assert described({}, model)["base_model"] == {"folder": "my-bert"}
    assert described({}, model)["tokenizer"] == {"folder": "my-bert"}
    (folder / "README.md").write_text("---\nlicense: mit\nlanguage: en\n---\n# It\n")
    assert described({}, model)["base_model"] == {"folder": "my-bert", "license": "mit", "language": ["en"]}
    for spoilt in ("---\nlicense: [mit\n---\n", "---\nlicense: {a: 1}\nlanguage: 3\n---\n", "no metadata", "\udcff"):
        (folder / "README.md").write_text(spoilt, errors="surrogateescape")
        assert described({}, model)["base_model"] == {"folder": "my-bert"}, spoilt


def test_a_base_model_of_the_hub_says_its_id_and_commit_and_reads_the_card_of_that_commit(monkeypatch, tmp_path):
    asked = []
    card = tmp_path / "card.md"
    card.write_text("---\nlicense: apache-2.0\nlanguage:\n- en\n- no\n---\n")  # YAML's Norwegian is `false`
    monkeypatch.setattr(origin, "examined", lambda model: (model.model_name_or_path, "b" * 40))
    monkeypatch.setattr(origin, "hf_hub_download", lambda *name, revision: asked.append((*name, revision)) or card)
    found = described({}, {"model_name_or_path": "org/model"})
    assert found["base_model"] == {"id": "org/model", "revision": "b" * 40, "license": "apache-2.0", "language": ["en"]}
    assert asked == [("org/model", "README.md", "b" * 40)]

    def unreachable(*name, revision):
        raise ConnectionError("no network")

    monkeypatch.setattr(origin, "hf_hub_download", unreachable)
    assert described({}, {"model_name_or_path": "org/model"})["base_model"] == {"id": "org/model", "revision": "b" * 40}
    assert described({})["base_model"] is None


@pytest.mark.parametrize(
    ("texts", "languages"),
    [
        (ENGLISH, ["en"]),
        (CHINESE, ["zh"]),
        (ENGLISH + CHINESE, ["en", "zh"]),
        (ENGLISH * 20 + CHINESE[:10], ["en"]),
        (["Das Zimmer war sauber und die Leute an der Rezeption waren sehr nett zu uns."] * 50, []),
        (["La habitación estaba limpia y el personal fue muy amable con nosotros."] * 50, []),
        (["De kamer was schoon en het personeel was in de ochtend erg vriendelijk."] * 50, []),
        (["Комната была чистой, персонал был добрым."] * 50, []),
        (["部屋はとても綺麗で、スタッフも親切でした。"] * 50, []),
        (ENGLISH + ["Комната была чистой, персонал был добрым."] * 200, []),
        (["東京駅前の高級旅館に宿泊、料理最高、大満足。"] * 50, []),
        (CHINESE + ["Комната была чистой, персонал был добрым."] * 200, []),
        (["We went to 北京 and the food that they have there is what you dream of."] * 50, ["en"]),
        (["a1b2", "x-9", "qqq"] * 20, []),
        (["12345", "!!!", ""], []),
        ([], []),
    ],
)
def test_a_language_is_named_where_it_is_clear(texts, languages):
    assert languages_of(texts) == languages


def test_both_texts_of_a_pair_are_read_and_images_have_none():
    pairs = Dataset.from_dict({"a": ENGLISH[:100], "b": CHINESE[:100]})
    state = {"columns": {"text": "a", "text_pair": "b"}}
    assert described({}, splits={"train": pairs}, state=state)["languages"] == ["en", "zh"]
    assert described({}, splits={"train": Dataset.from_dict({"image": [b"x"]})}, state={})["languages"] == []


@pytest.mark.parametrize(
    ("sides", "named", "languages"),
    [
        ((ENGLISH, CHINESE), ("en_XX", "zho_Hans"), ["en", "zh"]),
        ((CHINESE, ENGLISH), (None, None), ["zh", "en"]),  # source first
        ((["Комната была чистой."], CHINESE), ("ru", None), ["ru", "zh"]),
        ((["Комната была чистой."], CHINESE), (None, "zh"), []),
        ((["Das Zimmer war sauber."], ["La chambre était propre."]), ("de", "fr"), ["de", "fr"]),
    ],
)
def test_a_translators_languages_are_the_named_ones_or_clear_from_each_side(sides, named, languages):
    number = min(map(len, sides))
    train = Dataset.from_dict({"a": sides[0][:number], "labels": sides[1][:number]})
    state = {"columns": {"source": "a", "target": "b"}, "source_lang": named[0], "target_lang": named[1]}
    assert described({}, splits={"train": train}, state=state)["languages"] == languages


def test_the_rows_of_a_large_set_are_sampled_from_all_over_it():
    train = rows(ENGLISH[:1] * 30_000 + CHINESE[:1] * 30_000)
    texts = origin._texts(train, ["text"])
    assert 2000 <= len(texts) <= 2100 and {texts[0], texts[-1]} == {ENGLISH[0], CHINESE[0]}


def test_hardware_and_versions():
    found = described({})
    hardware = found["hardware"]
    assert hardware["device"] == "cpu" and hardware["name"] and hardware["cores"] >= 1 and hardware["processes"] == 1
    import torch
    import transformers

    # The installed package's own version may leave out which build it is (`+cu130`).
    assert found["versions"]["torch"].partition("+")[0] == torch.__version__.partition("+")[0]
    assert found["versions"]["transformers"] == transformers.__version__
    wanted = {"python", "hf_kit", "tokenizers", "datasets", "accelerate", "peft", "safetensors", "huggingface_hub"}
    assert wanted < set(found["versions"])


def test_several_cards_are_counted(monkeypatch):
    monkeypatch.setattr(origin.torch.cuda, "get_device_name", lambda: "NVIDIA H100")
    assert origin._hardware("cuda", 4) | {"cores": 0} == {
        "device": "cuda",
        "name": "NVIDIA H100",
        "count": 4,
        "cores": 0,
        "processes": 4,
    }


@pytest.mark.parametrize("streamed", [False, True])
def test_a_run_writes_it_and_names_no_path_user_or_machine(tmp_path, streamed):
    write_csv(tmp_path / "reviews.csv", reviews(60))
    lstm = ["--model_type=hf_kit_lstm", f"--config_overrides={json.dumps(FAMILIES['hf_kit_lstm'])}", "--vocab_size=200"]
    quick = ["--num_train_epochs=1", "--disable_tqdm", "--baselines=False", "--output_dir=out"]
    stream = ["--streaming", "--validation_split_percentage=10"] if streamed else []
    assert main(["train", *lstm, *quick, *stream, f"--train_file={tmp_path / 'reviews.csv'}"]) == 0
    found = json.loads(Path("out/run.json").read_text())["origin"]
    assert found["data"]["files"] == {"train": "reviews.csv"}
    assert found["data"]["splits"]["validation"] == "train"
    said = json.dumps(found)
    for word in (str(tmp_path), socket.gethostname(), os.path.expanduser("~/")):
        assert word not in said, word
    user = getpass.getuser()
    assert not re.search(rf"\b{re.escape(user)}\b", said)
