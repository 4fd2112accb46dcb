"""Pairs of texts: parallel files, objects of languages, the columns of both sides, and pairs left out by length."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Features, Json, Translation, TranslationVariableLanguages, Value

from hf_kit.data import find_columns, load_splits
from hf_kit.data.halves import half_of
from hf_kit.data.languages import base_language, is_language_code, language_by_script, language_of
from hf_kit.data.pair_filters import PairFilter
from hf_kit.data.parallel import (
    TranslationColumns,
    find_source_column,
    find_translation_columns,
    flatten_translation,
)
from hf_kit.data.row_stream import CHUNK
from hf_kit.errors import UserError

EN = ["Hello.", "", "a\u2028b \x85c", " two  spaces "]
ZH = ["你好。", "空", "", "最后"]


def write(name: str, content: str | bytes | list[str]) -> str:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, list):
        content = "".join(line + "\n" for line in content)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


def refuses(parts: list[str], call, *args, **kwargs) -> None:
    with pytest.raises(UserError) as caught:
        call(*args, **kwargs)
    for part in parts:
        assert part in str(caught.value)


# Parallel files


@pytest.mark.parametrize(
    ("given", "other"),
    [
        ("corpus/train.en", "corpus/train.zh"),
        ("train.en.txt", "train.zh.txt"),
        ("a b.v2.eng_Latn", "a b.v2.zho_Hans"),
        ("Tatoeba.en-zh.en", "Tatoeba.en-zh.zh"),
        ("train.en", "train.zh_CN"),
        ("train.source", "train.target"),
    ],
)
def test_two_files_of_lines_are_two_columns_in_the_order_given(given, other):
    write(given, "\n".join(EN)), write(other, ZH)
    columns = [half_of(Path(name)).column for name in (given, other)]

    raw = load_splits(train_file=given)

    assert raw.train.column_names == columns
    assert raw.train[:] == dict(zip(columns, (EN, ZH), strict=True))
    assert (
        raw.train.features == Features({name: Value("string") for name in columns}) and str(raw.train.split) == "train"
    )
    assert raw.files == {"train": [given, other]}
    assert load_splits(train_file=other).train.column_names == columns[::-1]


def test_line_ends_and_byte_order_marks_are_no_part_of_a_text():
    write("x.en", b"\xef\xbb\xbf" + b"a\r\n\r\nb"), write("x.zh", "\ufeff甲\n\n\ufeff乙\n")
    assert load_splits(train_file="x.en").train[:] == {"en": ["a", "", "b"], "zh": ["甲", "", "\ufeff乙"]}


def test_a_folder_of_parallel_texts_has_its_splits_by_their_names():
    for split, lines in (("train", EN), ("dev", EN[:2]), ("test", EN[:1])):
        write(f"corpus/{split}.en", lines), write(f"corpus/{split}.zh", ZH[: len(lines)])
    write("corpus/README.md", "no data"), write("corpus/info.json", "{}"), write("corpus/notes.de", "no data")
    raw = load_splits(dataset_name="corpus")
    assert [len(split) for split in (raw.train, raw.validation, raw.test)] == [4, 2, 1]
    assert raw.validation[:] == {"en": EN[:2], "zh": ZH[:2]} and raw.name == "corpus"
    assert raw.files["test"] == ["corpus/test.en", "corpus/test.zh"]


def test_a_folder_with_one_parallel_text_trains_on_it():
    write("corpus/Tatoeba.en-zh.en.txt", EN), write("corpus/Tatoeba.en-zh.zh.txt", ZH), write("corpus/LICENSE", "x")
    assert load_splits(dataset_name="corpus").train["zh"][:] == ZH


def test_tables_and_folders_of_classes_come_before_files_that_only_look_like_parallel_texts():
    write("tables/train.csv", "text\na\n"), write("tables/train.en", EN), write("tables/train.zh", ZH)
    assert load_splits(dataset_name="tables").train[:] == {"text": ["a"]}
    write("classes/good/a.txt", "x"), write("classes/README.en", EN), write("classes/README.zh", ZH)
    assert load_splits(dataset_name="classes").train[:] == {"text": ["x"], "label": ["good"]}
    write("subs/rows/a.csv", "text\na\n"), write("subs/README.en", EN), write("subs/README.zh", ZH)
    assert load_splits(dataset_name="subs").train[:] == {"text": ["a"]}


def test_a_stream_gives_the_rows_that_loading_gives_and_goes_on_from_any_of_them():
    lines = 2 * CHUNK + 10
    write("train.en", "\ufeff" + "\r\n".join(f"a{i}" for i in range(lines)))
    write("train.zh", [f"甲{i}" if i % CHUNK else "\ufeff" for i in range(lines)])
    stream, loaded = load_splits(train_file="train.en", streaming=True).train, load_splits(train_file="train.en").train
    assert stream.features == loaded.features and stream.load("train")[:] == loaded[:]
    assert loaded[CHUNK] == {"en": f"a{CHUNK}", "zh": "\ufeff"}
    tables = list(stream.tables(None))
    assert [len(table) for table, _ in tables] == [CHUNK, CHUNK, 10]
    state = json.loads(json.dumps(tables[0][1]))
    assert [table.to_pydict() for table, _ in stream.tables(state)] == [table.to_pydict() for table, _ in tables[1:]]


def pair(first: str, one: str | bytes | list[str], second: str, two: str | bytes | list[str]):
    return lambda: (write(first, one), write(second, two))


BAD_FILES = {
    "no other half": (
        pair("data.en", EN, "date.zh", ZH),
        "data.en",
        ["--train_file data.en", "kind .en are not read alone", "csv, tsv", "`data.zh`"],
    ),
    "no other half of a txt file": (
        pair("data.zh.txt", EN, "data.en", ZH),
        "data.zh.txt",
        ["kind .zh.txt", "`data.en.txt`"],
    ),
    "two other halves": (
        lambda: [write(f"train.{code}", EN) for code in ("en", "zh", "de")],
        "train.en",
        ["--train_file train.en", "train.de or train.zh", "jsonl"],
    ),
    "other numbers of lines": (
        pair("train.en", EN, "train.zh", ["x"] * 1234),
        "train.en",
        ["train.en and train.zh", "4 and 1,234 lines", "line n"],
    ),
    "one blank line too many": (pair("x.en", "a\n", "x.zh", "甲\n\n"), "x.en", ["1 and 2 lines"]),
    "no UTF-8": (
        pair("x.en", ["a", "b"], "x.zh", "甲\n乙\n".encode("gb18030")),
        "x.en",
        ["x.zh is not UTF-8 text: byte 0 (line 1)", "iconv"],
    ),
    "a zero byte": (pair("x.en", b"a\0\n", "x.zh", "a\n"), "x.en", ["x.en", "byte 1"]),
    "an empty file": (pair("x.en", "", "x.zh", "a\n"), "x.en", ["--train_file x.en: the file is empty"]),
    "an empty other half": (
        pair("x.en", "a", "x.zh", ""),
        "x.en",
        ["--train_file x.en, its other half x.zh: the file is empty"],
    ),
    "a packed half": (pair("x.en", "a\n", "x.zh", b"\x1f\x8b\x08\0\0\0\0\0"), "x.en", ["x.zh", "packed with gzip"]),
    "a folder's half": (
        lambda: [write(f"corpus/{name}", EN) for name in ("train.en", "train.zh", "dev.en")],
        "corpus",
        ["corpus/dev.en", "`dev.zh`"],
    ),
    "a folder of one half": (lambda: write("corpus/train.en", EN), "corpus", ["corpus holds no data", "`train.zh`"]),
    "a folder of three languages": (
        lambda: [write(f"corpus/train.{code}", EN) for code in ("en", "zh", "de")],
        "corpus",
        ["corpus/train.de", "train.en or train.zh"],
    ),
    "both spellings in a folder": (
        lambda: [write(f"corpus/train.{end}", EN) for end in ("en", "zh", "en.txt", "zh.txt")],
        "corpus",
        ["several splits for train", "train.en", "train.en.txt"],
    ),
    "empty files in a folder": (
        lambda: [write(f"corpus/train.{code}", "") for code in ("en", "zh")],
        "corpus",
        ["corpus/train.en and corpus/train.zh have no rows"],
    ),
    "a link to nowhere as a half": (
        lambda: (write("x.en", EN), os.symlink("nowhere", "x.zh")),
        "x.en",
        ["kind .en are not read alone"],
    ),
}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_parallel_text_is_one_error_with_its_files(case, streaming, capfd):
    make, given, expected = BAD_FILES[case]
    make()
    flag = "dataset_name" if Path(given).is_dir() else "train_file"
    refuses(expected, load_splits, **{flag: given}, streaming=streaming and case != "a folder's half")
    printed = capfd.readouterr()
    assert printed.out == printed.err == ""


def test_both_halves_as_two_splits_are_the_same_rows():
    write("x.en", EN), write("x.zh", ZH), write("y.en", EN), write("y.zh", ZH)
    refuses(["--train_file and --test_file", "same file (x.*)"], load_splits, train_file="x.en", test_file="x.zh")
    assert len(load_splits(train_file="x.en", test_file="y.zh").test) == 4


def test_splits_of_other_columns_than_their_first_file_and_other_tasks_keep_their_errors():
    write("x.en", EN), write("x.zh", ZH)
    rows = load_splits(train_file="x.en").train
    refuses(["several columns could be the text", "`en`, `zh`"], find_columns, rows.column_names, rows.features)
    for name in ("words.txt", "notes.md", "a.zip", "a.py", "data.xyz", "model.bin", "nosuffix"):
        write(name, "a\n")
        refuses([f"--train_file {name}", "are not read; give a csv, tsv"], load_splits, train_file=name)


# Names of languages


def test_codes_of_languages_and_nothing_that_only_looks_like_one():
    for code in ("en", "zh", "eng", "zh_CN", "zh-TW", "zho_Hans", "en_XX", "pt-br", "zh-Hans-CN", "ceb_Latn", "jp"):
        assert is_language_code(code), code
    for name in (
        *("csv", "tsv", "txt", "json", "jsonl", "parquet", "xml", "py", "md", "zip", "gz", "bz2", "xz", "tar", "zst"),
        *("log", "jpg", "png", "pdf", "src", "tgt", "ref", "idx", "bin", "npy", "pkl", "pt_", "url", "uid", "tag"),
        *("my_text", "id_str", "en_", "EN", "e", "", "en.zh", "src_Text", "to_id", "text", "label"),
    ):
        assert not is_language_code(name), name


def test_one_language_has_many_names_and_one_base():
    for name in ("zh", "ZH", "zh_CN", "zho_Hans", "chi", "cmn", "yue_Hant", "cn", "Chinese", "中文", " 汉语 "):
        assert base_language(name) == "zh", name
    assert [base_language(name) for name in ("eng_Latn", "GER", "jp", "text", "", None)] == [
        "en",
        "de",
        "ja",
        *[None] * 3,
    ]
    assert [language_of(name) for name in ("zh_CN", "EN", "English", "cn", "text")] == ["zh_CN", "en", "en", "zh", None]


# Columns


def find(names: str, types: dict | None = None, **flags) -> tuple:
    columns = names.split()
    found = find_translation_columns(columns, {n: (types or {}).get(n, Value("string")) for n in columns}, **flags)
    return found.source, found.target, found.source_lang, found.target_lang


@pytest.mark.parametrize(
    ("names", "flags", "expected"),
    [
        ("en zh", {}, ("en", "zh", "en", "zh")),
        ("zh en attribution", {}, ("en", "zh", "en", "zh")),
        ("id en zh", {}, ("en", "zh", "en", "zh")),
        ("EN ZH", {}, ("EN", "ZH", "en", "zh")),
        ("zho_Hans eng_Latn", {}, ("eng_Latn", "zho_Hans", "eng_Latn", "zho_Hans")),
        ("English Chinese", {}, ("English", "Chinese", "en", "zh")),
        ("中文 英文", {}, ("英文", "中文", "en", "zh")),
        ("source target", {}, ("source", "target", None, None)),
        ("tgt src id", {"source_lang": "de"}, ("src", "tgt", "de", None)),
        ("tgt src id", {"target_column": "tgt"}, ("src", "tgt", None, None)),
        ("text translation", {}, ("text", "translation", None, None)),
        ("原文 译文", {"target_lang": "zh_CN"}, ("原文", "译文", None, "zh_CN")),
        ("source target en zh", {}, ("source", "target", None, None)),
        ("source target en zh", {"source_lang": "zh"}, ("zh", "en", "zh", "en")),
        ("en zh", {"source_lang": "zh", "target_lang": "en"}, ("zh", "en", "zh", "en")),
        ("en zh", {"source_lang": "zh_CN"}, ("zh", "en", "zh_CN", "en")),
        ("en zh", {"target_lang": "eng_Latn"}, ("zh", "en", "zh", "eng_Latn")),
        ("en zh", {"source_column": "zh"}, ("zh", "en", "zh", "en")),
        ("en zh", {"target_column": "en"}, ("zh", "en", "zh", "en")),
        ("de fr", {"source_lang": "fr"}, ("fr", "de", "fr", "de")),
        ("de fr en", {"source_lang": "fr", "target_lang": "de"}, ("fr", "de", "fr", "de")),
        ("en zh_CN zh_TW", {"source_lang": "en", "target_lang": "zh-tw"}, ("en", "zh_TW", "en", "zh-tw")),
        ("zh_CN zh_TW", {"source_lang": "zh_TW"}, ("zh_TW", "zh_CN", "zh_TW", "zh_CN")),
        ("id en", {"source_lang": "id"}, ("id", "en", "id", "en")),
        ("a b", {"source_column": "b", "target_column": "a"}, ("b", "a", None, None)),
        ("a zh", {"source_column": "a", "target_lang": "zh"}, ("a", "zh", None, "zh")),
        ("a b zh", {"source_column": "a", "source_lang": "xx"}, ("a", "zh", "xx", "zh")),
    ],
)
def test_columns_by_their_names_languages_and_usual_pairs(names, flags, expected):
    assert find(names, **flags) == expected


def test_a_number_named_like_a_language_is_no_text():
    assert find("no en zh", {"no": Value("int64")}) == ("en", "zh", "en", "zh")


@pytest.mark.parametrize(
    ("names", "flags", "expected"),
    [
        ("de fr", {}, ["`de`, `fr` are languages", "--source_lang and --target_lang", "de, fr each"]),
        ("en zh de", {}, ["`en`, `zh`, `de` are languages", "--source_lang"]),
        ("id en", {}, ["`id`, `en` are languages"]),
        ("de fr en", {"source_lang": "fr"}, ["column `fr` is the source", "`de`, `en` could each be", "--target_lang"]),
        ("a b", {}, ["no two columns", "--source_column", "`a`, `b`", "header"]),
        ("en b", {}, ["no two columns", "`en`, `b`"]),
        ("en b", {"source_column": "en"}, ["column `en` is the source", "no other column", "--target_column"]),
        ("en b", {"target_lang": "en"}, ["column `en` is the target", "--source_column"]),
        ("en zh", {"source_column": "eng"}, ["--source_column eng", "`en`, `zh`", "did you mean `en`?"]),
        ("en zh", {"target_column": "ZH"}, ["--target_column ZH", "no such column"]),
        ("en zh", {"source_column": "en", "target_column": "en"}, ["both name column `en`"]),
        ("en zh", {"source_lang": "en", "target_lang": "en"}, ["--target_lang en", "column `zh`", "--target_lang zh"]),
        ("en zh", {"source_lang": "de"}, ["--source_lang de", "column `en`", "another language"]),
        ("en zh", {"source_column": "zh", "source_lang": "en"}, ["--source_lang en", "column `zh`"]),
        ("en zh_CN zh_TW", {"target_lang": "zh"}, ["--target_lang zh", "`zh_CN`, `zh_TW`", "--target_column"]),
    ],
)
def test_columns_in_doubt_are_asked_for(names, flags, expected):
    refuses(expected, find, names, **flags)


@pytest.mark.parametrize(
    ("names", "known", "flag", "expected"),
    [
        ("en", ("en", "zh", "en", "zh"), None, "en"),
        ("zh en", ("en", "zh", "en", "zh"), None, "en"),
        ("a en", ("en", "zh", "en", "zh"), "a", "a"),
        ("eng_Latn zh b", ("en", "zh", "en", "zh"), None, "eng_Latn"),
        ("text note", ("en", "zh", "en", "zh"), None, "text"),
        ("id remarks", ("en", "zh", "en", "zh"), None, "remarks"),
        ("de b", ("source", "target", "de", "en"), None, "de"),
        ("words", ("source", "target", None, None), None, "words"),
    ],
)
def test_the_source_of_rows_without_translations(names, known, flag, expected):
    columns = names.split()
    features = {name: Value("string") for name in columns}
    assert find_source_column(columns, features, TranslationColumns(*known), flag) == expected


def test_a_source_that_cannot_be_told_is_asked_for():
    known = TranslationColumns("en", "zh", "en", "zh")
    for names in ("a b", "zh", "zh de", "id", "fr"):
        features = {name: Value("string") for name in names.split()}
        refuses(["no column `en`", "--source_column"], find_source_column, features, features, known)
    known = TranslationColumns("source", "target", None, None)
    refuses(["no column `source`"], find_source_column, ["target"], {"target": Value("string")}, known)
    refuses(["--source_column text"], find_source_column, ["en"], {"en": Value("string")}, known, "text")
    assert find_source_column(["a", "b"], {"a": Value("string"), "b": Value("int64")}, known) == "a"


# Objects of languages

ROWS = [{"en": "a", "zh": "甲"}, {"en": "", "zh": "乙"}]


def nested(rows: list, feature=None, **others) -> Dataset:
    features = None if feature is None else Features({"translation": feature} | {n: Value("int64") for n in others})
    return Dataset.from_dict({"translation": rows, **others}, features=features)


@pytest.mark.parametrize("feature", [None, Translation(["en", "zh"]), Json()])
def test_an_object_of_languages_becomes_one_column_each(feature):
    flat = flatten_translation(nested(ROWS, feature, id=[1, 2]), "train")
    assert flat[:] == {"id": [1, 2], "en": ["a", ""], "zh": ["甲", "乙"]}
    assert flat.features["en"] == flat.features["zh"] == Value("string")
    shuffled = flatten_translation(nested(ROWS * 3, feature, id=range(6)).select([5, 0]), "train")
    assert shuffled[:] == {"id": [5, 0], "en": ["", "a"], "zh": ["乙", "甲"]}


def test_objects_of_languages_in_files_of_any_kind():
    lines = [json.dumps({"translation": row}, ensure_ascii=False) for row in ROWS]
    write("x.jsonl", lines), pq.write_table(pa.table({"translation": ROWS}), "x.parquet")
    for name in ("x.jsonl", "x.parquet"):
        assert flatten_translation(load_splits(train_file=name).train, "train")[:] == {
            "en": ["a", ""],
            "zh": ["甲", "乙"],
        }


def test_data_without_objects_of_languages_stay_as_they_are():
    for rows in (Dataset.from_dict({"en": ["a"]}), Dataset.from_dict({"text": ["a"], "translation": ["b"]})):
        assert flatten_translation(rows, "train") is rows


@pytest.mark.parametrize("feature", [None, Json()])
@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([*ROWS, {"en": "b"}], ["dev: no `zh`", "row 3", "`en`, `zh`"]),
        ([ROWS[0], None, *[{"zh": "b"}] * 7], ["dev: no `en`", "rows 2, 3, 4, 5, 6 and 3 more", "fill them in"]),
        ([ROWS[0], {"en": "b", "zh": None}], ["dev: no `zh`", "row 2"]),
        ([{"en": ["b"], "zh": "c"}], ["dev: `en` in column `translation`", "text"]),
    ],
)
def test_a_row_that_lacks_a_language_is_named(feature, rows, expected):
    refuses(expected, flatten_translation, nested(rows, feature), "dev")


def test_what_is_no_object_of_languages_is_refused():
    refuses(["dev: column", "row 2", '"zh"'], flatten_translation, nested([ROWS[0], "a"], Json()), "dev")
    both = nested(ROWS).add_column("en", ["x", "y"])
    refuses(["dev: there is a column `en`", "leave one out"], flatten_translation, both, "dev")
    several = nested([{"en": ["a", "b"], "zh": "甲"}], TranslationVariableLanguages(languages=["en", "zh"]))
    refuses(["dev: column `translation` holds several"], flatten_translation, several, "dev")


# Lengths


def test_pairs_are_left_out_by_their_first_reason():
    source = np.array([5, 0, 3, 9, 9, 4, 4, 1, 5, 2, 0, 8])
    target = np.array([5, 3, 0, 9, 30, 30, 8, 4, 2, 5, 0, 9])
    dropped = PairFilter(8, 20, 2.0).keep(source, target)
    assert {reason: np.flatnonzero(rows).tolist() for reason, rows in dropped.items()} == {
        "empty": [1, 2, 10],
        "source too long": [3, 4],
        "target too long": [5],
        "length ratio": [8, 9],  # not row 7, whose four tokens and one are both few; row 6 is just within
    }
    assert list(dropped) == ["empty", "source too long", "target too long", "length ratio"]
    assert np.sum(list(dropped.values()), axis=0).max() == 1
    assert not PairFilter(8, 20, None).keep(source, target)["length ratio"].any()
    assert all(len(rows) == 0 for rows in PairFilter(8, 20, 2.0).keep(source[:0], target[:0]).values())


def test_pairs_left_out_are_told_with_their_flags():
    said = PairFilter(128, 200, 2.5).describe({"empty": 12, "source too long": 1040, "target too long": 0}, 26078)
    assert said == (
        "train: 1,052 of 26,078 pairs left out: 12 empty, 1,040 with more than 128 source tokens (--max_source_length)"
    )
    said = PairFilter(128, 200, 2.5).describe({"empty": 0, "target too long": 1, "length ratio": 2}, 9)
    assert said.endswith(
        "1 with more than 200 target tokens (--max_target_length), 2 with one side more than 2.5 times as long as the "
        "other (--max_length_ratio)"
    )
    assert PairFilter(1, 1, None).describe(dict.fromkeys(("empty", "length ratio"), 0), 9) is None


@pytest.mark.parametrize(
    ("texts", "language"),
    [
        (["我们今天 go 上海", "好"], "zh"),
        (["今日は東京へ行きます"], "ja"),
        (["오늘은 서울에 가요"], "ko"),
        (["วันนี้ไปกรุงเทพ"], "th"),
        (["a 猫 is a cat"], None),
        (["Wir gehen heute"], None),
        (["12, 5!", ""], None),
        ([], None),
    ],
)
def test_some_languages_are_known_by_their_script(texts, language):
    assert language_by_script(texts) == language
