"""Answers for new inputs: batches by tokens, the precision, streams."""

import contextlib
import io
import json
import os
import shlex
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from tiny import FAMILIES, reviews, write_csv

import hf_kit
from hf_kit import prediction
from hf_kit.cli import _lines, main
from hf_kit.errors import UserError
from hf_kit.prediction import PAUSE, predict
from hf_kit.saved_run import open_run
from hf_kit.tasks import find_task

TEXTS = [text for text, _ in reviews(40, seed=5)]


def train(folder: Path, rows: list[tuple], header: tuple[str, ...]) -> Path:
    """The folder of a finished run on these rows; what training printed lies beside it, in `printed.txt`."""
    csv = write_csv(folder / "rows.csv", rows, header)
    tiny = json.dumps(FAMILIES["bert"])
    flags = "--vocab_size=200 --disable_tqdm=True --num_train_epochs=1 --baselines=False --bf16=False".split()
    out = f"--output_dir={folder / 'out'}"
    with (
        pytest.MonkeyPatch.context() as patch,
        open(folder / "printed.txt", "w", encoding="utf-8") as stream,
        contextlib.redirect_stdout(stream),
    ):
        patch.setattr("hf_kit.run.publish", lambda *_: None)  # its proof takes a process, and seconds
        argv = ["train", "--model_type=bert", f"--config_overrides={tiny}", f"--train_file={csv}", out, *flags]
        assert main(argv) == 0
    return folder / "out"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return train(tmp_path_factory.mktemp("run"), reviews(80), ("text", "label"))


@pytest.fixture(scope="module")
def pair_folder(tmp_path_factory):
    rows = [(text, other, label) for (text, label), (other, _) in zip(reviews(80), reviews(80, seed=9), strict=True)]
    return train(tmp_path_factory.mktemp("pairs"), rows, ("text", "text2", "label"))


def answers_of(argv: list, capsys) -> list[dict]:
    """What `hf-kit predict ... --json` prints."""
    capsys.readouterr()
    status = main(["predict", *map(str, argv)])
    printed = capsys.readouterr()
    assert status == 0, printed.err
    return [json.loads(line) for line in printed.out.splitlines()]


def refusal_of(argv: list, capsys) -> str:
    """The one line of error of `hf-kit predict`."""
    capsys.readouterr()
    assert main(["predict", *map(str, argv)]) == 1
    printed = capsys.readouterr()
    assert not printed.out and "unexpected" not in printed.err
    (line,) = printed.err.splitlines()
    return line


def scores(answers) -> list[float]:
    return [answer["scores"]["good"] for _, answer in answers]


def test_bf16_agrees_with_float32_and_leaves_the_model_as_it_was(folder, monkeypatch):
    run = open_run(str(folder))
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    exact = scores(predict(run, TEXTS))
    within = scores(predict(run, TEXTS, bf16=True))
    assert within != exact and within == pytest.approx(exact, abs=5e-3)
    monkeypatch.setattr(prediction, "BATCH_TOKENS", dict.fromkeys(prediction.BATCH_TOKENS, 1))  # each text alone
    assert scores(predict(run, TEXTS, bf16=True)) == pytest.approx(within, abs=5e-3)
    assert scores(predict(run, TEXTS)) == pytest.approx(exact, abs=1e-6)
    after = run.model.state_dict()
    assert all(after[name].dtype == torch.float32 and torch.equal(after[name], before[name]) for name in before)


def test_the_flag_of_train_asks_for_exact_numbers(folder, capsys):
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(facts | {"precision": "bf16"}))
    printed = {}
    for flag in ("True", "false"):
        assert main(["predict", str(folder), *TEXTS, "--json", "--bf16", flag]) == 0
        printed[flag] = [json.loads(line)["scores"]["good"] for line in capsys.readouterr().out.splitlines()]
    (folder / "run.json").write_text(json.dumps(facts))
    assert printed["false"] == pytest.approx(scores(predict(open_run(str(folder)), TEXTS)), abs=1e-7)
    assert printed["True"] != printed["false"]
    assert main(["predict", str(folder), "x", "--bf16", "maybe"]) == 1
    assert "--bf16" in capsys.readouterr().err


