"""What an unkind user may give, and gets: one clear error, before any work, and nothing written."""

import gzip
import http.server
import json
import random
import shutil
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants
from peft import LoraConfig
from safetensors.numpy import load_file, save_file
from tiny import FAMILIES, reviews, write_csv

from hf_kit.cli import main
from hf_kit.tokenizer_training import train_tokenizer

LSTM = [
    "--model_type=hf_kit_lstm",
    f"--config_overrides={json.dumps(FAMILIES['hf_kit_lstm'])}",
    "--vocab_size=200",
    "--num_train_epochs=1",
    "--disable_tqdm",
    "--baselines=False",
]
ROWS = reviews(60)
CSV = "text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS)
JSONL = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in ROWS)
REGRESSION = "".join(json.dumps({"text": text, "label": i / 7}) + "\n" for i, (text, _) in enumerate(ROWS))


def flags(*given: str, model: list[str] = LSTM) -> list[str]:
    """`hf-kit train` on good rows, with `given` added."""
    return ["train", *model, "--train_file=reviews.csv", *given]


def rows(name: str, *given: str) -> list[str]:
    """`hf-kit train` on the file `name`."""
    return ["train", *LSTM, f"--train_file={name}", *given]


def bert(*given: str, folder: str = "bert") -> list[str]:
    return ["train", f"--model_name_or_path={folder}", "--train_file=reviews.csv", "--disable_tqdm", *given]


def everything() -> dict[str, bytes]:
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in Path(".").rglob("*")}


def refused(argv: list[str], capsys, words: list[str], early: bool | None = None) -> None:
    """`argv` ends in status 1 and one line of error with all `words`; nothing is written, nothing is changed.

    Args:
        early: whether it must be said before any data is read.
    """
    before = everything()
    capsys.readouterr()
    status = main(argv)
    printed = capsys.readouterr()
    errors = [line for line in printed.err.splitlines() if line.startswith("error: ")]
    assert (status, len(errors)) == (1, 1), printed.err
    assert "run again with --debug" not in errors[0] or "--debug" in words, errors[0]
    assert "Traceback" not in printed.err + printed.out
    assert all(word in errors[0] for word in words), errors[0]
    assert everything() == before
    assert early is None or early == ("\nData\n" not in printed.out)


