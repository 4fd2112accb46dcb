"""Which rows become which split: the sample, files, folders and the Hub, and contradictions among the flags."""

import json
from pathlib import Path

import datasets
import pytest
from datasets import Dataset, DatasetDict
from datasets.exceptions import DatasetNotFoundError

import hf_kit.data.loading as loading
from hf_kit.data import load_splits
from hf_kit.data.sample import load_sample
from hf_kit.data.split_names import choose_splits, role_of
from hf_kit.errors import UserError


def write(name: str, *texts: str) -> str:
    """A csv or jsonl file of these texts, or a text file of the first."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts))
    else:
        path.write_text("\n".join(texts if path.suffix == ".txt" else ("text", *texts)))
    return name


def sizes(raw: loading.RawSplits) -> list[int | None]:
    return [None if split is None else len(split) for split in (raw.train, raw.validation, raw.test)]


def test_without_any_flag_the_sample():
    raw = load_splits(sample=load_sample)
    assert raw.name == "sample" and raw.files == {} and raw.validation is raw.test is None
    assert raw.train.column_names == ["text", "label", "language"]
    languages = raw.train["language"][:]
    assert languages == sorted(languages) and set(languages) == {"en", "zh"}
    assert set(raw.train["label"][:]) == {"negative", "positive"}
    assert len(set(raw.train["text"][:])) == len(raw.train) > 1000


def test_files_by_their_flags():
    raw = load_splits(
        train_file=write("my data/reviews v2.csv", "a", "b"),
        validation_file=write("v.jsonl", "c"),
        test_file=write("t.tsv", "d", "e", "f"),
    )
    assert sizes(raw) == [2, 1, 3] and raw.name == "reviews-v2"
    assert raw.files == {"train": ["my data/reviews v2.csv"], "validation": ["v.jsonl"], "test": ["t.tsv"]}
    assert [str(s.split) for s in (raw.train, raw.validation, raw.test)] == ["train", "validation", "test"]


def test_a_test_file_alone_is_enough_to_score():
    raw = load_splits(test_file=write("new.csv", "a"))
    assert sizes(raw) == [None, None, 1] and raw.name == "new"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["train.csv", "dev.csv", "test.csv"], ["train", "dev", "test"]),
        (["train.jsonl", "validation.csv", "notes.csv"], ["train", "validation", None]),
        (["TRAIN.csv", "Valid.csv"], ["TRAIN", "Valid", None]),
        (
            ["train.csv", "dev.csv", "dev_not_in_train.csv", "test_not_in_train.csv"],
            ["train", "dev", "test_not_in_train"],
        ),
        (["train_subset.csv", "test.csv"], ["train_subset", None, "test"]),
        (["imdb_train.csv", "imdb-test.csv", "readme.md"], ["imdb_train", None, "imdb-test"]),
        (["reviews.csv", "other/rows.csv"], ["reviews", None, None]),
        (["train/a.csv", "eval/b.csv"], ["train/a", "eval/b", None]),
        (["train.csv", "test/x.csv"], ["train", None, None]),
        (["train.csv", ".dev.csv", "_test.csv"], ["train", None, None]),
    ],
)
def test_splits_of_a_folder_by_their_names(files, expected):
    for name in files:
        write(f"folder/{name}", Path(name).with_suffix("").as_posix())
    raw = load_splits(dataset_name="folder")
    assert raw.name == "folder"
    found = [None if split is None else split["text"][0] for split in (raw.train, raw.validation, raw.test)]
    assert found == expected


def test_the_parts_of_one_split_are_joined_in_order():
    for i in (1, 0):
        write(f"folder/train-0000{i}-of-00002.csv", f"{i}")
        write(f"other/train/{i}.csv", f"{i}")
    for folder in ("folder", "other"):
        raw = load_splits(dataset_name=folder)
        assert raw.train["text"][:] == ["0", "1"] and len(raw.files["train"]) == 2
    Path("other/train/1.csv").write_text("title\nx\n")
    with pytest.raises(UserError, match=r"other/train/1\.csv has other columns.*title.*text"):
        load_splits(dataset_name="other")


@pytest.mark.parametrize("prefix", ["", "train/"])
def test_a_folder_of_classes_as_a_data_set(prefix):
    write(f"reviews/{prefix}pos/1.txt", "good")
    write(f"reviews/{prefix}neg/1.txt", "bad")
    if prefix:
        write("reviews/test/pos/9.txt", "fine")
    raw = load_splits(dataset_name="reviews")
    assert raw.train[:] == {"text": ["bad", "good"], "label": ["neg", "pos"]}
    assert sizes(raw) == ([2, None, 1] if prefix else [2, None, None])


def test_splits_by_the_names_that_the_user_gives():
    for name in ("train_a", "train_b", "dev", "all"):
        write(f"folder/{name}.csv", name)
    raw = load_splits(dataset_name="folder", train_split_name="train_b", test_split_name="dev")
    assert raw.train["text"][0] == "train_b" and raw.test["text"][0] == "dev"
    assert raw.validation is None, "a split that the user scores with must not choose the model too"
    write("folder/all.jsonl", "lines")
    assert load_splits(dataset_name="folder", train_split_name="all.jsonl").train["text"][:] == ["lines"]


def test_only_the_wanted_splits_are_looked_for():
    for name in ("train_a.csv", "train_b.csv", "test.csv"):
        write(f"folder/{name}", name)
    assert sizes(load_splits(dataset_name="folder", wanted=["test"])) == [None, None, 1]


def test_split_names():
    assert role_of("validation") == ("validation", 0) and role_of("train_phrases") == ("train", 1)
    assert role_of("imdb-test") == ("test", 2) and role_of("contest")[0] is None
    assert role_of("validation_matched") == ("validation", 1)
    assert choose_splits("x", ["default"], {}) == {"train": "default", "validation": None, "test": None}


@pytest.fixture
def sst2():
    for name in ("train_phrases", "train_sentences", "dev", "test"):
        write(f"sst2/{name}.jsonl", name)
    write("odd/a.csv", "a")
    write("odd/b.csv", "b")
    write("plain/x.md", "x")
    write("a.csv", "a")
    write("b.csv", "b")


NEEDS_NAME = "--dataset_name"
BAD_FLAGS = [
    ({"dataset_name": "sst2"}, ["several splits for train: train_phrases, train_sentences", "--train_split_name"]),
    (
        {"dataset_name": "sst2", "train_split_name": "train_sentence"},
        ["train_sentence", "dev, test", "`train_sentences`"],
    ),
    (
        {"dataset_name": "sst2", "train_split_name": "dev", "test_split_name": "dev"},
        ["--train_split_name and", "`dev`"],
    ),
    ({"dataset_name": "odd"}, ["no split to train on", "a, b", "--train_split_name"]),
    ({"dataset_name": "odd", "wanted": ["test"]}, ["no split to score", "--test_split_name"]),
    ({"dataset_name": "plain"}, ["plain holds no data", "csv, tsv", "sub-folder"]),
    ({"dataset_name": "sst2", "train_file": "a.csv"}, ["--dataset_name sst2 and --train_file", "give one"]),
    ({"dataset_name": "sst2", "dataset_config_name": "x"}, ["--dataset_config_name", "Hub", "folder"]),
    ({"train_file": "a.csv", "dataset_revision": "main"}, ["--dataset_revision needs", NEEDS_NAME]),
    ({"train_file": "a.csv", "train_split_name": "train"}, ["--train_split_name needs", NEEDS_NAME]),
    ({"validation_file": "a.csv"}, ["--validation_file needs --train_file", "--test_file"]),
    ({"train_file": "a.csv", "test_file": "./a.csv"}, ["--train_file and --test_file", "a.csv"]),
    ({"train_file": "c.csv"}, ["--train_file c.csv", "no such file"]),
    ({"dataset_name": "nobody/nothing"}, ["nobody/nothing", "HF_HUB_OFFLINE", "local folder"]),
    ({"dataset_name": "sts2"}, ["sts2", "HF_HUB_OFFLINE"]),
]


@pytest.mark.parametrize(("flags", "expected"), BAD_FLAGS)
def test_contradictions_and_wrong_names(sst2, flags, expected):
    with pytest.raises(UserError) as caught:
        load_splits(**flags)
    for part in expected:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (DatasetNotFoundError("Dataset 'a/b' doesn't exist on the Hub"), ["does not give it", "hf auth login", "a/b"]),
        (ConnectionError("Couldn't reach 'a/b' on the Hub (ConnectTimeout)"), ["cannot be reached", "try again"]),
        (
            ValueError("Config name is missing.\nPlease pick one among: ['x', 'y']"),
            ["--dataset_config_name", "'x', 'y'"],
        ),
        (ValueError("BuilderConfig 'z' not found. Available: ['x']"), ["--dataset_config_name", "Available: ['x']"]),
        (RuntimeError("Dataset scripts are no longer supported, but found b.py"), ["scripts", "--dataset_revision r"]),
    ],
)
def test_what_the_hub_refuses_is_said_in_one_line(monkeypatch, reason, expected):
    def refuse(*args, **kwargs):
        raise reason

    monkeypatch.setattr(loading, "load_dataset", refuse)
    monkeypatch.setattr(loading, "is_offline_mode", lambda: False)
    with pytest.raises(UserError) as caught:
        load_splits(dataset_name="a/b", dataset_revision="r")
    for part in expected:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_data_set_of_the_hub(monkeypatch):
    asked = []

    def load_dataset(*args, **kwargs):
        asked.append((args, kwargs))
        rows = {"train": ["a", "b"], "validation_matched": ["c"], "validation_mismatched": ["d"], "test": ["e"]}
        return DatasetDict({name: Dataset.from_dict({"text": texts}) for name, texts in rows.items()})

    monkeypatch.setattr(loading, "load_dataset", load_dataset)
    raw = load_splits(
        dataset_name="nyu-mll/glue",
        dataset_config_name="mnli",
        dataset_revision="abc",
        validation_split_name="validation_matched",
    )
    assert asked == [(("nyu-mll/glue", "mnli"), {"revision": "abc", "streaming": False})]
    assert sizes(raw) == [2, 1, 1] and raw.name == "glue-mnli" and raw.files == {}
    assert raw.validation["text"][:] == ["c"]
    with pytest.raises(UserError, match="--validation_split_name"):
        load_splits(dataset_name="nyu-mll/glue")


def test_loading_is_silent_and_leaves_the_library_as_it_was(capfd):
    before = datasets.logging.INFO, False
    datasets.logging.set_verbosity(before[0])
    datasets.enable_progress_bars()
    load_splits(train_file=write("a.csv", "a"), test_file=write("b.jsonl", "b"))
    with pytest.raises(UserError):
        load_splits(dataset_name="nobody/nothing")
    assert (datasets.logging.get_verbosity(), datasets.are_progress_bars_disabled()) == before
    datasets.logging.set_verbosity_warning()
    printed = capfd.readouterr()
    assert printed.out == printed.err == ""
