"""Runs killed at random moments: how many of them end as the run that nobody killed?

    python benchmarks/kills.py

`hf-kit chaos` on the LSTM and on a small encoder: SIGKILL to all processes of a run, half of the kills while a
checkpoint is being written, which is slowed down on purpose. It needs nothing but the kit. Writes `kills.md` and, with
every run's kills and the steps it went on from, `kills.json` beside this file.
"""

import argparse
import dataclasses
import sys
import time
from pathlib import Path

import side_by_side
from side_by_side import markdown_table

import hf_kit

ENCODER = """{"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}"""
LSTM = ["text_classification/quickstart.yaml"]
SAMPLE = Path(hf_kit.__file__).parent / "data/reviews_en.jsonl"
RECIPES = {
    "LSTM, early stopping": [*LSTM, "--early_stopping_patience=4"],
    "LSTM, streamed, 2 batches accumulated": [
        *(*LSTM, f"--train_file={SAMPLE}", "--streaming", "--shuffle_buffer_size=96"),
        "--gradient_accumulation_steps=2",
    ],
    "encoder, 2 layers, random weights": [*LSTM, "--model_type=bert", f"--config_overrides={ENCODER}"],
    "encoder, batches of 600 tokens, 2 workers": [
        *(*LSTM, "--model_type=bert", f"--config_overrides={ENCODER}"),
        *("--max_tokens_per_batch=600", "--dataloader_num_workers=2"),
    ],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="for each of the recipes (default 50)")
    flags = parser.parse_args()
    from hf_kit.chaos import chaos, show

    rows, data = [], {}
    for seed, (name, words) in enumerate(RECIPES.items()):
        print(f"{name} ...", flush=True)
        start = time.monotonic()
        survivors = chaos(words, flags.kills, seed)
        show(survivors)
        minutes = (time.monotonic() - start) / 60
        kills, inside = (sum(getattr(s, field) for s in survivors) for field in ("kills", "in_a_save"))
        skipped = sum(s.skipped for s in survivors)
        differ = sum(not s.identical for s in survivors)
        rows.append([name, str(kills), str(inside), str(len(survivors)), str(skipped), str(differ), f"{minutes:.0f}"])
        data[name] = [dataclasses.asdict(s) for s in survivors]
    head = ["run", "kills", "inside a save", "runs ended", "checkpoints skipped", "other weights", "minutes"]
    about = [
        "A resume that fails ends this script with an error and no table. Weights are compared by their bytes (sha256)."
    ]
    side_by_side.write_results("kills", about, [markdown_table(head, rows)], {"kills": flags.kills, "runs": data})
    return 0


if __name__ == "__main__":
    sys.exit(main())