# name: (command line, what the error says)
FLAGS = {
    "no such command": (["trian"], ["trian", "`train`"]),
    "misspelt flag": (flags("--learning_rat=1"), ["learning_rat", "`learning_rate`"]),
    "a flag with one dash": (flags("-seed", "1"), ["`-seed`", "--flag value"]),
    "a flag without its value": (flags("--learning_rate"), ["--learning_rate", "expected one argument"]),
    "an empty value": (flags("--output_dir="), ["--output_dir is empty"]),
    "an empty file name": (rows(""), ["--train_file is empty"]),
    "an empty recipe name": (["train", ""], ["no recipe", "lstm.yaml"]),
    "a word for a number": (flags("--learning_rate=fast"), ["--learning_rate", "'fast'"]),
    "a fraction for a whole number": (flags("--per_device_train_batch_size=1.5"), ["train_batch_size", "'1.5'"]),
    "neither true nor false": (flags("--baselines=maybe"), ["--baselines", "maybe", "true/false"]),
    "a number that is none": (flags("--weight_decay=nan"), ["--weight_decay", "nan", "finite"]),
    "an infinite number": (flags("--num_train_epochs=inf"), ["--num_train_epochs", "inf", "finite"]),
    "a batch of none": (flags("--per_device_train_batch_size=0"), ["train_batch_size is 0", "greater than 0"]),
    "a negative seed": (flags("--seed=-1"), ["--seed is -1", "4294967295"]),
    "negative steps": (flags("--max_steps=-5"), ["--max_steps is -5"]),
    "scoring every 0 steps": (flags("--eval_strategy=steps", "--eval_steps=0"), ["--eval_steps is 0"]),
    "a negative decay": (flags("--weight_decay=-1"), ["--weight_decay is -1.0", "negative"]),
    "a negative clip": (flags("--max_grad_norm=-1"), ["--max_grad_norm is -1.0", "negative"]),
    "a share above one": (flags("--adam_beta1=2"), ["--adam_beta1 is 2.0", "below 1"]),
    "negative workers": (flags("--dataloader_num_workers=-1"), ["--dataloader_num_workers is -1"]),
    "no such strategy": (flags("--eval_strategy=epochs"), ["--eval_strategy", "'epochs'", "'epoch'"]),
    "no such schedule": (flags("--lr_scheduler_type=linaer"), ["--lr_scheduler_type", "'linaer'", "'linear'"]),
    "no such optimizer": (flags("--optim=adamm"), ["--optim", "'adamm'", "'adamw_torch'"]),
    "no such tracker": (flags("--report_to=tensorbord"), ["--report_to tensorbord", "`tensorboard`"]),
    "no such task": (flags("--task=text_clasification"), ["`text_classification`"]),
    "no such type of model": (["train", "--model_type=brt"], ["--model_type brt", "`bert`"]),
    "a type without such a model": (["train", "--model_type=vit"], ["--model_type vit", "no model for this task"]),
    "no model": (["train", "--model_type="], ["--model_type is empty"]),
    "two models": (flags("--model_name_or_path=x"), ["exclude each other"]),
    "two precisions": (flags("--bf16", "--fp16"), ["fp16", "bf16"]),
    "saving that does not follow scoring": (
        flags("--eval_strategy=steps", "--eval_steps=3", "--save_steps=4"),
        ["load_best_model_at_end", "multiple"],
    ),
    "patience without scores": (
        flags("--early_stopping_patience=2", "--eval_strategy=no"),
        ["--early_stopping_patience", "--eval_strategy"],
    ),
    "patience without validation rows": (
        flags("--early_stopping_patience=2", "--validation_split_percentage=0"),
        ["--early_stopping_patience", "--validation_split_percentage"],
    ),
    "LoRA flags without LoRA": (flags("--lora_r=4"), ["--lora_r", "--use_peft"]),
    "LoRA on a fresh model": (flags("--use_peft"), ["--use_peft", "fresh"]),
    "generation where none is": (flags("--predict_with_generate"), ["--predict_with_generate", "leave it out"]),
    "checkpointing that the LSTM lacks": (flags("--gradient_checkpointing"), ["--gradient_checkpointing"]),
    "no JSON": (flags("--lr_scheduler_kwargs=x"), ["--lr_scheduler_kwargs", "'x'", "JSON"]),
    "a configuration field misspelt": (
        flags('--config_overrides={"hiden_dim":3}'),
        ["--config_overrides", "hiden_dim", "`hidden_dim`"],
    ),
    "a configuration field of another type": (
        flags('--config_overrides={"hidden_dim":"x"}'),
        ["--config_overrides", "hidden_dim", "int"],
    ),
    "a configuration that contradicts itself": (
        flags(model=["--model_type=bert", '--config_overrides={"hidden_size":10,"num_attention_heads":3}']),
        ["--model_type bert", "multiple"],
    ),
    "a vocabulary without room": (flags("--vocab_size=3"), ["--vocab_size 3", "at least 7"]),
    "too short texts": (flags("--max_length=2"), ["--max_length is 2", "at least 3"]),
    "no such score": (flags("--metric_for_best_model=acuracy"), ["acuracy", "`accuracy`"]),
    "a score of another kind of task": (flags("--metric_for_best_model=pearson"), ["pearson", "Scores: accuracy"]),
    "a weight for no label": (flags('--class_weights={"goood":2}'), ["'goood'", "`good`", "bad, good"]),
    "a negative weight": (flags('--class_weights={"good":-2}'), ["'good'", "-2", "above 0"]),
    "a problem that the labels are not": (flags("--problem_type=regression"), ["numbers", "'good'", "rows 1, 2"]),
    "a token on the command line": (flags("--hub_token=hf_x"), ["HF_TOKEN"]),
    "code of others without a commit": (
        ["train", "--model_name_or_path=a/b", "--trust_remote_code"],
        ["--trust_remote_code", "--model_revision"],
    ),
    "no such recipe": (["train", "text_classification/lstn.yaml"], ["`text_classification/lstm.yaml`"]),
    "data for a recipe": (["train", "reviews.csv"], ["recipe reviews.csv", "flag: value"]),
    "a word too many": (flags("reviews.csv"), ["`reviews.csv`", "recipe comes first"]),
    "two sources of data": (flags("--dataset_name=a/b"), ["--dataset_name a/b", "--train_file", "give one"]),
    "a split of a file": (flags("--train_split_name=x"), ["--train_split_name", "--dataset_name"]),
    "validation rows only": (["train", *LSTM, "--validation_file=reviews.csv"], ["--validation_file", "--train_file"]),
    "one file twice": (flags("--test_file=reviews.csv"), ["--train_file", "--test_file", "same file"]),
    "no checkpoint to go on from": (
        flags("--resume_from_checkpoint=nope"),
        ["--resume_from_checkpoint nope", "no such folder", "auto, must, never"],
    ),
    "an old way to ask for a checkpoint": (flags("--resume_from_checkpoint=True"), ["True", "auto, must, never"]),
    "a folder that is no checkpoint": (flags("--resume_from_checkpoint=."), ["no manifest.json", "hf-kit verify"]),
    "an empty word for a checkpoint": (flags("--resume_from_checkpoint="), ["--resume_from_checkpoint is empty"]),
    "a file as a checkpoint": (flags("--resume_from_checkpoint=reviews.csv"), ["reviews.csv", "no such folder"]),
    "a checkpoint that must be there": (
        flags("--resume_from_checkpoint=must", "--output_dir=new"),
        ["must: no checkpoint to go on from in new", "leave the flag out"],
    ),
    "saving every 0 minutes": (flags("--save_minutes=0"), ["--save_minutes is 0", "greater than 0"]),
    "saving every minute but one": (flags("--save_minutes=-1"), ["--save_minutes is -1.0", "greater than 0"]),
    "no number of minutes": (flags("--save_minutes=nan"), ["--save_minutes is nan", "finite"]),
    "keeping no checkpoint": (flags("--save_total_limit=0"), ["--save_total_limit is 0", "greater than 0"]),
    "verifying nothing": (["verify"], ["folder", "hf-kit verify --help"]),
    "verifying what is not there": (["verify", "nope"], ["no folder nope"]),
    "verifying a file": (["verify", "reviews.csv"], ["no folder reviews.csv"]),
    "verifying a folder without checkpoints": (["verify", "."], [". holds no checkpoint", "--save_strategy"]),
    "a flag that verify lacks": (["verify", ".", "--jsn"], ["--jsn", "hf-kit verify --help"]),
    "an output folder that is a file": (flags("--output_dir=reviews.csv"), ["reviews.csv is a file"]),
    "an output folder below a file": (flags("--output_dir=reviews.csv/a"), ["reviews.csv is a file"]),
    "an output folder that cannot be made": (flags("--output_dir=/proc/x/y"), ["/proc/x/y", "cannot be written"]),
    "an output folder with a name too long": (flags("--output_dir=" + "a" * 300), ["cannot be written", "too long"]),
    "an output folder with other files": (flags("--output_dir=."), ["holds other files"]),
    "a file that is not there": (rows("reveiws.csv"), ["--train_file reveiws.csv", "`reviews.csv`"]),
    "a folder that is not there": (rows("a/b/c.csv"), ["--train_file a/b/c.csv", "no such file"]),
    "a device": (rows("/dev/null"), ["/dev/null", "device"]),
    "a file as a data set": (["train", *LSTM, "--dataset_name=reviews.csv"], ["reviews.csv", "--train_file"]),
    "a data set that is not there, offline": (["train", *LSTM, "--dataset_name=a/b"], ["a/b", "HF_HUB_OFFLINE"]),
    "a model that is not there, offline": (bert(folder="no-such/model"), ["no-such/model", "HF_HUB_OFFLINE"]),
    "a model's folder that is not there": (bert(folder="./nope"), ["./nope", "no such folder"]),
    "a file as a model": (bert(folder="reviews.csv"), ["reviews.csv is a file"]),
    "a tokenizer that is not there": (flags("--tokenizer_name=no-such/tok"), ["no-such/tok", "HF_HUB_OFFLINE"]),
    "no such column of texts": (flags("--text_column=txt"), ["--text_column txt", "`text`, `label`"]),
    "no such column of labels": (flags("--label_column=lable"), ["--label_column lable", "`text`, `label`"]),
    "one column for both": (flags("--text_column=label", "--label_column=label"), ["both name column `label`"]),
}


