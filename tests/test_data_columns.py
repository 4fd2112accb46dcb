"""Columns are found by their usual names, and asked for where there is doubt."""

import pytest
from datasets import ClassLabel, Dataset, Features, Json, List, Value

from hf_kit.data import TextColumns, check_texts, empty_texts, find_columns
from hf_kit.errors import UserError


def find(names: str, types: dict | None = None, **flags) -> TextColumns:
    columns = names.split()
    return find_columns(columns, {name: (types or {}).get(name, Value("string")) for name in columns}, **flags)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("text label", ("text", None, "label")),
        ("Label TEXT", ("TEXT", None, "Label")),
        ("id text title description label source", ("text", None, "label")),
        ("text label rating", ("text", None, "label")),
        ("text labels id", ("text", None, "labels")),
        ("idx sentence label", ("sentence", None, "label")),
        ("评论 标签", ("评论", None, "标签")),
        ("内容 情感", ("内容", None, "情感")),
        ("title content stars", ("content", None, "stars")),
        ("text text2 score genre", ("text", "text2", "score")),
        ("sentence1 sentence2 label idx", ("sentence1", "sentence2", "label")),
        ("premise hypothesis label", ("premise", "hypothesis", "label")),
        ("Question1 Question2 label", ("Question1", "Question2", "label")),
        ("question sentence label", ("question", "sentence", "label")),
        ("text_a text_b y", ("text_a", "text_b", "y")),
        ("句子1 句子2 标签", ("句子1", "句子2", "标签")),
        ("remarks label", ("remarks", None, "label")),
        ("unnamed_1 id remarks label", ("remarks", None, "label")),
        ("text", ("text", None, None)),
        ("remarks", ("remarks", None, None)),
    ],
)
def test_usual_names(names, expected):
    found = find(names)
    assert (found.text, found.text_pair, found.label) == expected


def test_types_help_where_names_do_not():
    found = find("words mood length", {"mood": ClassLabel(names=["a", "b"]), "length": Value("int64")})
    assert found == TextColumns("words", None, "mood")


def test_named_columns_win():
    assert find("text title label", text_column="title") == TextColumns("title", None, "label")
    assert find("text text2 label", text_column="text") == TextColumns("text", None, "label")
    assert find("text text2 label", text_pair_column="text2") == TextColumns("text", "text2", "label")
    several = find("text text2 sentence1 sentence2 label", text_pair_column="sentence2")
    assert several == TextColumns("sentence1", "sentence2", "label")
    assert find("a b c", text_column="a", text_pair_column="c", label_column="b") == TextColumns("a", "c", "b")
    assert find("text label topic", label_column="topic") == TextColumns("text", None, "topic")


@pytest.mark.parametrize(
    ("names", "flags", "expected"),
    [
        ("text label", {"text_column": "txt"}, ["--text_column txt", "`text`, `label`", "did you mean `text`"]),
        ("text label", {"label_column": "labels"}, ["--label_column labels", "did you mean `label`"]),
        ("text label", {"text_pair_column": "b"}, ["--text_pair_column b", "`text`, `label`"]),
        ("a label", {"text_column": "a", "label_column": "a"}, ["--text_column and --label_column", "`a`"]),
        ("review comment label", {}, ["`review` and `comment`", "--text_column"]),
        ("text class category", {}, ["`class` and `category`", "--label_column", "`text`"]),
        ("first second label", {}, ["several columns could be the text", "--text_column", "`first`, `second`"]),
        ("label id", {}, ["no column is known to be the text", "--text_column", "`label`, `id`"]),
        ("good 1", {}, ["`good`, `1`", "lacks its header", "`text,label`"]),
    ],
)
def test_doubt_and_mistakes_name_the_flag(names, flags, expected):
    with pytest.raises(UserError) as caught:
        find(names, **flags)
    for part in expected:
        assert part in str(caught.value)


ONE = TextColumns("text", None, None)


def test_empty_texts_are_counted():
    rows = Dataset.from_dict({"text": ["a", "", " \n　", "b"], "text2": ["", "x", "", "y"]})
    assert empty_texts(rows, ONE).tolist() == [False, True, True, False]
    assert empty_texts(rows, TextColumns("text", "text2", None)).tolist() == [True, True, True, False]
    assert check_texts(rows, TextColumns("text", "text2", None), "train")[:] == rows[:]


def test_whole_numbers_become_their_digits():
    rows = Dataset.from_dict({"text": [10, 7], "label": [1, 0]})
    dataset = check_texts(rows.select([1, 0]), ONE, "train")
    assert dataset[:] == {"text": ["7", "10"], "label": [0, 1]}
    assert dataset.column_names == ["text", "label"]


@pytest.mark.parametrize(
    ("values", "feature", "expected"),
    [
        (["a", None, "b", None], Value("string"), ["test: no text in column `text` in rows 2, 4", "fill"]),
        ([["a"], ["b"]], List(Value("string")), ["test: column `text`", "List", "--text_column"]),
        ([1.5, 2.5], Value("float64"), ["test: column `text`", "float64"]),
        ([True, False], Value("bool"), ["bool"]),
        ([0, 1], ClassLabel(names=["a", "b"]), ["ClassLabel"]),
        (["a", 3, {"b": 1}], Json(), ["test: column `text`", "rows 2, 3", "--text_column"]),
    ],
)
def test_what_is_no_text_is_refused(values, feature, expected):
    rows = Dataset.from_dict({"text": values}, features=Features({"text": feature}))
    with pytest.raises(UserError) as caught:
        check_texts(rows, ONE, "test")
    for part in expected:
        assert part in str(caught.value)


def test_a_split_without_the_column_is_refused():
    with pytest.raises(UserError, match=r"test: there is no column `text`; columns: `sentence`"):
        check_texts(Dataset.from_dict({"sentence": ["a"]}), ONE, "test")