@pytest.mark.parametrize(("block", "pause"), [(1, False), (8, True)])
def test_a_live_stream_is_answered_before_more_of_it_is_asked_for(folder, block, pause):
    answered = []

    def stream():
        yield PAUSE
        for number, text in enumerate(TEXTS[:5]):
            assert len(answered) == number
            yield text
            if pause:
                yield PAUSE
                assert len(answered) == number + 1

    for row, _ in predict(open_run(str(folder)), stream(), block=block):
        answered.append(row["text"])
    assert answered == TEXTS[:5]


def test_blocks_keep_the_order_and_what_came_before_a_mistake_is_answered(folder):
    run = open_run(str(folder))
    in_blocks = list(predict(run, TEXTS, block=7))
    assert [row["text"] for row, _ in in_blocks] == TEXTS
    assert scores(in_blocks) == pytest.approx(scores(predict(run, TEXTS)), abs=1e-6)
    answered = []
    with pytest.raises(UserError, match="one text"):
        for row, _ in predict(run, [*TEXTS[:8], ("a", "pair")], block=4):
            answered.append(row["text"])
    assert answered == TEXTS[:8]


def test_lines_of_a_pipe_come_as_they_are_written():
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream:
        os.write(writing, b"one\ntw")
        lines = _lines(stream)
        assert [next(lines), next(lines)] == [b"one", PAUSE]
        os.write(writing, b"o\n\nthree")
        os.close(writing)
        assert [line for line in lines if line is not PAUSE] == [b"two", b"", b"three"]


NO_TEXTS = [None, float("nan"), 3, b"ab", {"text": None}, {"txt": "a"}, ("a",), ("a", "b", "c"), ("a", None)]


@pytest.mark.parametrize("item", NO_TEXTS, ids=repr)
@pytest.mark.parametrize("kind", ["text", "pair"])
def test_in_a_notebook_an_item_that_is_no_input_is_named_by_its_row(folder, pair_folder, kind, item):
    good, run = (("a good film", folder), (("a good film", "a poor one"), pair_folder))[kind == "pair"]
    allowed = {"text": "reads one text", "pair": "reads a pair of texts"}[kind]
    with pytest.raises(UserError, match=f"^item 2: this model {allowed}.*counted from 0"):
        hf_kit.load(str(run)).predict([good, good, item, good])
    with pytest.raises(UserError, match=f"^this model {allowed}"):
        list(predict(open_run(str(run)), [good, item]))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("a good film", ["one str, 'a good film'", "a list of texts"]),
        ({"text": "a good film"}, ["one dict", "a list"]),
        (pd.DataFrame({"text": ["a good film"]}), ["DataFrame", "`text`", "a list"]),
        (None, ["NoneType", "a list"]),
        (3, ["int", "a list"]),
    ],
    ids=["text", "dictionary", "table", "None", "number"],
)
def test_in_a_notebook_what_is_no_list_of_inputs_is_refused(folder, rows, words):
    with pytest.raises(UserError) as refused:
        hf_kit.load(str(folder)).predict(rows)
    assert all(word in str(refused.value) for word in words), refused.value


def test_in_a_notebook_every_row_has_its_answer(folder, pair_folder):
    texts = ["a good film", "a poor one", "a film"]
    frame = pd.DataFrame({"body": texts})
    expected = scores(predict(open_run(str(folder)), texts))
    for rows in (texts, tuple(texts), iter(texts), frame["body"], [{"text": text} for text in texts]):
        answers = hf_kit.load(str(folder)).predict(rows)
        assert [answer["scores"]["good"] for answer in answers] == pytest.approx(expected, abs=1e-6)
    one, two, three = hf_kit.load(str(pair_folder)).predict([("a", "b"), ["a", "b"], {"text": "a", "text_pair": "b"}])
    assert one["label"] == two["label"] == three["label"]