# What only the rows can tell.
BY_THE_DATA = {
    "patience without validation rows",
    "no such score",
    "a score of another kind of task",
    "a weight for no label",
    "a negative weight",
    "a problem that the labels are not",
    "a data set that is not there, offline",
    "no such column of texts",
    "no such column of labels",
    "one column for both",
    "a checkpoint that must be there",
}


@pytest.mark.parametrize("case", FLAGS)
def test_a_bad_flag_or_path_is_one_error_before_any_work(case, capsys):
    argv, words = FLAGS[case]
    write_csv(Path("reviews.csv"), ROWS)
    refused(argv, capsys, words, early=case not in BY_THE_DATA)


RECIPES = {
    "misspelt key": ("learning_rat: 1", ["r.yaml", "learning_rat", "`learning_rate`"]),
    "a word for a number": ("learning_rate: fast", ["r.yaml", "learning_rate", "'fast'"]),
    "a list for a number": ("seed: [1, 2]", ["r.yaml", "`2`"]),
    "no YAML": ("a: [", ["r.yaml", "YAML"]),
    "a list": ("- a\n- b", ["r.yaml", "flag: value"]),
    "nested": ("data:\n  train_file: x.csv", ["r.yaml", "data"]),
    "not UTF-8": ("train_file: café.csv".encode("latin-1"), ["r.yaml", "cannot be read"]),
    "binary": (bytes(range(256)), ["r.yaml", "cannot be read"]),
    "no model": ("seed: 1", ["--model_name_or_path", "--model_type"]),
    "a token": ("hub_token: hf_x", ["HF_TOKEN"]),
}


