"""The README's first results: recipes on the sample and on real data, each beside the simple models on the same rows.

    HF_KIT_DATA=<data folder> python benchmarks/first_results.py

Writes `first_results.md` and `first_results.json` beside this file. Scores are those of the test split, mean and
standard deviation over the seeds; the best checkpoint is chosen on validation rows.
"""

import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

import hf_kit

SEEDS = (0, 1, 2)
HERE = Path(__file__).parent

# Name, recipe, files below HF_KIT_DATA (none: the sample), score.
ROWS = [
    ("sample", "quickstart", {}, "accuracy"),
    ("sms_spam", "lstm", {"train_file": "sms_spam/train.jsonl", "test_file": "sms_spam/test.jsonl"}, "f1_macro"),
    *(
        (
            "sst2 sentences",
            recipe,
            {
                "train_file": "sst2/train_sentences.jsonl",
                "validation_file": "sst2/dev.jsonl",
                "test_file": "sst2/test.jsonl",
            },
            "accuracy",
        )
        for recipe in ("lstm_classic", "lstm")
    ),
]


def measure(recipe: str, files: dict[str, str], score: str, data: Path) -> dict:
    """Train `recipe` once per seed in a passing folder; the scores and what they stand beside."""
    scores, baselines, parameters = [], {}, 0
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            flags = {name: str(data / file) for name, file in files.items()}
            run = hf_kit.train(
                f"text_classification/{recipe}.yaml",
                seed=seed,
                output_dir=f"{folder}/run",
                baselines=seed == SEEDS[0],
                disable_tqdm=True,
                **flags,
            )
            results = run.results
        scores.append(results["test"][score])
        parameters = results["training"]["parameters"]
        for name, splits in results.get("baselines", {}).items():
            baselines[name] = splits["test"][score]
    return {"scores": scores, "parameters": parameters, "baselines": baselines}


def main() -> int:
    if "HF_KIT_DATA" not in os.environ:
        print("set HF_KIT_DATA to the folder of the data sets (sms_spam/, sst2/)", file=sys.stderr)
        return 1
    data = Path(os.environ["HF_KIT_DATA"])
    table = [
        "| data | recipe | score on test | mean ± sd of 3 seeds | majority | TF-IDF + LR | parameters |",
        "|---|---|---|---|---|---|---|",
    ]
    measured = {}
    for name, recipe, files, score in ROWS:
        found = measured[f"{name}, {recipe}"] = measure(recipe, files, score, data) | {"score": score}
        table.append(
            f"| {name} | `{recipe}` | {score} | {statistics.mean(found['scores']):.3f} ± "
            f"{statistics.stdev(found['scores']):.3f} | {found['baselines']['majority']:.3f} | "
            f"{found['baselines']['tfidf_logistic_regression']:.3f} | {found['parameters']:,} |"
        )
        (HERE / "first_results.md").write_text("\n".join(table) + "\n", encoding="utf-8")
        (HERE / "first_results.json").write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    print("\n".join(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