def test_a_file_of_pairs_without_a_known_second_column_asks_for_it_and_takes_it(pair_folder, capsys):
    rows = [("a good film", "a poor one"), ("a poor film", "a film")]
    write_csv(Path("f.csv"), rows, ("text", "reply"))
    said = refusal_of([pair_folder, "--file=f.csv"], capsys)
    assert "reads pairs of texts; name the second column with --text_pair_column" in said
    assert "f.csv" in said and "`text`, `reply`" in said
    answers = answers_of([pair_folder, "--file=f.csv", "--text_pair_column=reply", "--json"], capsys)
    assert [(answer["text"], answer["text_pair"]) for answer in answers] == rows
    write_csv(Path("g.csv"), [row[::-1] for row in rows], ("reply", "first"))
    flags = ["--text_column=first", "--text_pair_column=reply"]
    assert answers_of([pair_folder, "--file=g.csv", *flags, "--json"], capsys) == answers


@pytest.mark.parametrize(
    ("header", "flags"),
    [
        (("text", "class", "category"), []),
        (("comment", "labels", "Labels"), []),  # the run's own `label` is not there
        (("comment", "label", "labels"), []),
        (("foo", "bar", "label"), ["--text_column=foo"]),
        (("class", "category", "label"), ["--text_column", "class"]),
        (("foo", "label", "id"), []),  # the only text beside the label
        (("foo", "topic", "id"), []),
    ],
    ids="-".join,
)
def test_to_predict_a_file_needs_no_label_column(folder, capsys, header, flags):
    write_csv(Path("f.csv"), [(text, "good", "good") for text in TEXTS[:3]], header)
    answers = answers_of([folder, "--file=f.csv", *flags, "--json"], capsys)
    assert [answer["text"] for answer in answers] == TEXTS[:3]


def test_of_two_columns_for_pairs_a_run_on_texts_reads_the_first(folder, capsys):
    Path("f.csv").write_text("sentence1,sentence2\na good film,\n")
    assert [answer["text"] for answer in answers_of([folder, "--file=f.csv", "--json"], capsys)] == ["a good film"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--file=f.csv"], ["several columns could be the text", "--text_column", "`foo`, `bar`"]),
        (["--file=g.csv"], ["`sentence` and `review` could each be the text", "--text_column"]),
        (["--file=f.csv", "--text_column=fo"], ["--text_column fo", "`foo`?"]),
        (["--file=f.csv", "--text_column="], ["--text_column is empty"]),
        (["--file=f.csv", "--text_column=foo", "--text_pair_column=bar"], ["--text_pair_column bar", "one text"]),
        (["--file=f.txt", "--text_column=foo"], ["--text_column foo", "f.txt", "lines"]),
        (["a text", "--text_column=foo"], ["--text_column", "--file"]),
        (["--text_pair_column=foo"], ["--text_pair_column", "--file"]),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith(("-", "a ")) else "",
)
def test_a_column_that_is_not_settled_names_a_flag_of_predict(folder, capsys, argv, words):
    write_csv(Path("f.csv"), [("a", "b")], ("foo", "bar"))
    write_csv(Path("g.csv"), [("a", "b")], ("sentence", "review"))
    Path("f.txt").write_text("a\n")
    said = refusal_of([folder, *argv], capsys)
    assert all(word in said for word in words), said
    with pytest.raises(SystemExit):
        main(["predict", "--help"])
    assert {"--text_column", "--text_pair_column"} <= set(capsys.readouterr().out.split())


@pytest.mark.parametrize("task", ["image_classification", "translation"])
def test_a_run_on_no_texts_of_classes_refuses_the_names_of_text_columns(monkeypatch, capsys, task):
    chosen = find_task(task)
    opened = SimpleNamespace(task=chosen(chosen.Arguments()))
    monkeypatch.setattr("hf_kit.saved_run.open_run", lambda name: opened)
    write_csv(Path("f.csv"), [("a",)], ("foo",))
    said = refusal_of(["run", "--file=f.csv", "--text_column=foo"], capsys)
    assert "--text_column foo" in said and task in said and "leave it out" in said


