"""What is odd in the data is counted right, and shown in one table."""

import re

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import csr_matrix

from hf_kit.data import (
    DataChecks,
    LabelMapping,
    check_split,
    count_tokens,
    show_checks,
    similar_labels,
    two_rows_that_disagree,
)

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
TOKENS = {"read": 10, "cut": 0, "lost": 0, "tokens": 100, "unknown": 0}


def keys(**texts: str) -> dict[str, np.ndarray]:
    """A letter is a text."""
    return {name: np.array([ord(letter) for letter in letters], np.uint64) for name, letters in texts.items()}


def check(found, labels, name="train", problem_type=SINGLE, names=("a", "b"), empty=None, tokens=TOKENS):
    mapping = LabelMapping(problem_type, list(names))
    empty = np.zeros(len(found[name]), bool) if empty is None else np.array(empty)
    return check_split(name, found, None if labels is None else np.array(labels), empty, tokens, mapping)


def test_rows_are_counted_within_a_split():
    found = check(keys(train="xxyyyz"), [0, 0, 1, 0, 1, 1], empty=[False] * 5 + [True])
    assert (found.rows, found.labels, found.empty) == (6, {"a": 3, "b": 3}, 1)
    assert found.repeated == 3  # one x and two y
    assert found.two_labels == 3  # all of y
    assert found.in_train is None and found.in_validation is None


def test_rows_are_counted_between_splits():
    found = keys(train="abc", validation="cd", test="ccdde")
    test = check(found, [0, 1, 0, 0, 1], "test")
    assert (test.in_train, test.in_validation) == (2, 4)
    validation = check(found, [0, 1], "validation")
    assert (validation.in_train, validation.in_validation) == (1, None)
    blind = check(found, None, "test")
    assert (blind.in_train, blind.labels, blind.two_labels) == (2, None, 0)
    assert check(keys(train="a", test="a"), [0], "test").in_validation is None


def test_several_labels_and_numbers():
    several = check(keys(train="xxyz"), [[1, 0], [1, 1], [0, 0], [0, 1]], problem_type=MULTI)
    assert (several.labels, several.unlabelled, several.two_labels) == ({"a": 2, "b": 2}, 1, 2)
    sparse = csr_matrix([[1, 0], [1, 1], [0, 0], [0, 1]], dtype=np.int8)
    mapping = LabelMapping(MULTI, ["a", "b"])
    assert check_split("train", keys(train="xxyz"), sparse, np.zeros(4, bool), TOKENS, mapping) == several
    number = check(keys(train="xxyy"), [0.5, 0.5, 2.0, 1.5], problem_type=REGRESSION, names=["score"])
    assert (number.labels, number.label_range, number.two_labels) == (None, (0.5, 2.0), 2)


@pytest.mark.parametrize("seed", range(5))
def test_rows_that_disagree_are_those_found_one_by_one(seed):
    rng = np.random.default_rng(seed)
    own, labels = rng.integers(0, 30, 60).astype(np.uint64), rng.integers(0, 3, 60)
    slow = [any((own == own[i]) & (labels != labels[i])) for i in range(60)]
    assert check({"train": own}, labels, names="abc").two_labels == sum(slow) > 0
    first, other = two_rows_that_disagree(own, labels)
    assert first == slow.index(True) and own[first] == own[other] and labels[first] != labels[other]
    assert two_rows_that_disagree(own, np.zeros(60)) is None


def test_label_names_that_differ_in_case_spaces_or_width():
    names = ["Spam", "ham", "spam", "ＳＰＡＭ", "not spam", "not  Spam", "strasse", "straße", "1"]
    assert similar_labels(names) == [["Spam", "spam", "ＳＰＡＭ"], ["not spam", "not  Spam"], ["strasse", "straße"]]
    assert similar_labels(["spam", "ham", "spams"]) == []


