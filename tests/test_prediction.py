"""Answers for new inputs: batches by tokens, the precision, streams."""

import json
import os

import numpy as np
import pytest
import torch
from tiny import FAMILIES, reviews, write_csv

from hf_kit import prediction
from hf_kit.cli import _lines, main
from hf_kit.errors import UserError
from hf_kit.prediction import batches_by_tokens, predict
from hf_kit.saved_run import open_run

TEXTS = [text for text, _ in reviews(40, seed=5)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    csv = write_csv(folder / "reviews.csv", reviews(80))
    tiny = json.dumps(FAMILIES["bert"])
    flags = "--vocab_size=200 --disable_tqdm=True --num_train_epochs=1 --baselines=False --bf16=False".split()
    out = f"--output_dir={folder / 'out'}"
    assert main(["train", "--model_type=bert", f"--config_overrides={tiny}", f"--train_file={csv}", out, *flags]) == 0
    return folder / "out"


def scores(answers) -> list[float]:
    return [answer["scores"]["good"] for _, answer in answers]


def test_a_batch_holds_as_many_rows_as_its_longest_leaves_room_for():
    lengths = np.sort(np.random.default_rng(0).integers(0, 600, 500))[::-1]
    parts = list(batches_by_tokens(lengths, 512))
    assert np.concatenate([lengths[part] for part in parts]).tolist() == lengths.tolist()
    sizes = [len(lengths[part]) for part in parts]
    assert all(size == 1 or size * lengths[part.start] <= 512 for size, part in zip(sizes, parts, strict=True))
    assert sizes[0] == 1 and max(sizes) > 10


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
        yield None
        for number, text in enumerate(TEXTS[:5]):
            assert len(answered) == number
            yield text
            if pause:
                yield None
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
        assert [next(lines), next(lines)] == [b"one", None]
        os.write(writing, b"o\n\nthree")
        os.close(writing)
        assert [line for line in lines if line is not None] == [b"two", b"", b"three"]