def test_flags_may_stand_between_the_inputs(folder, pair_folder, capsys):
    texts = ["a good film", "-5 stars", "-5"]
    expected = answers_of([folder, *texts, "--json"], capsys)
    assert [answer["text"] for answer in expected] == texts
    for argv in (
        [folder, "--json", *texts],
        ["--json", folder, *texts],
        [folder, texts[0], "--json", *texts[1:]],
        [folder, "--windows", *texts, "--json"],
        [folder, texts[0], "--bf16", "False", texts[1], "--json", texts[2]],
        ["--bf16=False", folder, "--json", *texts],
    ):
        answers = answers_of(argv, capsys)
        assert [(a["text"], a["label"]) for a in answers] == [(a["text"], a["label"]) for a in expected]
    expected = answers_of([pair_folder, "a", "--text_pair", "b", "--json"], capsys)
    assert answers_of([pair_folder, "--text_pair", "b", "a", "--json"], capsys) == expected
    assert answers_of(["--text_pair", "b", pair_folder, "--json", "a"], capsys) == expected


def test_after_two_dashes_everything_is_an_input(folder, capsys):
    texts = ["--json", "-x", "--", "--windows=1", "a film"]
    for argv in ([folder, "--json", "--", *texts], ["--json", "--", folder, *texts]):
        assert [answer["text"] for answer in answers_of(argv, capsys)] == texts
    answers = answers_of([folder, "first", "--json", "--", "--second"], capsys)
    assert [answer["text"] for answer in answers] == ["first", "--second"]


@pytest.mark.parametrize(
    "argv",
    [["run", "a text", "--jsn"], ["run", "--jsn", "a text"], ["--jsn", "run", "a text"], ["run", "a", "--jsn=1", "b"]],
    ids=" ".join,
)
def test_an_unknown_flag_is_named_wherever_it_stands(capsys, argv):
    said = refusal_of(argv, capsys)
    assert "unknown flag --jsn" in said and "`--json`?" in said and "a text with a dash stands after --" in said


@pytest.mark.parametrize("argv", [["--json"], ["--json", "--"], ["--", ""]], ids=" ".join)
def test_flags_without_a_run_ask_for_it(capsys, argv):
    assert "which run?" in refusal_of(argv, capsys)


@pytest.mark.parametrize("kind", ["text", "pair"])
def test_what_training_says_to_try_next_works(folder, pair_folder, capsys, kind):
    run = pair_folder if kind == "pair" else folder
    printed = (run.parent / "printed.txt").read_text(encoding="utf-8")
    hint = printed.partition("Now try:\n")[2].splitlines()[0].strip()
    assert hint.endswith('"a text of yours" --text_pair "another"' if kind == "pair" else '"a text of yours"')
    command, subcommand, *argv = shlex.split(hint)
    assert (command, subcommand) == ("hf-kit", "predict")
    assert len(answers_of([*argv, "--json"], capsys)) == 1


def test_a_byte_order_mark_before_standard_input_is_no_part_of_the_text(folder, capsys, monkeypatch):
    content = "\ufeffa good film\n\ufeffa poor one\n".encode()
    Path("f.txt").write_bytes(content)
    from_file = answers_of([folder, "--file=f.txt", "--json"], capsys)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    answers = answers_of([folder, "--json"], capsys)
    assert [answer["text"] for answer in answers] == ["a good film", "\ufeffa poor one"]
    assert answers == from_file


def test_a_terminal_that_knows_no_chinese_gets_the_answer(folder, monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert main(["predict", str(folder), "--json", "很好 😀 lovely"]) == 0
    assert json.loads(written.getvalue())["text"] == "很好 😀 lovely"


def test_a_table_without_names_of_columns_is_told(folder, tmp_path, capsys):
    path = tmp_path / "texts.csv"
    path.write_text("a lovely film with a story\nan awful room\n")
    assert main(["predict", str(folder), "--file", str(path)]) == 0
    assert "`a lovely film with a story` is not answered" in capsys.readouterr().err
    path.write_text("words\nan awful room\n")
    assert main(["predict", str(folder), "--file", str(path)]) == 0
    assert not capsys.readouterr().err
