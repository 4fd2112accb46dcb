"""Long texts read in windows: where the windows lie, what they hold, and that answers are the means of their logits."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from scipy.special import expit, softmax
from tiny import FAMILIES, reviews, write_csv

import hf_kit
from hf_kit.cli import main
from hf_kit.errors import UserError
from hf_kit.prediction import predict
from hf_kit.saved_run import open_run
from hf_kit.tasks.task import Task
from hf_kit.tokenization import tokenize_dataset
from hf_kit.tokenizer_training import train_tokenizer
from hf_kit.windows import average_windows, window_starts

MAX_LENGTH = 8
WORDS = [text for text, _ in reviews(60, seed=1)]
SHORT = "a lovely film"
LONG = " ".join(WORDS[:4])
VERY_LONG = " ".join(WORDS[4:20])


def train(model_type: str, *flags: str) -> None:
    tiny = json.dumps(FAMILIES[model_type])
    common = ("--vocab_size=200", "--disable_tqdm=True", "--num_train_epochs=1", "--baselines=False", "--bf16=False")
    assert main(["train", f"--model_type={model_type}", f"--config_overrides={tiny}", *common, *flags]) == 0


def write_jsonl(path: str, rows: list[dict]) -> str:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def by_hand(run, *texts: str) -> np.ndarray:
    """The mean of the logits of a text's windows, one window after another, in the plainest way."""
    tokenizer, max_length = run.processor, run.task.max_length
    words = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    special = tokenizer.num_special_tokens_to_add(pair=len(texts) == 2)
    room = max_length - special
    long = max(range(len(words)), key=lambda n: (len(words[n]), n))
    if len(words) == 2 and sum(map(len, words)) > room:
        words[1 - long] = words[1 - long][: room // 2]
        room -= len(words[1 - long])
    whole, count = words[long], 2
    while (len(whole) - room) / (count - 1) > room - room // 4:
        count += 1
    pieces = [whole]
    if len(whole) > room:
        starts = [i * (len(whole) - room) // (count - 1) for i in range(count)]
        pieces = [whole[start : start + room] for start in starts]
    logits = []
    for piece in pieces:
        words[long] = piece
        # The words of these texts are one token each, so that text and tokens are the same thing.
        framed = tokenizer(*(" ".join(tokenizer.convert_ids_to_tokens(w)) for w in words), return_tensors="pt")
        assert framed["input_ids"].shape[1] == special + sum(map(len, words)) <= max_length
        with torch.inference_mode():
            logits.append(run.model(**framed).logits[0].numpy())
    return np.mean(logits, axis=0)


@pytest.mark.parametrize("room", [1, 2, 3, 4, 7, 20])
def test_windows_are_full_overlap_by_a_quarter_and_are_as_few_as_can_be(room):
    assert all(window_starts(length, room).tolist() == [0] for length in range(room + 1))
    for length in range(room + 1, 100):
        starts = window_starts(length, room).tolist()
        assert starts[0] == 0 and starts[-1] == length - room
        steps = np.diff(starts)
        assert 1 <= steps.min() and steps.max() <= room - room // 4 and steps.max() - steps.min() <= 1
        assert (len(starts) - 2) * (room - room // 4) < length - room, "one window less would not do"


@pytest.mark.parametrize("special_tokens", ["bert", "plain"])
@pytest.mark.parametrize("pair", [False, True])
def test_every_token_stands_in_some_window_and_each_window_is_framed(special_tokens, pair, tmp_path):
    tokenizer = train_tokenizer(WORDS, vocab_size=400, special_tokens=special_tokens)
    texts, short = [SHORT, "", LONG, VERY_LONG, "film"], ["the room", "cold", "film", "", LONG]
    dataset = Dataset.from_dict({"text": texts, "pair": short, "labels": [0] * 5})
    result = tokenize_dataset(
        dataset, tokenizer, "text", "pair" if pair else None, max_length=12, windows=True, cache_dir=tmp_path
    )
    whole = tokenizer(*((texts, short) if pair else (texts,)))
    inputs = result.dataset[:]
    assert inputs["row"] == sorted(inputs["row"]) and set(inputs["row"]) == set(range(5))
    assert "labels" not in inputs and result.lost_share == 0
    assert result.truncated == sum(len(ids) > 12 for ids in whole["input_ids"]) == (3 if pair else 2)
    frame = tokenizer.num_special_tokens_to_add(pair=pair)
    special = {tokenizer.cls_token_id, tokenizer.sep_token_id}
    for row, ids in enumerate(whole["input_ids"]):
        mine = [i for i, r in enumerate(inputs["row"]) if r == row]
        windows = [inputs["input_ids"][i] for i in mine]
        assert {token for window in windows for token in window} == set(ids)
        assert all(len(w) == inputs["length"][i] == min(12, len(ids)) for i, w in zip(mine, windows, strict=True))
        assert all(sum(token in special for token in window) == frame for window in windows)
        if len(ids) <= 12:
            assert windows == [ids]
        if special_tokens == "bert":
            for i in mine:
                types, second = inputs["token_type_ids"][i], inputs["input_ids"][i].index(tokenizer.sep_token_id) + 1
                assert types == [0] * second + [1] * (len(types) - second)


def test_of_two_long_texts_the_shorter_is_cut_on_its_side_and_the_loss_is_told(tmp_path):
    tokenizer = train_tokenizer(WORDS, vocab_size=400, special_tokens="plain")
    dataset = Dataset.from_dict({"text": [LONG], "pair": [VERY_LONG]})
    ids = tokenizer(LONG)["input_ids"]
    for side, kept in (("right", ids[:5]), ("left", ids[-5:]), ("middle", [*ids[:1], *ids[-4:]])):
        how = {"max_length": 12, "truncation_side": side, "windows": True, "cache_dir": tmp_path}
        result = tokenize_dataset(dataset, tokenizer, "text", "pair", **how)
        assert {tuple(window[:6]) for window in result.dataset["input_ids"]} == {(*kept, tokenizer.sep_token_id)}
        whole = len(tokenizer(LONG, VERY_LONG)["input_ids"])
        assert result.lost_share == pytest.approx((len(ids) - 5) / whole)


def test_averages_are_by_row_and_a_single_window_is_untouched():
    logits = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    mean = average_windows(logits, np.array([0, 1, 1, 2, 2, 2]), 3)
    assert mean.dtype == np.float32 and np.array_equal(mean[0], logits[0])
    assert np.allclose(mean[1:], [logits[1:3].mean(0), logits[3:].mean(0)])


@pytest.mark.parametrize("model_type", ["hf_kit_lstm", "bert"])
def test_answers_are_the_mean_of_the_windows_logits_in_the_inputs_order(model_type, tmp_path, capsys):
    write_csv(tmp_path / "reviews.csv", reviews(80))
    train(model_type, "--train_file=reviews.csv", f"--max_length={MAX_LENGTH}", "--output_dir=out")
    texts = [LONG, SHORT, VERY_LONG, "", *WORDS[:9], SHORT]
    capsys.readouterr()
    answers = {}
    for flags in ([], ["--windows"]):
        assert main(["predict", "out", *texts, "--json", *flags]) == 0
        lines = capsys.readouterr().out.splitlines()
        answers[bool(flags)] = [json.loads(line) for line in lines]
    run = open_run("out")
    assert [answer["text"] for answer in answers[True]] == texts
    for plain, answer in zip(answers[False], answers[True], strict=True):
        expected = softmax(by_hand(run, answer["text"]).astype(np.float64))
        assert list(answer["scores"].values()) == pytest.approx(expected.tolist(), abs=1e-6)
        fits = len(run.processor(answer["text"])["input_ids"]) <= MAX_LENGTH
        assert (answer["score"] == pytest.approx(plain["score"], abs=1e-7)) == fits, answer
    in_small_blocks = [answer for _, answer in predict(run, texts, block=2, windows=True)]
    assert [a["score"] for a in in_small_blocks] == pytest.approx([a["score"] for a in answers[True]], abs=1e-6)
    assert hf_kit.load("out").predict(texts, windows=True)[2]["score"] == pytest.approx(answers[True][2]["score"])


@pytest.mark.parametrize("kind", ["single", "several", "numbers"])
def test_evaluate_scores_the_answers_that_predict_gives(kind, capsys):
    def label(i: int, name: str):
        return {"single": name, "several": [name] + ["long"] * (i % 3 == 0), "numbers": i / 7}[kind]

    rows = [{"text": text, "label": label(i, name)} for i, (text, name) in enumerate(reviews(90))]
    test = [row | {"text": f"{row['text']} {rows[-i]['text']}" if i % 2 else SHORT} for i, row in enumerate(rows[:31])]
    write_jsonl("train.jsonl", rows)
    write_jsonl("test.jsonl", test)
    train("hf_kit_lstm", "--train_file=train.jsonl", f"--max_length={MAX_LENGTH}", "--output_dir=out")
    capsys.readouterr()
    assert main(["evaluate", "out", "--test_file=test.jsonl", "--windows", "--json"]) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert result["rows"] == 31 and "are read in windows" in printed.err
    run = open_run("out")
    logits = np.stack([by_hand(run, row["text"]) for row in test])
    labels = np.asarray(run.task.encode(Dataset.from_list(test), "test", [])["labels"][:])
    loss = run.task.loss({"logits": torch.as_tensor(logits)}, torch.as_tensor(labels)).item()
    assert result["scores"]["loss"] == pytest.approx(loss, abs=1e-5)
    answers = hf_kit.load("out").predict([row["text"] for row in test], windows=True)
    if kind == "single":
        hits = [answer["label"] == row["label"] for answer, row in zip(answers, test, strict=True)]
        assert result["scores"]["accuracy"] == pytest.approx(np.mean(hits))
    elif kind == "several":
        scores = np.array([[a["scores"][name] for name in run.task.mapping.names] for a in answers])
        assert np.allclose(scores, expit(logits), atol=1e-5)
        hits = [sorted(a["labels"]) == sorted(row["label"]) for a, row in zip(answers, test, strict=True)]
        assert result["scores"]["subset_accuracy"] == pytest.approx(np.mean(hits))
    else:
        errors = [abs(answer["score"] - row["label"]) for answer, row in zip(answers, test, strict=True)]
        assert result["scores"]["mae"] == pytest.approx(np.mean(errors), abs=1e-5)


@pytest.mark.parametrize("model_type", ["hf_kit_lstm", "bert"])
def test_of_pairs_the_longer_text_is_read_in_windows(model_type, capsys):
    rows = [{"text": t, "text2": WORDS[i % 60], "score": len(t) / 9} for i, (t, _) in enumerate(reviews(70))]
    write_jsonl("pairs.jsonl", rows)
    train(model_type, "--train_file=pairs.jsonl", "--max_length=12", "--output_dir=out")
    run = open_run("out")
    pairs = [(SHORT, LONG), (VERY_LONG, SHORT), (SHORT, SHORT), ("", VERY_LONG), (LONG, LONG), (LONG, VERY_LONG)]
    answers = [answer["score"] for _, answer in predict(run, pairs, windows=True)]
    assert answers == pytest.approx([by_hand(run, *pair).item() for pair in pairs], abs=1e-5)


def test_the_run_keeps_its_side_and_a_plain_tokenizer_cuts_there_too(tmp_path, capsys):
    from transformers import AutoTokenizer

    write_csv(tmp_path / "reviews.csv", [(f"{text} {LONG}", label) for text, label in reviews(60)])
    notes = {"right": "beginning is kept", "left": "end is kept", "middle": "beginning and end are kept"}
    for side, note in notes.items():
        flags = [f"--max_length={MAX_LENGTH}"] + ([f"--truncation_side={side}"] if side != "right" else [])
        train("hf_kit_lstm", "--train_file=reviews.csv", f"--output_dir={side}", *flags)
        capsys.readouterr()
        assert main(["evaluate", side, "--test_file=reviews.csv"]) == 0
        (line,) = [line for line in capsys.readouterr().out.splitlines() if "are cut" in line]
        assert note in line and "of all tokens are lost" in line and "--windows" in line
        state = json.loads(Path(side, "run.json").read_text())["state"]
        assert state["truncation_side"] == side
        tokenizer = AutoTokenizer.from_pretrained(side)
        assert tokenizer.truncation_side == ("left" if side == "left" else "right")
        run = open_run(side)
        ids = run.processor(LONG, add_special_tokens=False)["input_ids"]
        room = MAX_LENGTH - run.processor.num_special_tokens_to_add()
        head = {"right": room, "left": 0, "middle": 2}[side]
        inputs, _ = run.task.preprocess(run.task.input_dataset([{"text": LONG}]), run.processor, "input", cached=False)
        kept = [*ids[:head], *ids[len(ids) - room + head :]]
        assert inputs["input_ids"][0] == run.processor(" ".join(run.processor.convert_ids_to_tokens(kept)))["input_ids"]
        if side != "middle":
            assert inputs["input_ids"][0] == tokenizer(LONG, truncation=True)["input_ids"]


def test_nothing_is_said_of_windows_where_little_is_lost(tmp_path, capsys):
    write_csv(tmp_path / "reviews.csv", reviews(60))
    write_csv(tmp_path / "test.csv", [*reviews(60, seed=3), (LONG, "good"), (LONG + " film", "bad")])
    train("hf_kit_lstm", "--train_file=reviews.csv", "--test_file=test.csv", "--max_length=40", "--output_dir=out")
    assert "--windows" not in capsys.readouterr().out
    assert main(["evaluate", "out", "--test_file=test.csv"]) == 0
    printed = capsys.readouterr().out
    assert "test: 2 of 62 texts" in printed and "--windows" not in printed


def test_mistakes_are_one_clear_error(tmp_path, capsys):
    write_csv(tmp_path / "reviews.csv", reviews(60))
    flags = ["--model_type=hf_kit_lstm", "--train_file=reviews.csv", "--truncation_side=centre"]
    assert main(["train", *flags]) == 1
    error = capsys.readouterr().err
    assert "truncation_side" in error and "'centre'" in error and "'middle'" in error
    with pytest.raises(UserError, match="--windows"):
        Task.preprocess_windows(None, None, None, "test")
