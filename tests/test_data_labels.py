"""One mapping for all splits, whatever types their files have."""

import json
import math

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Json, List, Value

from hf_kit.arguments import DataArguments
from hf_kit.data import LabelMapping, RawSplits, decide_labels, encode_labels, has_labels
from hf_kit.errors import UserError
from hf_kit.tasks.text_classification import TextClassification, TextClassificationArguments

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
CLASSES = ClassLabel(names=["neg", "neutral", "pos"])


def rows(values: list, feature=None, column: str = "label") -> Dataset:
    features = Features({"text": Value("string"), column: feature}) if feature is not None else None
    return Dataset.from_dict({"text": [f"t{i}" for i in range(len(values))], column: values}, features=features)


@pytest.mark.parametrize(
    ("values", "feature", "problem", "names", "encoded"),
    [
        (["b", "a", " b "], None, SINGLE, ["a", "b"], [1, 0, 1]),
        (["差", "好", "差"], None, SINGLE, ["好", "差"], [1, 0, 1]),
        ([10, 2, 10, -1], None, SINGLE, ["-1", "2", "10"], [2, 1, 2, 0]),
        (["10", "2", "02", "2.0"], None, SINGLE, ["2", "10"], [1, 0, 0, 0]),
        (["1", "2", "n/a"], None, SINGLE, ["1", "2", "n/a"], [0, 1, 2]),
        ([1.0, 0.0, 1.0], None, SINGLE, ["0", "1"], [1, 0, 1]),
        ([True, False], None, SINGLE, ["False", "True"], [1, 0]),
        ([2, 0, 0], CLASSES, SINGLE, ["neg", "neutral", "pos"], [2, 0, 0]),
        ([3, 1], Value("uint8"), SINGLE, ["1", "3"], [1, 0]),
        (["b", "a"], Value("large_string"), SINGLE, ["a", "b"], [1, 0]),
        ([0.5, 2.0], None, REGRESSION, ["label"], [0.5, 2.0]),
        (["0.5", "2", "-1e1"], None, REGRESSION, ["label"], [0.5, 2.0, -10.0]),
        ([["b", "a"], [], ["b", "b"]], None, MULTI, ["a", "b"], [[1, 1], [0, 0], [0, 1]]),
        ([[10, 2], [2], []], None, MULTI, ["2", "10"], [[1, 1], [1, 0], [0, 0]]),
        ([[0, 2], [], [2]], List(CLASSES), MULTI, ["neg", "neutral", "pos"], [[1, 0, 1], [0, 0, 0], [0, 0, 1]]),
        ([[0, 1], [2, 0]], List(Value("int64"), length=2), MULTI, ["0", "1", "2"], [[1, 1, 0], [1, 0, 1]]),
        ([[0, 1], [0, 1]], None, MULTI, ["0", "1"], [[1, 1], [1, 1]]),
        ([[0, 1], [1, 0], [1]], None, MULTI, ["0", "1"], [[1, 1], [1, 1], [0, 1]]),
        ([[0, 1], [1, 0]], List(ClassLabel(names=["a", "b"])), MULTI, ["a", "b"], [[1, 1], [1, 1]]),
    ],
)
def test_what_the_labels_are(values, feature, problem, names, encoded):
    dataset = rows(values, feature)
    mapping = decide_labels(dataset, "label")
    assert mapping == LabelMapping(problem, names)
    assert has_labels(dataset, "label")
    done = encode_labels(dataset, "label", mapping, "train")
    assert done["labels"][:] == encoded
    assert done.column_names == ["text", "label", "labels"] and done["label"][:] == dataset["label"][:]
    kind = {SINGLE: Value("int64"), REGRESSION: Value("float32"), MULTI: List(Value("float32"))}[problem]
    assert done.features["labels"] == kind


def test_the_user_may_say_that_whole_numbers_are_to_be_predicted():
    for values in ([1, 5, 3], ["1", "5", "3"], [1.0, 5.0, 3.0]):
        mapping = decide_labels(rows(values), "label", REGRESSION)
        assert mapping == LabelMapping(REGRESSION, ["label"]) and mapping.num_labels == 1
        assert encode_labels(rows(values), "label", mapping, "train")["labels"][:] == [1.0, 5.0, 3.0]


def test_the_mapping_survives_the_run_folder():
    mapping = decide_labels(rows(["好", "bad"]), "label")
    assert LabelMapping.from_dict(json.loads(json.dumps(mapping.to_dict()))) == mapping
    assert mapping.label2id == {"bad": 0, "好": 1} and mapping.id2label == {0: "bad", 1: "好"}
    assert mapping.num_labels == 2


def test_one_mapping_for_splits_of_different_types():
    mapping = decide_labels(rows(["1", "0"]), "label")
    for values, feature in (
        ([0, 1], None),
        ([0.0, 1.0], None),
        ([0, 1], ClassLabel(names=["0", "1"])),
        (["00", "1.0"], None),
    ):
        assert encode_labels(rows(values, feature), "label", mapping, "test")["labels"][:] == [0, 1]