def test_tokens_are_counted_without_the_special_ones():
    rows = {"input_ids": [[2, 5, 1, 1, 3], [2, 3], [2, 1, 3]], "length": [5, 2, 3], "whole": [9, 2, 3]}
    one, two = pa.table(rows), pa.table(rows).slice(1)
    assert count_tokens([one], 1, special=2) == {"read": 3, "cut": 1, "lost": 4, "tokens": 4, "unknown": 3}
    assert count_tokens([two], 1, special=2) == {"read": 2, "cut": 0, "lost": 0, "tokens": 1, "unknown": 1}
    both = {"read": 5, "cut": 1, "lost": 4, "tokens": 15, "unknown": None}
    assert count_tokens([one, two], None, special=0) == both


def shown(capsys, splits, **more):
    more = {"similar_labels": [], "max_length": 16} | more
    show_checks(DataChecks(splits, **more))
    return capsys.readouterr()


def test_clean_data_give_a_table_and_no_warning(capsys):
    found = keys(train="abcd", test="ef")
    splits = {"train": check(found, [0, 1, 0, 1]), "test": check(found, [0, 1], "test")}
    printed = shown(capsys, splits)
    assert not printed.err
    table = {name: cells for name, *cells in (re.split(r"\s{2,}", line.strip()) for line in printed.out.splitlines())}
    assert table["rows"] == ["4", "2"]
    assert table["label a"] == ["2", "50.0%", "1", "50.0%"]
    assert table["text repeated"] == ["0", "0"] and table["text also in train"] == ["0"]
    assert "text also in validation" not in table and "no label at all" not in table


def test_every_fault_is_a_warning_with_a_remedy(capsys):
    found = keys(train="xxyz", test="xw")
    splits = {
        "train": check(
            found, [0, 1, 0, 1], names=["Spam", "spam"], empty=[True] + [False] * 3, tokens=TOKENS | {"unknown": 6}
        ),
        "test": check(found, [0, 1], "test", names=["Spam", "spam"], tokens=TOKENS | {"read": 2, "cut": 1}),
    }
    printed = shown(capsys, splits, similar_labels=[["Spam", "spam"]], example="`free` is Spam and spam")
    warned = printed.err.splitlines()
    assert len(warned) == 6
    wanted = [
        ("1 of 2 test rows", "--drop_leaks"),
        ("two labels in train", "`free` is Spam and spam"),
        ("`Spam` (2 rows) and `spam` (2 rows)", "write them as one"),
        ("without a text in train", "remove"),
        ("in test are longer than 16 tokens", "--max_length"),
        ("does not know more than 5% of the tokens in train", "--vocab_size"),
    ]
    for line, parts in zip(warned, wanted, strict=True):
        assert all(part in line for part in parts), line
    assert all(len(line) <= 110 for line in printed.out.splitlines())


def test_an_unlabelled_test_set_has_no_score_to_flatter(capsys):
    found = keys(train="ab", test="ab")
    printed = shown(capsys, {"train": check(found, [0, 1]), "test": check(found, None, "test")})
    assert not printed.err and "text also in train" in printed.out


def test_many_labels_are_two_lines_and_numbers_one(capsys):
    labels = np.repeat(np.arange(30), np.arange(1, 31))
    found = {"train": np.arange(len(labels), dtype=np.uint64)}
    printed = shown(capsys, {"train": check(found, labels, names=[f"c{i}" for i in range(30)])}).out
    assert "30 labels; rarest: c0" in printed and "most frequent: c29" in printed and "c7" not in printed
    number = check(keys(train="ab"), [0.5, 4.0], problem_type=REGRESSION, names=["score"])
    assert "0.5 to 4" in shown(capsys, {"train": number}).out


def test_the_texts_themselves_are_not_written():
    train = check(keys(train="aa"), [0, 1])
    checks = DataChecks({"train": train}, [], 16, example="`my secret` is a and b")
    assert "secret" not in str(checks.to_dict()) and checks.to_dict()["splits"]["train"]["two_labels"] == 2
