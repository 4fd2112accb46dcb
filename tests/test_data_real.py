"""Real data sets as they are published: sensible columns, labels and splits, without any flag where names allow."""

import json
import os
from pathlib import Path

import pytest
from tiny import IMAGE_FAMILIES

from hf_kit.cli import main
from hf_kit.data import (
    RawSplits,
    check_texts,
    clean_rows,
    decide_labels,
    empty_texts,
    encode_labels,
    find_columns,
    has_labels,
    load_splits,
    make_splits,
)
from hf_kit.data.text_keys import text_keys

FOLDER = os.environ.get("HF_KIT_DATA")
pytestmark = pytest.mark.skipif(not FOLDER, reason="set HF_KIT_DATA to the folder of real data sets")

# Folder, flags, columns, problem type, number of labels, rows of train, validation and test.
SETS = [
    ("sms_spam", {}, "text", None, "label", "single_label", 2, (4072, None, 1087)),
    ("sst2", {"train_split_name": "train_sentences"}, "text", None, "label", "single_label", 2, (6920, 872, 1821)),
    ("sst2", {"train_split_name": "train_phrases"}, "text", None, "label", "single_label", 2, (67349, 872, 1821)),
    ("ag_news", {}, "text", None, "label", "single_label", 4, (8791, None, 7600)),
    ("imdb", {}, "text", None, "label", "single_label", 2, (25000, None, 25000)),
    ("banking77", {}, "text", None, "label", "single_label", 77, (10003, None, 3080)),
    ("chnsenticorp", {}, "text", None, "label", "single_label", 2, (9600, 1200, 1200)),
    (
        "chnsenticorp",
        {"validation_split_name": "dev_not_in_train", "test_split_name": "test_not_in_train"},
        *("text", None, "label", "single_label", 2, (9600, 862, 869)),
    ),
    ("go_emotions", {}, "text", None, "labels", "multi_label", 28, (43410, 5426, 5427)),
    ("stsb", {}, "text", "text2", "score", "regression", 1, (5749, 1500, 1379)),
]


@pytest.mark.slow
def test_photographs_of_many_sizes_go_the_whole_way_and_the_stray_gif_is_told(tmp_path, capsys):
    model = ["--model_type=resnet", f"--config_overrides={json.dumps(IMAGE_FAMILIES['resnet'])}", "--image_size=32"]
    flags = ["--task=image_classification", f"--dataset_name={FOLDER}/hymenoptera", "--num_train_epochs=1"]
    assert main(["train", *model, *flags, "--baselines=False", "--disable_tqdm", "--output_dir=bees"]) == 0
    printed = capsys.readouterr()
    assert "imageNotFound.gif" in printed.out + printed.err
    checks = json.loads(Path("bees/results.json").read_text())["data_checks"]
    assert sum(split["rows"] for split in checks["splits"].values()) == 398
    assert main(["predict", "bees", f"{FOLDER}/hymenoptera/val/bees", "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(answers) == 83 and {answer["label"] for answer in answers} <= {"ants", "bees"}


# Rows whose text is in train too, as the data's publishers and others counted them.
LEAKS = {"chnsenticorp": {"validation": 338, "test": 331}, "imdb": {"test": 123}}


@pytest.mark.parametrize(("name", "flags", "text", "pair", "label", "problem", "num_labels", "rows"), SETS)
def test_a_real_data_set(name, flags, text, pair, label, problem, num_labels, rows):
    raw = load_splits(dataset_name=str(Path(FOLDER) / name), **flags)
    given = {"train": raw.train, "validation": raw.validation, "test": raw.test}
    assert tuple(None if split is None else len(split) for split in given.values()) == rows
    columns = find_columns(raw.train.column_names, raw.train.features)
    assert (columns.text, columns.text_pair, columns.label) == (text, pair, label)
    mapping = decide_labels(raw.train, label)
    assert mapping.problem_type.startswith(problem) and mapping.num_labels == num_labels
    encoded = {}
    for split_name, split in given.items():
        encoded[split_name] = None
        if split is not None:
            split = check_texts(split, columns, split_name)
            assert not empty_texts(split, columns).any() and has_labels(split, label)
            encoded[split_name] = encode_labels(split, label, mapping, split_name)
    keys = {part: text_keys(rows, columns) for part, rows in encoded.items() if rows is not None}
    done = make_splits(RawSplits(**encoded, name=raw.name), keys, mapping)
    assert done.validation is not None and done.test is not None
    assert len(done.train) + len(done.validation) == rows[0] + (rows[1] or 0)
    if name in LEAKS:
        leaks = {split: int((~clean_rows(done.keys, split)).sum()) for split in given if split in LEAKS[name]}
        assert leaks == (dict.fromkeys(leaks, 0) if flags else LEAKS[name])


def test_a_folder_with_two_training_sets_asks_for_one():
    with pytest.raises(Exception, match=r"train_phrases, train_sentences.*--train_split_name"):
        load_splits(dataset_name=str(Path(FOLDER) / "sst2"))
