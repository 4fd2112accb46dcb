"""Every kind of file gives the same rows, and every broken file gives one clear error."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Json, Value

from hf_kit.data import check_files_exist, load_splits
from hf_kit.errors import UserError

TEXTS = ["NA", 'say "hi", you', "two\nlines", "null", "2020-01-01", " 好的 ", ""]
LABELS = ["None", "1", "01", "nan", "true", "1.0", "x"]
ROWS = [{"text": t, "label": x} for t, x in zip(TEXTS, LABELS, strict=True)]


def quoted(delimiter: str, end: str = "\n") -> str:
    rows = [["text", "label"], *([t, x] for t, x in zip(TEXTS, LABELS, strict=True))]
    return "".join(delimiter.join('"' + v.replace('"', '""') + '"' for v in row) + end for row in rows)


def write(name: str, content: str | bytes) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


def load(name: str) -> Dataset:
    return load_splits(train_file=name).train


GOOD = {
    "comma.csv": quoted(","),
    "semicolon.csv": quoted(";"),
    "bar.csv": quoted("|"),
    "tab.csv": quoted("\t"),
    "tab.tsv": quoted("\t"),
    "comma.tsv": quoted(","),
    "bom.csv": "\ufeff" + quoted(","),
    "crlf.csv": quoted(",", "\r\n"),
    "blank_lines.csv": "\n \n" + quoted(",", "\n\n"),
    "UPPER.CSV": quoted(","),
    "odd [1] *name?.csv": quoted(","),
    ".hidden/__rows.csv": quoted(","),
    "list.json": json.dumps(ROWS),
    "pretty.json": json.dumps(ROWS, indent=2, ensure_ascii=False),
    "bom.json": "\ufeff" + json.dumps(ROWS),
    "lines.json": "\n".join(json.dumps(row) for row in ROWS),
    "lines.jsonl": "\n\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS),
    "bom.jsonl": "\ufeff" + "\r\n".join(json.dumps(row) for row in ROWS),
}


@pytest.mark.parametrize("name", GOOD)
def test_every_kind_of_file_gives_the_same_rows(name):
    dataset = load(write(name, GOOD[name]))
    assert dataset["text"][:] == TEXTS
    assert dataset["label"][:] == LABELS
    assert dataset.features == Features({"text": Value("string"), "label": Value("string")})
    assert str(dataset.split) == "train"


def test_parquet_keeps_its_types():
    features = Features({"text": Value("string"), "label": ClassLabel(names=["bad", "good"])})
    Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features).to_parquet("odd [1].parquet")
    assert load("odd [1].parquet").features == features
    pq.write_table(pa.table({"text": pa.array(["a", "a"]).dictionary_encode(), "label": [1, 2]}), "pandas.parquet")
    assert load("pandas.parquet")[:] == {"text": ["a", "a"], "label": [1, 2]}


def test_a_folder_of_classes_gives_one_row_a_file():
    for name, text in (("neg/b.txt", "bad\n"), ("neg/a.txt", "\ufeff很差"), ("pos/1.TXT", ""), ("pos/note.md", "no")):
        write(f"reviews/{name}", text)
    write("reviews/.git/x.txt", "no")
    dataset = load("reviews")
    assert dataset[:] == {"text": ["很差", "bad", ""], "label": ["neg", "neg", "pos"]}


def test_columns_without_a_name_get_one():
    assert load(write("x.csv", ",text\n0,a\n")).column_names == ["unnamed_1", "text"]
    assert load(write("y.csv", " text , label \na,b\n")).column_names == ["text", "label"]


def test_bare_quotes_in_tab_separated_files_are_characters():
    rows = '"a\t1\n"b" c\t0\nd"\t1\n'
    assert load(write("x.tsv", "text\tlabel\n" + rows))["text"][:] == ['"a', '"b" c', 'd"']


def test_a_long_field_is_read_and_pythons_limit_is_left_as_it_was():
    import csv

    before = csv.field_size_limit()
    assert len(load(write("x.csv", f"text,label\n{'x' * (before + 1)},1\n"))[0]["text"]) == before + 1
    assert csv.field_size_limit() == before


def test_a_changed_file_is_read_anew():
    for name, first, second in (
        ("x.csv", "text\na\n", "text\nb\n"),
        ("x.jsonl", '{"text": "a"}', '{"text": "b"}'),
    ):
        assert load(write(name, first))["text"][:] == ["a"]
        stamp = os.stat(name).st_mtime + 10
        write(name, second)
        os.utime(name, (stamp, stamp))
        assert load(name)["text"][:] == ["b"]


def test_json_types_hold_for_the_whole_file():
    rows = [{"a": 1, "b": None, "c": [1], "d": 1, "e": {"x": 1}}, {"a": 1.5, "b": True, "c": [], "d": "x", "f": 2}]
    dataset = load(write("x.json", json.dumps(rows)))
    assert len(dataset) == 2
    assert dataset["a"][:] == [1.0, 1.5] and dataset["b"][:] == [None, True] and dataset["c"][:] == [[1], []]
    assert dataset.features["a"] == Value("float64")
    assert dataset.features["d"] == dataset.features["e"] == Json() and dataset["d"][:] == [1, "x"]
    assert dataset["f"][:] == [None, 2]


BAD = {
    "long.csv": (
        "text,label\na,1\nhello, you,1\n",
        ["long.csv, row 2 (line 3)", "3", "header has 2", "double quotes"],
    ),
    "short.csv": ('text,label\n"a\nb",1\n\nc\n', ["short.csv, row 2 (line 5)", "is 1", "text, label"]),
    "short.tsv": ("text\tlabel\na\n", ["short.tsv, row 1 (line 2)", "a tab"]),
    "unclosed.csv": ('text,label\na,1\n"b,1\nc,0\n', ["unclosed.csv, row 2 (line 3)", "never closes"]),
    "backslash.csv": ('text,label\n"a \\"b\\"",1\n', ["backslash.csv, row 1 (line 2)", 'twice: ""']),
    "badhead.csv": ('"text"x,label\na,1\n', ["badhead.csv, header (line 1)", "closing double quote"]),
    "empty.csv": ("", ["--train_file empty.csv", "empty"]),
    "blank.csv": ("\n\n", ["blank.csv", "blank lines only", "text,label"]),
    "header.csv": ("text,label\n", ["header.csv", "no rows"]),
    "double.csv": ("text,label,text\na,1,b\n", ["double.csv", "`text` twice"]),
    "blank_field.csv": ('text\n" "\na\n', ["blank_field.csv", "1 rows by one reading, 2 by another", "jsonl"]),
    "gbk.csv": ("text,label\n好,1\n".encode("gb18030"), ["gbk.csv", "byte 11 (line 2)", "UTF-8", "GB18030"]),
    "utf16.csv": ("text,label\na,1\n".encode("utf-16"), ["utf16.csv", "byte 0", "UTF-16"]),
    "nul.csv": (b"text,label\na\0b,1\n", ["nul.csv", "byte 12"]),
    "latin.jsonl": ('{"text": "é"}'.encode("latin-1"), ["latin.jsonl", "byte 10", "iconv"]),
    "cut.jsonl": ('{"text": "a"}\n\n{"text": \n', ["cut.jsonl, row 2 (line 3)", "character", "one object a line"]),
    "cut.json": ('[{"text": "a"},\n{"text": ]', ["cut.json", "line 2, character 10"]),
    "list.jsonl": ('{"text": "a"}\n["b"]\n', ["list.jsonl, row 2", '["b"]', "not an object"]),
    "items.json": ('[{"text": "a"}, "b"]', ["items.json, row 2", '"b"', "not an object"]),
    "nan.jsonl": ('{"text": "a", "label": NaN}', ["nan.jsonl, row 1", "NaN", "null"]),
    "half.jsonl": ('{"text": "a"}\n{"text": "\\ud83d"}', ["half.jsonl, row 2 (line 2)", "\\ud83d"]),
    "deep.json": ("[" * 100_000, ["deep.json", "not JSON"]),
    "none.json": ("[]", ["none.json", "no rows"]),
    "objects.json": ("[{}, {}]", ["objects.json", "empty objects"]),
    "blank.jsonl": ("\n\n", ["blank.jsonl", "no rows"]),
    "fake.parquet": (b"PAR1 this is not parquet", ["fake.parquet", "parquet", "csv"]),
    "book.xlsx": (b"PK\3\4", ["--train_file book.xlsx", "CSV UTF-8"]),
    "words.txt": ("a\nb\n", ["--train_file words.txt", ".txt", "csv, tsv"]),
    "nosuffix": ("a\nb\n", ["--train_file nosuffix", "(none)"]),
}


@pytest.mark.parametrize("name", BAD)
def test_a_broken_file_is_said_to_be_broken_where(name, capfd):
    content, expected = BAD[name]
    with pytest.raises(UserError) as caught:
        load(write(name, content))
    for part in expected:
        assert part in str(caught.value)
    printed = capfd.readouterr()
    assert printed.out == printed.err == ""


def test_parquet_without_rows_or_cut_short():
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), "none.parquet")
    with pytest.raises(UserError, match=r"none\.parquet has no rows"):
        load("none.parquet")
    pq.write_table(pa.table({"text": ["a" * 50]}), "cut.parquet")
    write("cut.parquet", Path("cut.parquet").read_bytes()[:-30])
    with pytest.raises(UserError, match=r"cut\.parquet cannot be read as parquet"):
        load("cut.parquet")


def test_a_folder_without_classes_or_with_a_broken_text():
    write("reviews/a.csv", "text\na\n")
    with pytest.raises(UserError, match=r"reviews holds no texts.*--dataset_name"):
        load("reviews")
    write("classes/neg/a.txt", "\xff".encode("latin-1"))
    with pytest.raises(UserError, match=r"classes/neg/a\.txt is not UTF-8 text: byte 0"):
        load("classes")


def test_a_path_that_is_not_there_names_its_neighbour():
    write("reviews.csv", "text\na\n")
    with pytest.raises(UserError, match=r"--validation_file reveiws\.csv.*`reviews\.csv`"):
        check_files_exist(train_file="reviews.csv", validation_file="reveiws.csv")
    with pytest.raises(UserError, match=r"--dataset_name \./nowhere: there is no such file or folder"):
        check_files_exist(dataset_name="./nowhere")
    with pytest.raises(UserError, match=r"--dataset_name reviews\.csv is a file; give it as --train_file"):
        check_files_exist(dataset_name="reviews.csv")
    check_files_exist(train_file="reviews.csv", dataset_name="somebody/something")


def test_a_file_without_the_right_to_read_it(monkeypatch):
    write("reviews.csv", "text\na\n")

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(UserError, match=r"--train_file reviews\.csv: you may not read this file.*chmod"):
        check_files_exist(train_file="reviews.csv")


def test_checking_paths_imports_nothing_heavy():
    code = (
        "import sys; from hf_kit.data import check_files_exist; check_files_exist(dataset_name='a/b'); "
        "print([m for m in ('datasets', 'torch', 'pyarrow', 'numpy') if m in sys.modules])"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"