def test_a_column_named_labels_is_encoded_in_place():
    dataset = rows([["a"], ["b", "a"]], column="labels")
    mapping = decide_labels(dataset, "labels")
    done = encode_labels(dataset, "labels", mapping, "train")
    assert done.column_names == ["text", "labels"] and done["labels"][:] == [[1.0, 0.0], [1.0, 1.0]]


def test_rows_keep_their_labels_after_select_and_shuffle():
    dataset = rows([f"c{i % 7}" for i in range(100)])
    mapping = decide_labels(dataset, "label")
    mixed = dataset.shuffle(seed=3).select(range(10, 60))
    done = encode_labels(mixed, "label", mapping, "test")
    assert [mapping.names[i] for i in done["labels"][:]] == mixed["label"][:] and done["text"][:] == mixed["text"][:]


@pytest.mark.parametrize(
    ("values", "feature", "expected"),
    [
        ([None, None], Value("string"), False),
        (["", " "], None, False),
        ([None, None], Value("null"), False),
        ([-1, -1], CLASSES, False),
        ([-1, -1], None, False),
        (["-1", "-1"], None, False),
        ([-1.0, -1.0], None, False),
        ([math.nan, math.nan], None, False),
        ([None, None], List(Value("string")), False),
        ([[], []], List(Value("string")), False),
        ([[], ["a"]], None, True),
        ([-1, 1], None, True),
    ],
)
def test_whether_there_are_labels(values, feature, expected):
    assert has_labels(rows(values, feature), "label") is expected
    assert not has_labels(rows(values, feature), "other") and not has_labels(rows(values, feature), None)


@pytest.mark.parametrize(
    ("values", "feature", "problem", "expected"),
    [
        (["a", "", "b", None], None, None, ["rows 2, 4", "2 of 4", "`label`", "fill"]),
        ([1.0, math.nan], None, None, ["row 2", "1 of 2"]),
        ([0, -1, 1], CLASSES, None, ["row 2"]),
        ([["a"], None, ["b", ""]], None, None, ["rows 2, 3"]),
        ([None, ""], Value("string"), None, ["no labels at all", "--label_column"]),
        (["a", "a"], None, None, ["'a' only", "two labels"]),
        (["1", "01"], None, None, ["'1' only"]),
        ([0.5, 0.5], None, None, ["'0.5' only"]),
        ([2, 2], CLASSES, None, ["'pos' only"]),
        ([["a"], []], None, None, ["'a' only"]),
        ([[], []], List(Value("string")), None, ["empty lists only"]),
        (["1", "two", "3", "x"], None, REGRESSION, ["numbers", "'two' in rows 2, 4"]),
        ([0, 1], CLASSES, REGRESSION, ["class names"]),
        ([True, False], None, REGRESSION, ["True and False"]),
        ([0.5, math.inf], None, None, ["infinite", "row 2"]),
        ([["a"], ["b"]], None, SINGLE, ["lists", MULTI]),
        (["a", "b"], None, MULTI, ["single labels", '["a", "b"]']),
        ([1.0, 2.5], None, SINGLE, ["fractions, 2.5 in row 2", REGRESSION]),
        ([[0.5], [1.0]], None, None, ["fractions, 0.5 in row 1"]),
        (["a", "b"], None, "ranking", ["--problem_type ranking", SINGLE, REGRESSION]),
        ([[0, 1, 0], [1, 0, 0]], None, None, ["one 0 or 1 for each label", "[0, 2]"]),
        ([[0, 1], [1, 0]], None, None, ["one 0 or 1 for each label", "[0, 2]"]),
        ([[0, 1], [0, 0]], None, None, ["one 0 or 1 for each label"]),
        ([["1", "1"], ["1", "0"]], None, None, ["one 0 or 1 for each label"]),
        ([[1.0, 0.0], [1.0, 1.0]], List(Value("float32"), length=2), None, ["one 0 or 1 for each label"]),
        (["a", 1, "b", 2], Json(), None, ["mixes types", "int in rows 2, 4", "one type"]),
        ([["a", 1], ["b"]], List(Json()), None, ["mixes types", "int in row 1"]),
        ([{"a": 1}, {"a": 2}], Json(), None, ["dict", "--label_column"]),
        ([{"a": 1}, {"a": 2}], None, None, ["objects", "--label_column"]),
        ([[["a"]], [["b"]]], None, None, ["lists of lists"]),
        ([b"a", b"b"], Value("binary"), None, ["type binary"]),
    ],
)
def test_labels_that_cannot_be_learned_from(values, feature, problem, expected):
    with pytest.raises(UserError) as caught:
        decide_labels(rows(values, feature), "label", problem)
    for part in expected:
        assert part in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    ("mapping", "values", "expected"),
    [
        (
            LabelMapping(SINGLE, ["a", "b"]),
            ["c", "a", "c", "d"],
            ["test: label 'c'", "`label`", "rows 1, 3", "1 more unknown", "Theirs: a, b"],
        ),
        (LabelMapping(SINGLE, ["0", "1"]), [0, 2, 2, 2, 2, 2, 2], ["'2'", "rows 2, 3, 4, 5, 6 and 1 more", "0, 1"]),
        (LabelMapping(SINGLE, ["a", "b"]), ["a", None], ["test: no label", "row 2"]),
        (LabelMapping(SINGLE, ["a", "b"]), [["a"], ["b"]], ["test: column `label` holds lists"]),
        (LabelMapping(MULTI, ["a", "b"]), [["a"], ["b", "c"]], ["test: label 'c'", "row 2"]),
        (LabelMapping(MULTI, ["a", "b"]), ["a", "b"], ["test: column `label` holds single labels"]),
        (LabelMapping(REGRESSION, ["score"]), ["1", "good"], ["test", "'good' in row 2"]),
        (LabelMapping(SINGLE, ["0", "1"]), [0.0, 0.5], ["test", "fractions, 0.5 in row 2"]),
        (LabelMapping(MULTI, ["0", "1"]), [[0, 1], [1, 0]], ["test", "one 0 or 1 for each label"]),
    ],
)
def test_labels_of_other_splits_must_fit(mapping, values, expected):
    with pytest.raises(UserError) as caught:
        encode_labels(rows(values), "label", mapping, "test")
    for part in expected:
        assert part in str(caught.value)


