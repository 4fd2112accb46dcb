"""Streaming: a run gets from a stream what it gets from the same rows in memory, and never holds them as a whole."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, IterableDataset, IterableDatasetDict, Value
from safetensors.torch import load_file
from tiny import FAMILIES, reviews, write_csv
from torch.utils.data import DataLoader

import hf_kit
from hf_kit.arguments import DataArguments
from hf_kit.cli import main
from hf_kit.data import load_splits, loading
from hf_kit.data.row_stream import CHUNK, RowStream
from hf_kit.errors import UserError
from hf_kit.sampler import bucketed_order
from hf_kit.stream_order import WindowedRows
from hf_kit.streaming import TokenizedStream
from hf_kit.tasks.text_classification import TextClassification, TextClassificationArguments
from hf_kit.tokenizer_training import train_tokenizer

REPOSITORY = Path(hf_kit.__file__).parent.parent
LSTM = (
    "--model_type=hf_kit_lstm",
    "--config_overrides=" + json.dumps(FAMILIES["hf_kit_lstm"] | {"classifier_dropout": 0.3}),
)
QUICK = ("--vocab_size=200", "--disable_tqdm=True", "--num_train_epochs=2", "--per_device_train_batch_size=8")


def run(*flags: str) -> int:
    return main(["train", *LSTM, *QUICK, *flags])


def write_jsonl(path: str, rows: list[dict]) -> str:
    Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write(kind: str, rows: list[tuple], name: str = "rows") -> str:
    path = f"{name}.{kind}"
    if kind == "csv":
        return str(write_csv(Path(path), rows))
    if kind == "jsonl":
        return write_jsonl(path, [{"text": text, "label": label} for text, label in rows])
    Dataset.from_dict({"text": [row[0] for row in rows], "label": [row[1] for row in rows]}).to_parquet(path)
    return path


def assert_same_run(one: str, two: str) -> None:
    first, second = load_file(f"{one}/model.safetensors"), load_file(f"{two}/model.safetensors")
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    results = [json.loads(Path(f"{name}/results.json").read_text()) for name in (one, two)]
    for part in ("validation", "test", "baselines"):
        assert results[0].get(part) == results[1].get(part)
    for part in ("steps", "epochs", "best_step"):
        assert results[0]["training"][part] == results[1]["training"][part]
    states = [json.loads(Path(f"{name}/run.json").read_text())["state"] for name in (one, two)]
    assert states[0] == states[1]
    assert Path(f"{one}/tokenizer.json").read_bytes() == Path(f"{two}/tokenizer.json").read_bytes()


@pytest.mark.parametrize(
    "kind, flags",
    [
        ("jsonl", ("--validation_file=dev.csv",)),
        ("csv", ("--gradient_accumulation_steps=2", "--class_weights=balanced")),
        ("parquet", ("--train_sampling_strategy=random", "--tokenizer_type=bpe", "--vocab_size=400")),
        (
            "jsonl",
            ("--train_sampling_strategy=sequential", "--eval_strategy=steps", "--eval_steps=3", "--save_steps=3"),
        ),
    ],
)
def test_a_set_that_fits_trains_to_the_same_weights_as_in_memory(kind, flags):
    write("csv", reviews(30, seed=9), "dev")
    flags = ("--train_file", write(kind, reviews(117)), *flags)
    assert run(*flags, "--output_dir=memory") == 0
    assert run(*flags, "--output_dir=stream", "--streaming=True") == 0
    assert_same_run("memory", "stream")


# What `prepare` makes of the same rows, in memory and streamed.


def prepare(streaming: bool, buffer: int = 100_000, task: dict | None = None, **data):
    files = {name: value for name, value in data.items() if name.endswith(("file", "name"))}
    others = {name: value for name, value in data.items() if name not in files}
    raw = load_splits(**files, streaming=streaming)
    classifier = TextClassification(TextClassificationArguments(**(task or {})))
    arguments = DataArguments(streaming=streaming, shuffle_buffer_size=buffer, **others)
    return classifier, classifier.prepare(raw, arguments)


def rows_of(split) -> list[dict]:
    return [row for chunk in split.chunks() for row in chunk] if not isinstance(split, Dataset) else list(split)


def varied(count: int, label) -> list[dict]:
    rows = [{"id": i, "text": text, "label": label(i)} for i, (text, _) in enumerate(reviews(count))]
    return rows + [rows[i] | {"id": 9000 + i} for i in range(0, count, 7)] + [{"id": 1, "text": " ", "label": label(1)}]


SHAPES = {
    "words": varied(2400, lambda i: ("good", "bad", "so so")[i % 41 % 3]),
    "numbers": varied(1300, lambda i: i % 41 // 14),
    "lists": varied(1300, lambda i: [name for k, name in enumerate("abcd") if i % (k + 2) == 0]),
    "fractions": varied(1300, lambda i: i % 17 / 4),
    "pairs": [{"sentence1": row["text"], "sentence2": f"the end {row['id'] % 5}", "label": row["label"]}
              for row in varied(1300, lambda i: i % 2)],
    "whole numbers as texts": [{"text": i, "label": i % 2} for i in range(2500)],
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_splits_labels_and_rows_are_those_of_memory(shape):
    file = write_jsonl("rows.jsonl", SHAPES[shape])
    one, memory = prepare(False, train_file=file)
    two, stream = prepare(True, train_file=file)
    assert (one.mapping, one.columns) == (two.mapping, two.columns)
    assert memory.notes == stream.notes
    assert stream.train.column_names == memory.train.column_names
    assert len(stream.train) == len(memory.train) > CHUNK
    for name in ("train", "validation", "test"):
        assert rows_of(getattr(stream, name)) == rows_of(getattr(memory, name))
        assert next(stream.train.chunks()).features == memory.train.features
    if shape != "fractions":
        assert one._counts(memory.train) == two._counts(stream.train)


@pytest.mark.skipif("HF_KIT_DATA" not in os.environ, reason="set HF_KIT_DATA to the folder of real data sets")
@pytest.mark.parametrize("name", ["sms_spam", "banking77", "go_emotions", "stsb", "chnsenticorp"])
def test_real_data_are_prepared_as_in_memory(name):
    folder = str(Path(os.environ.get("HF_KIT_DATA", ""), name))
    one, memory = prepare(False, dataset_name=folder)
    two, stream = prepare(True, dataset_name=folder)
    assert (one.mapping, one.columns, memory.notes) == (two.mapping, two.columns, stream.notes)
    for split in ("train", "validation", "test"):
        ours, theirs = getattr(stream, split), getattr(memory, split)
        tables = [chunk.data.table for chunk in ours.chunks()] if split == "train" else [ours.with_format("arrow")[:]]
        content = [pa.concat_tables(tables), theirs.with_format("arrow")[:]]
        assert content[0].to_pydict() == content[1].to_pydict()


def test_class_labels_of_parquet_keep_their_names_and_order():
    features = Features({"text": Value("string"), "label": ClassLabel(names=["pos", "neg", "never"])})
    texts = [text for text, _ in reviews(60)]
    Dataset.from_dict({"text": texts, "label": [i % 2 for i in range(60)]}, features=features).to_parquet("a.parquet")
    one, memory = prepare(False, train_file="a.parquet")
    two, stream = prepare(True, train_file="a.parquet")
    assert one.mapping == two.mapping and two.mapping.names == ["pos", "neg", "never"]
    assert memory.notes == stream.notes and any("never" in note for note in stream.notes)


def test_csv_values_stay_as_written():
    rows = [(f'NA, "{i}"\nnull', ("01", "None")[i % 2]) for i in range(CHUNK + 50)]
    write_csv(Path("rows.csv"), rows)
    _, memory = prepare(False, train_file="rows.csv")
    _, stream = prepare(True, train_file="rows.csv")
    assert rows_of(stream.train) == rows_of(memory.train)


def test_several_files_of_a_folder_are_one_stream():
    Path("data").mkdir()
    for i in range(3):
        write("jsonl", reviews(40, seed=i), f"data/train-0000{i}-of-00003")
    write("jsonl", reviews(20, seed=8), "data/dev")
    _, memory = prepare(False, dataset_name="data")
    _, stream = prepare(True, dataset_name="data")
    assert rows_of(stream.train) == rows_of(memory.train) and len(stream.train) == 120
    assert rows_of(stream.validation) == rows_of(memory.validation)


def test_a_trial_uses_the_rows_that_it_would_use_in_memory():
    file = write("jsonl", sorted(reviews(200), key=lambda row: row[1]))
    _, memory = prepare(False, train_file=file, max_train_samples=30)
    _, stream = prepare(True, train_file=file, max_train_samples=30)
    assert Counter(map(str, rows_of(stream.train))) == Counter(map(str, rows_of(memory.train)))


def test_baselines_learn_from_an_even_draw_of_the_buffer_and_the_user_is_told():
    file = write("jsonl", sorted(reviews(300), key=lambda row: row[1]))
    task, stream = prepare(True, train_file=file, buffer=100)
    sample = stream.train.sample()
    assert len(sample) == 100 and 30 < sum(sample["labels"][:]) < 70
    assert [note for note in stream.notes if "baselines learn from 100 of the 240 rows" in note]
    assert set(task.baselines(stream.train, {"test": stream.test})) == {"majority", "tfidf_logistic_regression"}


GOOD_ROWS = [{"text": text, "label": label} for text, label in reviews(CHUNK + 200)]


def spoilt(changes: dict[int, dict]) -> list[dict]:
    return [row | changes.get(number, {}) for number, row in enumerate(GOOD_ROWS, 1)]


MISTAKES = {
    "texts missing": spoilt({5: {"text": None}, CHUNK + 7: {"text": None}, CHUNK + 8: {"text": None}}),
    "labels missing": spoilt({CHUNK + 9: {"label": None}, CHUNK + 10: {"label": ""}}),
    "one label": [row | {"label": "good"} for row in GOOD_ROWS],
    "labels of mixed types": spoilt({CHUNK + 3: {"label": 7}}),
    "texts of mixed types": spoilt({CHUNK + 3: {"text": ["a"]}}),
    "texts that are all missing": [row | {"text": None} for row in GOOD_ROWS],
    "labels that are objects": [row | {"label": {"a": 1}} for row in GOOD_ROWS],
    "a class with one text": spoilt({CHUNK + 3: {"label": "rare"}}),
    "indicators": [row | {"label": [i % 2, 1, 0]} for i, row in enumerate(GOOD_ROWS)],
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_stream_is_said_as_in_memory(mistake):
    file = write_jsonl("rows.jsonl", MISTAKES[mistake])
    with pytest.raises(UserError) as memory:
        prepare(False, train_file=file)
    with pytest.raises(UserError) as stream:
        prepare(True, train_file=file)
    assert str(stream.value) == str(memory.value)


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text": "b"\n'),
        ("a.jsonl", "\n"),
        ("a.csv", "text,label\na,1\nb\n"),
        ("a.csv", "text,label\n"),
        ("a.parquet", "PAR1 not really"),
    ],
)
def test_a_broken_file_is_said_as_in_memory(name, content):
    Path(name).write_text(content)
    messages = []
    for streaming in (False, True):
        with pytest.raises(UserError) as error:
            load_splits(train_file=name, streaming=streaming)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


# The order of training.


class Counted:
    """Streamed rows made up as they are asked for, 100 at a time; `read` are the numbers of those last made."""

    def __init__(self, count: int, buffer_size: int):
        self.count, self.buffer_size = count, buffer_size
        self.columns = type("Columns", (), {"text": "text", "text_pair": None})

    def __len__(self) -> int:
        return self.count

    def chunks_from(self, state):
        self.read = []
        for start in range(state or 0, self.count, 100):
            self.read.append(start // 100)
            rng = np.random.default_rng(start)
            ids = range(start, min(start + 100, self.count))
            texts = ["word " * rng.integers(1, 30) for _ in ids]
            yield Dataset.from_dict({"text": texts, "labels": list(ids)}), start + 100


TOKENIZER = train_tokenizer(["a word or two"])


def windowed(count: int, buffer: int, strategy: str = "group_by_length", drop_last: bool = False) -> WindowedRows:
    stream = TokenizedStream(Counted(count, buffer), TOKENIZER, 64, "right")
    return WindowedRows(stream, 8, 2, seed=3, strategy=strategy, drop_last=drop_last)


def order_of(rows: WindowedRows, epoch: int) -> list[int]:
    rows.set_epoch(epoch)
    return [row["labels"] for row in rows]


@pytest.mark.parametrize("count, buffer", [(997, 2000), (997, 997), (997, 100), (960, 96), (1000, 999), (37, 16)])
@pytest.mark.parametrize("strategy", ["group_by_length", "random", "sequential"])
def test_every_row_trains_once_an_epoch(count, buffer, strategy):
    rows = windowed(count, buffer, strategy)
    first, second = order_of(rows, 0), order_of(rows, 1)
    assert len(rows) == count and sorted(first) == sorted(second) == list(range(count))
    assert order_of(rows, 0) == first
    if strategy == "sequential":
        assert first == list(range(count))
    else:
        assert first != second
        # A row comes at most one window too late, and no later than its window too early.
        assert max(i - row for i, row in enumerate(first)) < 2 * buffer


@pytest.mark.parametrize("buffer", [500, 600])
def test_one_window_has_the_order_of_memory(buffer):
    rows = windowed(500, buffer)
    lengths = rows.stream.first_lengths
    assert order_of(rows, 4) == bucketed_order(lengths, 16, 3, 4).tolist()


def test_steps_of_every_window_have_nearly_equal_lengths_and_only_the_last_is_short():
    rows = windowed(1003, 330)  # no whole number of steps
    lengths = [len(row["input_ids"]) for row in rows]
    steps = [lengths[i : i + 16] for i in range(0, 1003, 16)]
    assert sum(max(step) - min(step) for step in steps[:-1]) / len(steps) < 4
    loader = DataLoader(rows, batch_size=8, collate_fn=len)
    assert list(loader) == [8] * 125 + [3] and len(loader) == 126


def test_workers_give_the_batches_that_one_process_gives():
    rows = windowed(205, 64)
    alone = list(DataLoader(rows, batch_size=8, collate_fn=lambda batch: [row["labels"] for row in batch]))
    shared = DataLoader(rows, batch_size=8, collate_fn=lambda batch: [row["labels"] for row in batch], num_workers=2)
    assert list(shared) == alone


def test_drop_last_leaves_whole_batches():
    rows = windowed(205, 64, drop_last=True)
    assert len(rows) == 200 == len(order_of(rows, 0))


def test_what_is_held_is_a_window(monkeypatch):
    held = []
    windows = WindowedRows._windows

    def watched(self, *args):
        for number, window in windows(self, *args):
            held.append(len(window))
            yield number, window

    monkeypatch.setattr(WindowedRows, "_windows", watched)
    assert len(order_of(windowed(5000, 300), 0)) == 5000
    assert len(held) > 15 and max(held) == 288  # whole steps of 16


@pytest.mark.parametrize("strategy", ["group_by_length", "random", "sequential"])
@pytest.mark.parametrize("known", [True, False], ids=["position known", "position unknown"])
def test_a_resumed_epoch_gives_the_same_rows_and_reads_only_what_comes(strategy, known):
    whole = windowed(1003, 70, strategy)
    order, positions = [], {}
    whole.set_epoch(1)
    for place, row in enumerate(whole):
        positions[place] = json.loads(json.dumps(whole.position(place)))
        order.append(row["labels"])
    for passed in (0, 16, 64, 80, 512, 992):
        rows = windowed(1003, 70, strategy)
        rows.pass_over(1, passed, positions[passed] if known else None)
        assert order_of(rows, 1)[passed:] == order[passed:]
        assert len(order_of(rows, 1)) == 1003
        assert order_of(rows, 2) == order_of(whole, 2)  # passed over in that epoch alone
        rows = windowed(1003, 70, strategy)
        rows.pass_over(0, passed, positions[passed] if known else None)
        next(iter(rows))
        # What comes before the window of the next row is not read.
        assert rows.stream._rows.read[0] == (passed // 64 * 64 // 100 if known else 0)


# Runs.


class Stop(Exception):
    """Stands for a power cut."""


@pytest.mark.parametrize("kind, accumulation, workers", [("jsonl", 1, 0), ("csv", 2, 0), ("parquet", 1, 2)])
def test_an_interrupted_run_goes_on_to_the_same_weights(monkeypatch, capsys, kind, accumulation, workers):
    flags = (
        "--train_file",
        write(kind, reviews(120)),
        f"--dataloader_num_workers={workers}",
        "--streaming=True",
        "--shuffle_buffer_size=32",
        "--baselines=False",
        f"--gradient_accumulation_steps={accumulation}",
        "--num_train_epochs=3",
        "--eval_strategy=steps",
        "--eval_steps=2",
    )
    assert run(*flags, "--output_dir=whole") == 0

    from hf_kit.progress import EvaluationLines

    # In the second epoch.
    at = 17 if accumulation == 1 else 9

    def cut(self, args, state, control, **kwargs):
        if state.global_step == at:
            raise Stop

    with monkeypatch.context() as patched:
        patched.setattr(EvaluationLines, "on_step_end", cut)
        with pytest.raises(Stop):
            run(*flags, "--output_dir=cut", "--debug")
    capsys.readouterr()
    assert run(*flags, "--output_dir=cut") == 0
    assert f"continuing from cut/checkpoint-{at - 1}" in capsys.readouterr().out
    assert_same_run("whole", "cut")


def test_training_rows_leave_nothing_on_disk():
    cache = Path(datasets.config.HF_DATASETS_CACHE)
    before = {path for path in cache.rglob("*") if path.is_file() and path.stat().st_size}
    for kind in ("jsonl", "csv", "parquet"):
        _, stream = prepare(True, train_file=write(kind, reviews(90)), validation_split_percentage=20)
        TokenizedStream(stream.train, TOKENIZER, 32, "right")
        assert len(rows_of(stream.train)) + len(stream.validation) + len(stream.test) == 90
    numbers = write_jsonl("numbers.jsonl", [{"text": i, "label": i % 2} for i in range(90)])
    _, stream = prepare(True, train_file=numbers)
    assert sorted(int(text) for text in stream.train.texts())[-1] < 90
    assert {path for path in cache.rglob("*") if path.is_file() and path.stat().st_size} == before


def test_rows_that_change_between_two_readings_stop_the_run():
    _, stream = prepare(True, train_file=write("jsonl", reviews(60)))
    write("jsonl", reviews(50))
    with pytest.raises(UserError, match="60 at first, now 50"):
        rows_of(stream.train)


def test_another_content_is_another_run(capsys):
    flags = ("--streaming=True", "--output_dir=out", "--baselines=False")
    assert run("--train_file", write("jsonl", reviews(60)), *flags) == 0
    assert run("--train_file", write("jsonl", reviews(60)), *flags) == 0
    assert "finished" in capsys.readouterr().out
    assert run("--train_file", write("jsonl", reviews(60, seed=2)), *flags) == 1
    assert "train rows" in capsys.readouterr().err


def hub(monkeypatch, features: Features | None):
    def rows(count: int, seed: int):
        for text, label in reviews(count, seed):
            yield {"text": text, "label": label}

    def load_dataset(*args, streaming, **kwargs):
        assert streaming
        parts = {"train": (CHUNK + 150, 0), "validation": (30, 1)}
        return IterableDatasetDict(
            {
                name: IterableDataset.from_generator(
                    rows, gen_kwargs={"count": count, "seed": seed}, features=features, split=datasets.NamedSplit(name)
                )
                for name, (count, seed) in parts.items()
            }
        )

    monkeypatch.setattr(loading, "load_dataset", load_dataset)


@pytest.mark.parametrize("features", [None, Features({"text": Value("string"), "label": Value("string")})])
def test_a_data_set_of_the_hub_is_streamed(monkeypatch, features):
    hub(monkeypatch, features)
    task, stream = prepare(True, dataset_name="you/reviews")
    assert task.mapping.names == ["bad", "good"]
    assert [row["text"] for row in rows_of(stream.train)] == [text for text, _ in reviews(CHUNK + 150)]
    assert isinstance(stream.validation, Dataset) and len(stream.validation) == 30 and stream.test is None


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--streaming=True", "the sample is small"),
        ("--train_file=rows.jsonl --shuffle_buffer_size=500", "add --streaming"),
        ("--streaming=True --train_file=rows.jsonl --shuffle_buffer_size=7", "less than the 8 rows of a step"),
        (
            "--streaming=True --train_file=rows.jsonl --shuffle_buffer_size=8 --gradient_accumulation_steps=2",
            "less than the 16 rows",
        ),
        ("--streaming=True --train_file=rows.jsonl --tokenizer_type=unigram", "unigram holds all training texts"),
        ("--streaming=True --train_file=list.json", "is one list"),
        ("--streaming=True --train_file=classes", "is not streamed"),
        (
            "--streaming=True --train_file=rows.jsonl --dataloader_persistent_workers=True --dataloader_num_workers=1",
            "dataloader_persistent_workers",
        ),
    ],
)
def test_what_cannot_be_streamed_is_one_error(capsys, flags, message):
    write("jsonl", reviews(40))
    Path("list.json").write_text(json.dumps([{"text": "a", "label": 1}]))
    for name in ("good", "bad"):
        Path("classes", name).mkdir(parents=True)
        Path("classes", name, "1.txt").write_text("a text")
    assert run("--output_dir=out", *flags.split()) == 1
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not Path("out").exists()


class Again:
    """Texts that can be read again, and are nowhere as a list."""

    def __len__(self) -> int:
        return 60

    def __iter__(self):
        return (text for text, _ in reviews(60))


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram", "wordlevel"])
def test_a_tokenizer_learns_the_same_from_texts_read_anew(kind):
    options = {"tokenizer_type": kind, "vocab_size": 300}
    one = train_tokenizer(list(Again()), **options).backend_tokenizer.to_str()
    assert one == train_tokenizer(Again(), **options).backend_tokenizer.to_str()
    assert one == train_tokenizer(iter(Again()), **options).backend_tokenizer.to_str()


PEAK = """
import resource, sys
from hf_kit.cli import main
assert main(["train", *sys.argv[1:]]) == 0
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows():
    write("csv", reviews(20), "dev")

    def peak(rows: int) -> float:
        """MiB of a run over `rows` texts of 3 KiB, most of which is one word that all share: it is quick to learn."""
        with open(f"{rows}.jsonl", "w", encoding="utf-8") as stream:
            for i in range(rows):
                label = ("good", "bad")[i % 2]
                stream.write(json.dumps({"text": f"{i} {label} {'x' * 3072}", "label": label}) + "\n")
        flags = [
            *LSTM, *QUICK, f"--train_file={rows}.jsonl", "--validation_file=dev.csv", f"--output_dir=out{rows}",
            "--streaming=True", "--shuffle_buffer_size=1000", "--max_steps=20", "--max_length=64", "--baselines=False",
            "--eval_strategy=no", "--save_strategy=no", "--load_best_model_at_end=False", "--tokenizer_type=wordlevel",
        ]  # fmt: skip
        env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-c", PEAK, *flags]
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=550)
        assert done.returncode == 0, done.stderr
        return float(done.stdout.split("peak")[1])

    small, large = peak(2_000), peak(20_000)
    size = Path("20000.jsonl").stat().st_size / 2**20
    print(f"{small:.0f} MiB at 2,000 rows, {large:.0f} MiB at 20,000, whose file has {size:.0f}")
    assert size > 50 and large - small < size / 4


def test_an_empty_stream_is_one_error():
    empty = RowStream(Features({"text": Value("string")}), lambda state: iter([]))
    with pytest.raises(UserError, match="--dataset_name me/mine, split test has no rows"):
        empty.load("--dataset_name me/mine, split test")