@pytest.mark.parametrize("case", RECIPES)
def test_a_bad_recipe_is_one_error(case, capsys):
    content, words = RECIPES[case]
    Path("r.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(["train", "r.yaml"], capsys, words)


# name: (file, its content, what the error says)
DATA = {
    "an empty file": ("x.csv", "", ["--train_file x.csv", "empty"]),
    "blank lines": ("x.csv", "\n\n", ["x.csv", "blank lines"]),
    "a header alone": ("x.csv", "text,label\n", ["x.csv", "no rows"]),
    "a picture": ("x.csv", b"\x89PNG\r\n\x1a\n" + bytes(90), ["x.csv", "not UTF-8", "byte 0"]),
    "Latin-1": ("x.csv", CSV.encode() + "café,good\n".encode("latin-1"), ["x.csv", "not UTF-8", "line 62", "iconv"]),
    "UTF-16": ("x.csv", CSV.encode("utf-16"), ["x.csv", "not UTF-8", "iconv"]),
    "GB18030": ("x.csv", CSV.encode() + "很好,good\n".encode("gb18030"), ["x.csv", "not UTF-8", "GB18030"]),
    "a cut character": ("x.csv", CSV.encode() + "好".encode()[:2], ["x.csv", "not UTF-8", "line 62"]),
    "a row too long": ("x.csv", CSV + "a,b,c\n", ["x.csv", "row 61 (line 62)", "fields is 3", "text, label"]),
    "a row too short": ("x.csv", CSV + "alone\n", ["x.csv", "row 61 (line 62)", "fields is 1"]),
    "a quote that never closes": (
        "x.csv",
        CSV + '"open,good\nmore,bad\n',
        ["x.csv", "row 61 (line 62)", "never closes"],
    ),
    "a quote in a quoted text": ("x.csv", CSV + '"a "b" c",good\n', ["x.csv", "row 61", '""']),
    "a column twice": ("x.csv", "text,text\na,b\n", ["x.csv", "`text` twice"]),
    "no header": ("x.csv", CSV.partition("\n")[2], ["--text_column", "lacks its header"]),
    "no known columns": ("x.csv", CSV.replace("text,label", "foo,bar", 1), ["--text_column", "`foo`, `bar`"]),
    "no labels": ("x.csv", "text\n" + "\n".join(text for text, _ in ROWS), ["no label column", "--label_column"]),
    "an empty label": ("x.csv", CSV + "some text,\n", ["x.csv", "no label", "`label`", "row 61"]),
    "a label of spaces": ("x.csv", CSV + "some text,  \n", ["x.csv", "no label", "row 61"]),
    "empty texts only": ("x.csv", "text,label\n" + '"",a\n"",b\n' * 9, ["x.csv", "every text", "`text`", "empty"]),
    "one class": ("x.csv", CSV.replace(",bad", ",good"), ["x.csv", "'good' only", "two labels"]),
    "a class of one row": ("x.csv", CSV + "only one,rare\n", ["`rare` has 1", "at least 3", "--validation_file"]),
    "two rows": ("x.csv", "text,label\na,x\nb,y\n", ["`x` has 1", "--validation_split_percentage 0"]),
    "a spreadsheet": ("x.xlsx", b"PK\x03\x04", ["x.xlsx", "CSV UTF-8"]),
    "a kind that is not read": ("x.pdf", b"%PDF", ["x.pdf", "csv, tsv, json, jsonl or parquet"]),
    "a packed file": ("x.csv.gz", b"\x1f\x8b", ["x.csv.gz", ".gz"]),
    "a tsv row too long": ("x.tsv", CSV.replace(",", "\t") + "a\tb\tc\n", ["x.tsv", "row 61", "a tab"]),
    "a line that is no JSON": ("x.jsonl", JSONL + '{"text": \n', ["x.jsonl", "row 61 (line 61)", "not JSON"]),
    "a line that is no object": ("x.jsonl", JSONL + "[1]\n", ["x.jsonl", "row 61", "[1]", "object"]),
    "a null text": ("x.jsonl", JSONL + '{"text":null,"label":"good"}\n', ["x.jsonl", "no text", "`text`", "row 61"]),
    "a null label": ("x.jsonl", JSONL + '{"text":"x","label":null}\n', ["x.jsonl", "no label", "row 61"]),
    "a key that a row lacks": ("x.jsonl", JSONL + '{"text":"x"}\n', ["x.jsonl", "no label", "row 61"]),
    "a number among texts": ("x.jsonl", JSONL + '{"text":3,"label":"good"}\n', ["x.jsonl", "`text`", "row 61"]),
    "a list among labels": ("x.jsonl", JSONL + '{"text":"x","label":["good"]}\n', ["mixes types", "list", "row 61"]),
    "an object among labels": ("x.jsonl", JSONL + '{"text":"x","label":{"a":1}}\n', ["mixes types", "dict", "row 61"]),
    "NaN for a label": ("x.jsonl", JSONL + '{"text":"x","label":NaN}\n', ["x.jsonl", "row 61", "NaN", "null"]),
    "half a character": ("x.jsonl", JSONL + '{"text":"\\ud83d","label":"good"}\n', ["x.jsonl", "row 61", "ud83d"]),
    "a list that is cut off": ("x.json", "[" + JSONL.replace("}\n", "},\n"), ["x.json", "not JSON", "line 61"]),
    "one text for all": ("x.json", '"x"', ["x.json", "row 1", "object"]),
    "no parquet": ("x.parquet", b"PAR1 nothing", ["x.parquet", "cannot be read as parquet"]),
}


@pytest.mark.parametrize("case", DATA)
def test_bad_rows_are_one_error_with_file_and_row(case, capsys):
    name, content, words = DATA[case]
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(rows(name), capsys, words)


def test_smoothing_and_weights_of_a_regression_are_contradictions(capsys):
    Path("x.jsonl").write_text(REGRESSION)
    refused(rows("x.jsonl", "--label_smoothing_factor=0.1"), capsys, ["--label_smoothing_factor", "regression"])
    refused(rows("x.jsonl", "--class_weights=balanced"), capsys, ["--class_weights", "regression"])


def test_parquet_of_other_types_and_cut_in_half(capsys):
    texts, labels = [text for text, _ in ROWS], [label for _, label in ROWS]
    pq.write_table(pa.table({"text": [text.encode() for text in texts], "label": labels}), "bytes.parquet")
    refused(rows("bytes.parquet"), capsys, ["bytes.parquet", "`text`", "binary"])
    pq.write_table(pa.table({"text": texts, "label": pa.array([0] * 60, pa.date32())}), "dates.parquet")
    refused(rows("dates.parquet"), capsys, ["dates.parquet", "`label`", "date32"])
    whole = Path("dates.parquet").read_bytes()
    Path("half.parquet").write_bytes(whole[: len(whole) // 2])
    refused(rows("half.parquet"), capsys, ["half.parquet", "cannot be read"])


OTHER_SPLITS = {
    "a label that train lacks": (
        "text,label\nx,good\ny,goood\nz,goood\n",
        ["v.csv", "'goood'", "rows 2, 3", "bad, good"],
    ),
    "no column of texts": ("txt,label\nx,good\n", ["v.csv", "`text`", "`txt`, `label`"]),
    "no labels": ("text\nx\n", ["validation", "`label`"]),
    "an empty label": ("text,label\nx,good\ny,\n", ["v.csv", "row 2"]),
    "a ragged row": ("text,label\na,b,c\n", ["v.csv", "row 1 (line 2)"]),
}


@pytest.mark.parametrize("case", OTHER_SPLITS)
def test_bad_validation_rows_are_one_error(case, capsys):
    content, words = OTHER_SPLITS[case]
    write_csv(Path("reviews.csv"), ROWS)
    Path("v.csv").write_text(content)
    refused(flags("--validation_file=v.csv"), capsys, words)


def test_folders_without_data_or_with_too_much_of_it(capsys):
    Path("d").mkdir()
    refused(["train", *LSTM, "--dataset_name=d"], capsys, ["d holds no data", "sub-folder"])
    Path("d/one.csv").write_text(CSV)
    Path("d/two.csv").write_text(CSV)
    refused(["train", *LSTM, "--dataset_name=d"], capsys, ["one, two", "--train_split_name"])
    refused(["train", *LSTM, "--dataset_name=d", "--train_split_name=on"], capsys, ["one, two", "`one`"])


LEGAL = {
    "a BOM": ("x.csv", "\ufeff" + CSV),
    "CRLF": ("x.csv", CSV.replace("\n", "\r\n")),
    "semicolons": ("x.csv", CSV.replace(",", ";")),
    "quotes, commas and line breaks": ("x.csv", CSV + '"a, ""b""\nnew",good\n'),
    "an empty text": ("x.csv", CSV + ",good\n"),
    "a row of a million characters": ("x.csv", CSV + "word " * 200_000 + ",good\n"),
    "a word of a million characters": (
        "x.csv",
        CSV + "".join(random.Random(0).choices("abcdefgh", k=10**6)) + ",good\n",
    ),
    "jsonl with a BOM and CRLF": ("x.jsonl", "\ufeff" + JSONL.replace("\n", "\r\n")),
}


@pytest.mark.parametrize("case", LEGAL)
def test_what_is_legal_works(case, capsys):
    name, content = LEGAL[case]
    Path(name).write_bytes(content.encode())
    assert main(rows(name, "--output_dir=out")) == 0
    assert "error" not in capsys.readouterr().err
    assert Path("out/results.json").is_file()


def edit(path: str, old: str, new: str) -> None:
    before = Path(path).read_text()
    assert old in before
    Path(path).write_text(before.replace(old, new))


def other_weights() -> None:
    save_file({"other": np.zeros(3, np.float32)}, "bert/model.safetensors", {"format": "pt"})


def long_vocabulary() -> None:
    train_tokenizer([f"w{i} x{i}" for i in range(900)], vocab_size=900).save_pretrained("bert")


# name: (how the checkpoint is spoilt, flags, what the error says)
CHECKPOINTS = {
    "more tokens than positions": (None, ["--max_length=65"], ["--max_length 65", "64"]),
    "LoRA on nothing": (
        None,
        ["--use_peft", "--lora_target_modules", "q_proj"],
        ["q_proj", "dense, key, query, value"],
    ),
    "LoRA on one and on nothing": (
        None,
        ["--use_peft", "--lora_target_modules", "query", "valeu"],
        ["valeu", "`value`"],
    ),
    "LoRA on no parameter": (None, ["--use_peft", "--lora_target_parameters", "lstm.x"], ["lstm.x", "query.weight"]),
    "LoRA on what it cannot adapt": (None, ["--use_peft", "--lora_target_modules", "LayerNorm"], ["LayerNorm"]),
    "LoRA that saves nothing": (None, ["--use_peft", "--lora_modules_to_save", "poolr"], ["poolr", "`pooler`"]),
    "LoRA of rank 0": (None, ["--use_peft", "--lora_r=0"], ["--lora_r is 0"]),
    "a dropout above one": (None, ["--use_peft", "--lora_dropout=1.5"], ["--lora_dropout is 1.5"]),
    "a size that is not the checkpoint's": (
        None,
        ['--config_overrides={"hidden_size":32}'],
        ["do not fit", "[16]", "[32]", "--config_overrides"],
    ),
    "no configuration": (lambda: Path("bert/config.json").unlink(), [], ["no config.json"]),
    "a cut configuration": (lambda: Path("bert/config.json").write_text("{"), [], ["config.json", "not a valid JSON"]),
    "a configuration without a type": (lambda: Path("bert/config.json").write_text("{}"), [], ["model_type"]),
    "an unknown type": (lambda: Path("bert/config.json").write_text('{"model_type":"brt"}'), [], ["brt"]),
    "a wrong type in it": (lambda: edit("bert/config.json", '_size": 16', '_size": "x"'), [], ["hidden_size", "int"]),
    "heads that do not divide": (lambda: edit("bert/config.json", '_heads": 2', '_heads": 3'), [], ["multiple"]),
    "no weights": (lambda: Path("bert/model.safetensors").unlink(), [], ["no weights", "model.safetensors"]),
    "cut weights": (lambda: cut("bert/model.safetensors"), [], ["model.safetensors", "damaged"]),
    "weights of another model": (other_weights, [], ["none of the weights of a bert"]),
    "weights in a pickle": (
        lambda: Path("bert/model.safetensors").replace("bert/pytorch_model.bin"),
        [],
        ["--model_name_or_path bert", "pickle (pytorch_model.bin)", "safetensors"],
    ),
    "no tokenizer": (lambda: [path.unlink() for path in Path("bert").glob("tok*")], [], ["no tokenizer files"]),
    "a cut tokenizer": (lambda: Path("bert/tokenizer.json").write_text("{"), [], ["tokenizer", "bert"]),
    "a tokenizer of another model": (long_vocabulary, [], ["900", "200", "--tokenizer_name"]),
    "a configuration that is a list": (lambda: Path("bert/config.json").write_text("[]"), [], ["config.json", "[]"]),
    "a configuration without end": (
        lambda: Path("bert/config.json").write_text("[" * 100_000),
        [],
        ["config.json", "not a valid JSON"],
    ),
    "a configuration in UTF-16": (
        lambda: Path("bert/config.json").write_text(Path("bert/config.json").read_text(), encoding="utf-16"),
        [],
        ["config.json", "utf-8"],
    ),
    "a type that is a number": (
        lambda: changed("bert/config.json", model_type=3),
        [],
        ["--model_name_or_path bert", "3"],
    ),
    "a negative vocabulary": (
        lambda: changed("bert/config.json", vocab_size=-5),
        [],
        ["vocab_size is -5", "1 or more"],
    ),
    "a negative width": (lambda: changed("bert/config.json", hidden_size=-16), [], ["hidden_size is -16"]),
    "negative layers": (lambda: changed("bert/config.json", num_hidden_layers=-1), [], ["num_hidden_layers is -1"]),
    "no heads": (lambda: changed("bert/config.json", num_attention_heads=0), [], ["num_attention_heads is 0"]),
    "no such activation": (lambda: changed("bert/config.json", hidden_act="gleu"), [], ["hidden_act", "`gelu`"]),
    "a padding beyond the vocabulary": (
        lambda: changed("bert/config.json", pad_token_id=999),
        [],
        ["pad_token_id is 999", "vocab_size 200"],
    ),
    "dropout above one": (lambda: changed("bert/config.json", hidden_dropout_prob=7), [], ["dropout", "7"]),
    "labels that are a list": (lambda: changed("bert/config.json", id2label=[1]), [], ["config.json", "damaged"]),
    "a vocabulary smaller than the tokenizer's": (
        lambda: changed("bert/config.json", vocab_size=50),
        [],
        ["145", "50", "--tokenizer_name"],
    ),
    "a tokenizer that is a list": (lambda: Path("bert/tokenizer.json").write_text("[]"), [], ["bert", "damaged"]),
    "a tokenizer of no known kind": (
        lambda: Path("bert/tokenizer.json").write_text('{"model":{"type":"None"}}'),
        [],
        ["tokenizer", "bert", "damaged"],
    ),
    "a binary tokenizer": (lambda: Path("bert/tokenizer.json").write_bytes(bytes(range(256))), [], ["damaged"]),
    "cut settings of a tokenizer": (
        lambda: Path("bert/tokenizer_config.json").write_text("{"),
        [],
        ["tokenizer_config.json", "not a valid JSON"],
    ),
    "a tokenizer's length in words": (
        lambda: changed("bert/tokenizer_config.json", model_max_length="long"),
        [],
        ["tokenizer_config.json", "`model_max_length`", "'long'"],
    ),
    "a padding token that is a number": (
        lambda: changed("bert/tokenizer_config.json", pad_token=3),
        [],
        ["tokenizer", "pad_token"],
    ),
    "a folder as a tokenizer, empty": (
        lambda: Path("t").mkdir(),
        ["--tokenizer_name=t"],
        ["`t`", "no tokenizer files"],
    ),
    "a file as a tokenizer": (None, ["--tokenizer_name=bert/tokenizer.json"], ["bert/tokenizer.json", "is a file"]),
    "a tokenizer's folder that is not there": (None, ["--tokenizer_name=./nope"], ["./nope", "no such folder"]),
    "an empty folder": (
        lambda: [path.unlink() for path in Path("bert").iterdir()],
        [],
        ["--model_name_or_path bert", "no config.json"],
    ),
    "an adapter whose base is gone": (lambda: adapter_alone("./gone"), [], ["adapter", "./gone", "merged/"]),
    "a flipped bit in the header": (lambda: flip("bert/model.safetensors", 20), [], ["model.safetensors", "damaged"]),
    "a header of exabytes": (
        lambda: Path("bert/model.safetensors").write_bytes((1 << 62).to_bytes(8, "little") + b"{}"),
        [],
        ["model.safetensors", "damaged", "header too large"],
    ),
    "weights of no bytes": (lambda: Path("bert/model.safetensors").write_bytes(b""), [], ["damaged"]),
    "a folder in place of weights": (
        lambda: (Path("bert/model.safetensors").unlink(), Path("bert/model.safetensors").mkdir()),
        [],
        ["no weights"],
    ),
    "weights of another shape": (lambda: reshaped("bert/model.safetensors"), [], ["do not fit", "[8, 16]", "[16, 16]"]),
    "weights under another name": (
        lambda: Path("bert/model.safetensors").rename("bert/other.safetensors"),
        [],
        ["model.safetensors is not there"],
    ),
    "an index without a map": (lambda: index("{}"), [], ["index.json", "`weight_map`"]),
    "an index of pieces that are not there": (
        lambda: index('{"weight_map":{"x":"piece-1.safetensors"}}'),
        [],
        ["piece-1.safetensors is not there"],
    ),
}


def changed(path: str, **values) -> None:
    Path(path).write_text(json.dumps(json.loads(Path(path).read_text()) | values))


def flip(path: str, place: int) -> None:
    content = bytearray(Path(path).read_bytes())
    content[place] ^= 0xFF
    Path(path).write_bytes(content)


def reshaped(path: str) -> None:
    weights = load_file(path)
    name = next(name for name in weights if name.endswith("query.weight"))
    save_file(weights | {name: weights[name][:8].copy()}, path, {"format": "pt"})


def index(content: str) -> None:
    Path("bert/model.safetensors").rename("bert/other.safetensors")
    Path("bert/model.safetensors.index.json").write_text(content)


def adapter_alone(base: str) -> None:
    for path in Path("bert").iterdir():
        path.unlink()
    LoraConfig(target_modules=["query"], base_model_name_or_path=base).save_pretrained("bert")


def cut(path: str) -> None:
    Path(path).write_bytes(Path(path).read_bytes()[:5000])


@pytest.mark.parametrize("case", CHECKPOINTS)
def test_a_bad_checkpoint_is_one_error(case, capsys, made_once):
    spoil, given, words = CHECKPOINTS[case]
    shutil.copytree(made_once / "bert", "bert")
    write_csv(Path("reviews.csv"), ROWS)
    if spoil:
        spoil()
    with_the_weights = {"a size that is not the checkpoint's", "weights of another model", "weights of another shape"}
    refused(bert(*given), capsys, words, early=case not in with_the_weights)


def no_numbers() -> None:
    weights = load_file("run/model.safetensors")
    save_file({k: v * np.float32("nan") for k, v in weights.items()}, "run/model.safetensors", {"format": "pt"})


def facts(**changed) -> None:
    values = json.loads(Path("run/run.json").read_text()) | changed
    Path("run/run.json").write_text(json.dumps({k: v for k, v in values.items() if v is not None}))


def state(**values) -> None:
    facts(state=json.loads(Path("run/run.json").read_text())["state"] | values)


PREDICT, EVALUATE = ["predict", "run", "a text"], ["evaluate", "run", "--test_file=reviews.csv"]
# name: (how the run or its inputs are made bad, command line, what the error says)
RUNS = {
    "no run named": (None, ["predict"], ["which run?"]),
    "an empty run name": (None, ["predict", "", "x"], ["which run?"]),
    "no run named to evaluate": (None, ["evaluate"], ["which run?"]),
    "no such run": (None, ["predict", "./nope", "x"], ["no run folder ./nope"]),
    "no such run, offline": (None, ["predict", "me/run", "x"], ["me/run", "HF_HUB_OFFLINE"]),
    "a file": (None, ["predict", "reviews.csv", "x"], ["reviews.csv", "run.json"]),
    "a checkpoint": (None, ["predict", "run/checkpoint-2", "x"], ["checkpoint-2", "run.json"]),
    "a damaged checkpoint to go on from": (
        lambda: cut("run/checkpoint-2/optimizer.safetensors"),
        flags("--resume_from_checkpoint=run/checkpoint-2", "--output_dir=new"),
        ["--resume_from_checkpoint run/checkpoint-2: optimizer.safetensors has", "bytes instead of"],
    ),
    "a damaged manifest": (
        lambda: cut("run/checkpoint-2/manifest.json"),
        flags("--resume_from_checkpoint=run/checkpoint-2", "--output_dir=new"),
        ["run/checkpoint-2: manifest.json is damaged", "hf-kit verify"],
    ),
    "a checkpoint of another run": (
        None,
        flags("--resume_from_checkpoint=run/checkpoint-2", "--output_dir=new", "--seed=7", "--learning_rate=0.5"),
        ["run/checkpoint-2 is of another run", "learning_rate: 0.001 -> 0.5", "seed: 42 -> 7", "nothing was changed"],
    ),
    "a new start over a finished run": (
        None,
        flags("--resume_from_checkpoint=never", "--output_dir=run"),
        ["--resume_from_checkpoint never", "run holds checkpoint-2, results.json", "--output_dir"],
    ),
    "an unfinished run": (lambda: Path("run/results.json").unlink(), PREDICT, ["not finished", "results.json"]),
    "no facts": (lambda: Path("run/run.json").unlink(), EVALUATE, ["no run.json"]),
    "cut facts": (lambda: Path("run/run.json").write_text("{"), PREDICT, ["run/run.json is damaged"]),
    "facts that are none": (lambda: Path("run/run.json").write_text("[]"), EVALUATE, ["run/run.json is damaged"]),
    "facts without a task": (lambda: facts(task=None), PREDICT, ["run/run.json is damaged", "task"]),
    "facts without a state": (lambda: facts(state={}), PREDICT, ["run/run.json is damaged", "columns"]),
    "a task of another kit": (lambda: facts(task="vision"), PREDICT, ["'vision'", "text_classification"]),
    "no weights": (lambda: Path("run/model.safetensors").unlink(), PREDICT, ["model in run", "model.safetensors"]),
    "cut weights": (lambda: cut("run/model.safetensors"), EVALUATE, ["model in run", "cannot be loaded"]),
    "a cut tokenizer": (lambda: Path("run/tokenizer.json").write_text("{"), PREDICT, ["model in run"]),
    "no configuration": (lambda: Path("run/config.json").unlink(), PREDICT, ["model in run", "no config.json"]),
    "a cut configuration": (lambda: Path("run/config.json").write_text("{"), PREDICT, ["config.json", "valid JSON"]),
    "no tokenizer": (
        lambda: [path.unlink() for path in Path("run").glob("tok*")],
        PREDICT,
        ["model in run", "no tokenizer files"],
    ),
    "labels of another run": (
        lambda: changed("run/config.json", id2label={"0": "a", "1": "b", "2": "c"}),
        PREDICT,
        ["model in run", "other shapes"],
    ),
    "a width of another run": (lambda: changed("run/config.json", hidden_dim=32), EVALUATE, ["other shapes"]),
    "a negative width": (lambda: changed("run/config.json", hidden_dim=-1), PREDICT, ["hidden_dim = -1"]),
    "facts of another run": (
        lambda: state(labels={"problem_type": "single_label_classification", "names": ["a", "b", "c"]}),
        PREDICT,
        ["run.json", "3 labels", "config.json 2"],
    ),
    "a length that is a word": (lambda: state(max_length="x"), PREDICT, ["run.json is damaged", "'x'"]),
    "a length of nothing": (lambda: state(max_length=-1), EVALUATE, ["run.json is damaged", "-1"]),
    "no such side": (lambda: state(truncation_side="up"), PREDICT, ["run.json is damaged", "'up'"]),
    "no such precision": (lambda: facts(precision="fp4"), PREDICT, ["run.json is damaged", "'fp4'", "bf16"]),
    "weights that are no numbers": (no_numbers, PREDICT, ["NaN", "damaged"]),
    "a score of no numbers": (no_numbers, EVALUATE, ["loss", "NaN", "rows 1, 2"]),
    "texts and a file": (None, [*PREDICT, "--file=reviews.csv"], ["not both"]),
    "no such file": (None, ["predict", "run", "--file=reveiws.csv"], ["--file reveiws.csv", "`reviews.csv`"]),
    "no such lines": (None, ["predict", "run", "--file=x.txt"], ["--file x.txt", "no such file"]),
    "an empty file name": (None, ["predict", "run", "--file="], ["--file is empty"]),
    "a file of another kind": (lambda: Path("x.pdf").touch(), ["predict", "run", "--file=x.pdf"], ["--file x.pdf"]),
    "lines that are not UTF-8": (
        lambda: Path("x.txt").write_bytes(b"fine\ncaf\xe9\n"),
        ["predict", "run", "--file=x.txt"],
        ["x.txt", "line 2"],
    ),
    "a file without texts": (
        lambda: Path("x.csv").write_text("foo,bar\na,b\n"),
        ["predict", "run", "--file=x.csv"],
        ["--text_column", "`foo`, `bar`"],
    ),
    "a null text": (
        lambda: Path("x.jsonl").write_text('{"text":"a"}\n{"text":null}\n'),
        ["predict", "run", "--file=x.jsonl"],
        ["x.jsonl", "`text`", "row 2"],
    ),
    "a pair where one is read": (None, [*PREDICT, "--text_pair=b"], ["one text"]),
    "half a pair": (None, ["predict", "run", "--text_pair=b"], ["--text_pair"]),
    "a text that is not UTF-8": (None, ["predict", "run", "caf\udce9"], ["text 1", "UTF-8"]),
    "a misspelt flag": (None, [*PREDICT, "--jsn"], ["--jsn", "`--json`"]),
    "a misspelt flag to evaluate": (None, ["evaluate", "run", "--test_fil=x"], ["test_fil", "`test_file`"]),
    "no rows to score": (None, ["evaluate", "run"], ["--test_file"]),
    "no such rows": (None, ["evaluate", "run", "--test_file=x.csv"], ["--test_file x.csv"]),
    "a batch of none": (None, [*EVALUATE, "--per_device_eval_batch_size=0"], ["per_device_eval_batch_size is 0"]),
    "no such column": (None, [*EVALUATE, "--text_column=txt"], ["--text_column txt", "`text`, `label`"]),
    "two sources of rows": (None, [*EVALUATE, "--dataset_name=a/b"], ["--dataset_name a/b", "give one"]),
    "rows without labels": (
        lambda: Path("x.csv").write_text("text\na\n"),
        ["evaluate", "run", "--test_file=x.csv"],
        ["no labels", "predict"],
    ),
    "a label that the model lacks": (
        lambda: Path("x.csv").write_text("text,label\na,good\nb,ugly\n"),
        ["evaluate", "run", "--test_file=x.csv"],
        ["x.csv", "'ugly'", "row 2", "bad, good"],
    ),
    "another run's folder": (None, flags("--output_dir=run", "--seed=3"), ["another run", "seed: 42 -> 3"]),
    "a damaged folder": (
        lambda: Path("run/run.json").write_text("{"),
        flags("--output_dir=run"),
        ["run/run.json is damaged"],
    ),
}


@pytest.mark.parametrize("case", RUNS)
def test_a_bad_run_or_input_is_one_error(case, capsys, made_once):
    spoil, argv, words = RUNS[case]
    shutil.copytree(made_once / "run", "run")
    write_csv(Path("reviews.csv"), ROWS)
    if spoil:
        spoil()
    refused(argv, capsys, words)


# name: (what the file holds, what the error says)
VECTORS = {
    "an empty file": (b"", ["empty"]),
    "an archive": (b"PK\x03\x04" + bytes(30), ["zip", "unpack"]),
    "bytes": (bytes(range(256)), ["binary"]),
    "words alone": (b"the\na\n", ["line 1", "`the`"]),
    "a row too long": (b"the" + b" 0.1" * 400_000, ["line 1", "longer than 1,048,576 bytes"]),
    "a header that exaggerates": (b"5 99999999999\nthe 1 2\n", ["line 2", "99999999999"]),
    "a row too short": (b"the" + b" 1" * 16 + b"\nroom 1\n", ["line 2", "16 numbers"]),
    "a gzip file that is cut": (gzip.compress(b"the" + b" 1" * 16 + b"\n" * 999)[:-9], ["damaged gzip"]),
}


@pytest.mark.parametrize("case", VECTORS)
def test_bad_word_vectors_are_one_error(case, capsys):
    content, words = VECTORS[case]
    Path("v.txt").write_bytes(content)
    write_csv(Path("reviews.csv"), ROWS)
    refused(flags("--tokenizer_type=wordlevel", "--word_vectors=v.txt"), capsys, ["--word_vectors v.txt", *words])


HUB = {
    "no such name": (404, {"X-Error-Code": "RepoNotFound"}, ["has none of this name", "HF_TOKEN"]),
    "a gated one": (403, {"X-Error-Code": "GatedRepo"}, ["ask on its page"]),
    "no right to it": (401, {}, ["refuses it (HTTP 401)", "hf auth login"]),
    "out of order": (503, {}, ["cannot be reached", "local folder"]),
    "not there": (None, {}, ["cannot be reached", "local folder"]),
}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub on this machine that answers every request in one way; `None`: nobody listens."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the attempts
    servers = []

    def start(status: int | None, headers: dict[str, str]) -> str:
        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                for name, value in {"Content-Length": "0", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()

            do_HEAD = do_GET

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        if status is None:
            server.server_close()
        else:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            servers.append(server)
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )
        return address

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("case", HUB)
def test_what_the_hub_does_not_give_is_one_error_with_its_address(case, capsys, hub):
    status, headers, words = HUB[case]
    address = hub(status, headers)
    write_csv(Path("reviews.csv"), ROWS)
    refused(bert(folder="no-such/model"), capsys, ["--model_name_or_path no-such/model", address, *words])
    refused(["predict", "no-such/run", "x"], capsys, ["no-such/run", address, *words])


def test_a_bug_or_a_full_disk_is_one_line_too_and_debug_shows_where(monkeypatch, capsys):
    write_csv(Path("reviews.csv"), ROWS)

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hf_kit.run.load_splits", full)
    refused(flags(), capsys, ["unexpected OSError", "No space left on device", "--debug"])
    with pytest.raises(OSError, match="No space"):
        main(flags("--debug"))


def test_debug_raises_a_mistake_with_the_error_below_it():
    Path("r.yaml").write_text("a: [")
    with pytest.raises(Exception, match="not valid YAML") as raised:
        main(["train", "r.yaml", "--debug"])
    assert raised.value.__context__ is not None and not raised.value.__suppress_context__


def test_there_are_many_cases():
    assert sum(map(len, (FLAGS, RECIPES, DATA, OTHER_SPLITS, LEGAL, CHECKPOINTS, RUNS, HUB))) >= 60
