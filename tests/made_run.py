"""A finished run folder for the tests of the card: written as a run writes it, without training one."""

import json
from pathlib import Path
from typing import Any

import yaml

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
VERSIONS = {"python": "3.11.7", "hf_kit": "0.1.0", "torch": "2.13.0"}
CONFIG = {
    "model_type": "hf_kit_lstm",
    "architectures": ["LstmForSequenceClassification"],
    "bidirectional": True,
    "auto_map": {"AutoConfig": "configuration_lstm.LstmConfig"},
}


def split_checks(rows: int, labels: dict[str, int] | None, **found: Any) -> dict[str, Any]:
    nothing = {
        "label_range": None,
        "unlabelled": 0,
        "skipped": 0,
        "empty": 0,
        "repeated": 0,
        "two_labels": 0,
        "in_train": None,
    }
    nothing |= {"in_validation": None, "read": rows, "cut": 0, "lost": 0, "tokens": 20 * rows, "unknown": 0}
    nothing |= {"dropped": None, "scored": True}
    return {"rows": rows, "labels": labels} | nothing | found


def make_run(
    folder: Path,
    labels: tuple[str, ...] = ("ham", "spam"),
    problem: str = SINGLE,
    *,
    task: str = "text_classification",
    accuracy: float = 0.9,
    baseline: float = 0.8,
    metric: str = "accuracy",
    config: dict[str, Any] | None = None,
    generation: dict[str, Any] | None = None,
    adapter: dict[str, Any] | None = None,
    results: dict[str, Any] | None = None,
    state: dict[str, Any] | None = None,
    data: dict[str, Any] | None = None,
    base: dict[str, Any] | None = None,
    origin: dict[str, Any] | None = None,
    train: dict[str, Any] | None = None,
    recipe: dict[str, Any] | None = None,
    rows: list[dict[str, Any]] | None = None,
    proof: dict[str, Any] | None = None,
    figures: tuple[str, ...] = ("confusion_matrix", "learning_curves"),
) -> Path:
    """`folder`, made; the keywords replace entries of what is written into it, `None` in `results` takes one out."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = None if problem == REGRESSION or task == "translation" else dict.fromkeys(labels, 4000)
    total = 4000 * len(labels)
    checks = {
        "train": split_checks(total, counts) | (train or {}),
        "validation": split_checks(500, counts and dict.fromkeys(labels, 500 // len(labels)), in_train=0),
        "test": split_checks(1000, counts and dict.fromkeys(labels, 1000 // len(labels)), in_train=0),
    }
    scores = {metric: accuracy, "f1_macro": accuracy - 0.1, "loss": 0.3} | {metric: accuracy}
    facts: dict[str, Any] = {
        "seed": 42,
        "validation": scores,
        "test": scores,
        "details": {
            "split": "test",
            "columns": ["label", "precision", "recall", "f1", "rows"],
            "rows": [[name, 0.9, 0.8, 0.85, 1000 // len(labels)] for name in labels],
        },
        "baselines": {
            "majority": {"test": {metric: 0.5, "f1_macro": 0.3}},
            "tfidf_logistic_regression": {"test": {metric: baseline, "f1_macro": baseline}},
        },
        "training": {
            "seconds": 30.0,
            "steps": 100,
            "epochs": 4.0,
            "best_step": 75,
            "parameters": 1_000_000,
            "trained_parameters": 1_000_000,
        },
        "data_checks": {"splits": checks, "similar_labels": [], "max_length": 128},
    } | (results or {})
    facts = {name: value for name, value in facts.items() if value is not None}
    if problem == REGRESSION:
        facts.pop("details")
    run = {
        "task": task,
        "state": {
            "columns": {"text": "text", "text_pair": None, "label": "label"},
            "labels": {"problem_type": problem, "names": None if problem == REGRESSION else list(labels)},
            "max_length": 128,
            "truncation_side": "right",
            "class_weights": None,
        }
        | (state or {}),
        "precision": "bf16",
        "origin": {
            "data": data or {"files": {"train": "messages.csv"}, "splits": dict.fromkeys(checks, "train")},
            "base_model": base,
            "tokenizer": None,
            "languages": ["en"],
            "hardware": {"device": "cpu", "name": "A CPU", "count": 1, "cores": 2, "processes": 1},
            "versions": VERSIONS,
        }
        | (origin or {}),
        "fingerprint": "0" * 64,
        "fingerprint_of": {
            "learning_rate": 1e-3,
            "per_device_train_batch_size": 32,
            "greater_is_better": metric not in ("mae", "ter"),
        },
    }
    settings = {"task": task, "metric_for_best_model": metric} | (recipe or {})
    for name, value in (("run.json", run), ("results.json", facts), ("proof.json", proof)):
        if value is not None:
            (folder / name).write_text(json.dumps(value), encoding="utf-8")
    (folder / "recipe.yaml").write_text(
        "# Reruns it\n" + yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8"
    )
    own = CONFIG | {"problem_type": problem} if config is None else config
    place = folder if adapter is None else folder / "merged"
    place.mkdir(exist_ok=True)
    (place / "config.json").write_text(json.dumps(own), encoding="utf-8")
    if generation is not None:
        (place / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
    if adapter is not None:
        (folder / "adapter_config.json").write_text(json.dumps(adapter), encoding="utf-8")
    if rows is not None:
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (folder / "proof_rows.jsonl").write_text("".join(lines), encoding="utf-8")
    (folder / "figures").mkdir(exist_ok=True)
    for name in figures:
        (folder / "figures" / f"{name}.png").write_bytes(b"\x89PNG")
    return folder


def make_translation_run(folder: Path, **changes: Any) -> Path:
    """A Marian model of English to Chinese; the keywords are those of `make_run`, and replace what is here."""
    scores = {"bleu": 28.34, "chrf": 25.61, "ter": 61.27, "loss": 2.5}
    baselines = {
        "copy_source": {"test": {"bleu": 0.21, "chrf": 1.5, "ter": 104.4}},
        "nearest_training_sentence": {"test": {"bleu": 9.3, "chrf": 8.8, "ter": 90.0}},
    }
    signatures = {"bleu": "nrefs:1|tok:zh|version:2.6.0", "chrf": "nrefs:1|nc:6", "ter": "nrefs:1|asian:yes"}
    results = {"validation": scores, "test": scores, "details": None, "baselines": baselines, "signatures": signatures}
    state = {"columns": {"source": "en", "target": "zh"}, "source_lang": "en", "target_lang": "zh", "prefix": ""}
    state |= {"max_source_length": 256, "max_target_length": 128, "label_smoothing": 0.1}
    dropped = {"empty": 0, "source too long": 40, "target too long": 0, "length ratio": 7}
    own = {
        "task": "translation",
        "metric": "bleu",
        "config": {"model_type": "marian", "architectures": ["MarianMTModel"]},
        "generation": {"num_beams": 4},
        "results": results | changes.pop("results", {}),
        "state": state | changes.pop("state", {}),
        "origin": {"languages": ["en", "zh"]} | changes.pop("origin", {}),
        "train": {"dropped": dropped} | changes.pop("train", {}),
        "figures": ("score_by_length", "learning_curves"),
    }
    return make_run(folder, **own | changes)