def test_two_label_numbers_out_of_many_are_no_indicators_in_a_small_split():
    mapping = LabelMapping(MULTI, ["0", "1", "2"])
    done = encode_labels(rows([[0, 1], [1, 0]]), "label", mapping, "test")
    assert done["labels"][:] == [[1, 1, 0], [1, 1, 0]]


MINUS_ONE = {
    "two classes": ([-1, 1], -1, None, 0),
    "three classes of a csv file": (["-1", "0", "1"], "-1", None, 0),
    "classes of floats": ([-1.0, 1.0], -1, None, 0),
    "lists": ([[-1], [1], [-1, 1]], [-1], None, [1, 0]),
    "numbers": ([-1.0, -0.5, 0.5, 1.0], -1.0, None, -1),
    "whole numbers": ([-1, 0, 1], -1, REGRESSION, -1),
    "numbers of a csv file": (["-1.0", "0.5"], "-1", None, -1),
}


@pytest.mark.parametrize("kind", MINUS_ONE)
def test_minus_one_is_a_label_where_the_training_rows_have_it(kind):
    values, minus_one, problem_type, encoded = MINUS_ONE[kind]
    raw = RawSplits(train=rows(values * 10), validation=rows([minus_one] * 5), test=rows([minus_one] * 5), name="mine")
    task = TextClassification(TextClassificationArguments(problem_type=problem_type))
    prepared = task.prepare(raw, DataArguments(drop_leaks=False))
    assert prepared.validation["labels"][:] == prepared.test["labels"][:] == [encoded] * 5
    assert not any("not scored" in note for note in prepared.notes)
    task.max_length, task.truncation_side = 32, "right"  # as a trained run has them
    opened = TextClassification(TextClassificationArguments())
    opened.restore(json.loads(json.dumps(task.state())))
    notes = []
    assert opened.encode(rows([minus_one] * 3), "test", notes)["labels"][:] == [encoded] * 3 and not notes


@pytest.mark.parametrize(
    ("values", "problem_type"), [([0, 1], None), (["neg", "pos"], None), ([0.5, 3.5], None), ([0, 5], REGRESSION)]
)
@pytest.mark.parametrize("minus_one", [-1, -1.0, "-1"])
def test_minus_one_is_no_label_where_the_training_rows_lack_it(values, problem_type, minus_one):
    task = TextClassification(TextClassificationArguments(problem_type=problem_type))
    raw = RawSplits(train=rows(values * 10), validation=None, test=rows([minus_one] * 5), name="mine")
    prepared = task.prepare(raw, DataArguments(drop_leaks=False))
    assert "labels" not in prepared.test.column_names
    assert "test: no labels, so it is predicted and not scored" in prepared.notes


def test_the_mapping_of_a_run_from_before_minus_one_was_noted_is_read():
    mapping = LabelMapping.from_dict({"problem_type": REGRESSION, "names": ["label"]})
    assert mapping == LabelMapping(REGRESSION, ["label"])
    assert not has_labels(rows([-1.0, -1.0]), "label", mapping)


def test_a_split_labelled_in_part_is_refused():
    from datasets import NamedSplit

    dataset = Dataset.from_dict({"label": ["a", None, "b"]}, split=NamedSplit("test"))
    with pytest.raises(UserError, match=r"test: no label in column `label` in row 2 \(1 of 3 rows\)"):
        has_labels(dataset, "label")


def test_seventy_thousand_rows_take_no_python_objects():
    import time

    dataset = rows(np.random.default_rng(0).choice(["positive", "negative"], 70_000).tolist())
    start = time.process_time()
    mapping = decide_labels(dataset, "label")
    encode_labels(dataset, "label", mapping, "train")
    assert time.process_time() - start < 1
