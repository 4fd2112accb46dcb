"""What the two translators from nothing reach on tatoeba_en_zh, beside their baselines; every row is one command.

    python benchmarks/translation_quality.py              # both: two hours on two CPU cores
    python benchmarks/translation_quality.py lstm         # one
    python benchmarks/translation_quality.py --commands   # print the commands

It needs HF_KIT_DATA. Rows are trained in `runs/translation/<row>`; one that is finished is not trained again. Writes
`translation_quality.md` and `.json` beside this file, from all rows that are finished. Scores are those of the test
rows, which chose nothing, by sacrebleu with the signatures below the table.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
RUNS = Path("runs/translation")
DATA = "--dataset_name $HF_KIT_DATA/tatoeba_en_zh"
ROWS = {"transformer": "translation/from_scratch.yaml", "lstm": "translation/lstm.yaml"}
NAMES = {"transformer": "transformer", "lstm": "LSTM with attention"}


def command(row: str) -> str:
    return f"hf-kit train {ROWS[row]} {DATA} --output_dir {RUNS}/{row}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", choices=[*ROWS, []], help="default: all")
    parser.add_argument("--commands", action="store_true", help="print the commands and do nothing")
    flags = parser.parse_args()
    wanted = flags.rows or [*ROWS]
    if flags.commands:
        print("\n".join(map(command, wanted)))
        return 0
    if "HF_KIT_DATA" not in os.environ:
        sys.exit("set HF_KIT_DATA (see the head of quality.py)")
    for row in wanted:
        if not (RUNS / row / "results.json").is_file():
            print(f"\n$ {command(row)}", flush=True)
            words = [os.path.expandvars(word) for word in shlex.split(command(row))]
            subprocess.run([sys.executable, "-m", "hf_kit.cli", *words[1:]], check=True)
    write({row: json.loads((RUNS / row / "results.json").read_text()) for row in ROWS if finished(row)})
    return 0


def finished(row: str) -> bool:
    return (RUNS / row / "results.json").is_file()


def write(found: dict[str, dict]) -> None:
    """The table and its numbers."""
    lines = [
        "| model | parameters | validation BLEU | test BLEU | test chrF | test TER | minutes of training |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    rows = {}
    for row, results in found.items():
        test, trained = results["test"], results["training"]
        rows[row] = {
            "validation": results["validation"],
            "test": test,
            "training": trained,
            "seed": results["seed"],
            "signatures": results["signatures"],
            "baselines": results["baselines"],
            "command": command(row),
        }
        lines.append(
            f"| {NAMES[row]} | {trained['parameters'] / 1e6:.1f} M | {results['validation']['bleu']:.1f} | "
            f"{test['bleu']:.1f} | {test['chrf']:.1f} | {test['ter']:.1f} | {trained['seconds'] / 60:.0f} |"
        )
    last = next(iter(found.values()))
    for name, scores in last["baselines"].items():
        test = scores["test"]
        lines.append(
            f"| {name.replace('_', ' ')} | | {scores['validation']['bleu']:.1f} | {test['bleu']:.1f} | "
            f"{test['chrf']:.1f} | {test['ter']:.1f} | |"
        )
    signatures = "\n".join(f"- {name}: `{signature}`" for name, signature in last["signatures"].items())
    commands = "\n".join(f"- {NAMES[row]}: `{command(row)}`" for row in found)
    about = (
        "English to Chinese on tatoeba_en_zh (26,078 pairs to train on, 2,027 to test), from nothing, one seed each, "
        "four beams. Written by `python benchmarks/translation_quality.py`; "
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores."
    )
    text = "\n\n".join(["# Translation from nothing", about, "\n".join(lines), signatures, commands])
    (HERE / "translation_quality.md").write_text(text + "\n", encoding="utf-8")
    (HERE / "translation_quality.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
