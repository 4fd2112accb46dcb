"""Imports point downwards only."""

import ast
import subprocess
import sys
from pathlib import Path

import hf_kit

PACKAGE = Path(hf_kit.__file__).parent

# From the top to the ground. A module may import from its own row or from rows below it.
ROWS = [
    {"cli", "notebook"},
    {"run", "evaluation", "prediction", "parsing", "flag_checks", "doctor", "chaos", "launching", "memory_estimate"},
    {"publishing"},
    {"model_saving"},
    {"proof", "hub"},
    {"agreement", "batch_description", "effective_settings", "run_identity"}
    | {"settings", "scoring", "saved_run", "seeds", "card"},
    {"model_building"},
    {"quantization", "batch_size_finder", "checkpoint_averaging"},
    {"trainer", "divergence", "machine_failures", "progress", "report"},
    {"checkpointing"},
    {"checkpoints"},
    {"lora", "families", "precision", "sampler", "stream_order", "run_folder", "stopping"}
    | {
        "cpu_attention",
        "dropout",
        "embedding_gradient",
        "exact_head",
        "first_token",
        "frozen_weights",
        "one_query",
        "packed_attention",
    }
    | {
        "channels_last",
        "word_vectors",
        "origin",
        "gradient_checkpointing",
        "traced_step",
        "sharding",
        "unpadding",
        "packed_attention",
    },
    {"tasks"},
    {"tokenization", "tokenizer_training", "metrics", "data", "loss", "baselines", "figures", "backbone"}
    | {"augmentation", "image_processing", "image_rows", "adapter_merging"}
    | {
        "translation_baselines",
        "generation",
        "languages",
        "pair_encoding",
        "pair_tokenization",
        "token_cache",
        "token_loss",
    }
    | {"adapter_layers", "answers", "collation", "dealing", "input_rows", "streaming", "truncation", "windows"},
    {"arguments", "huge_pages", "models", "untrusted_folder", "vector_file"},
    {"process_group", "run_lock"},
    {
        "launch_environment",
        "launch_settings",
        "recipe",
        "console",
        "errors",
        "hub_errors",
        "links",
        "packings",
        "redaction",
        "usage",
    },
]


def imports(path: Path) -> set[str]:
    """The hf_kit modules (first name below hf_kit) that a file imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            if node.module == "hf_kit":
                found |= {alias.name for alias in node.names if not alias.name.startswith("_")}
            elif node.module.startswith("hf_kit."):
                found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("hf_kit.")}
    return found


def row_of(name: str) -> int:
    for i, row in enumerate(ROWS):
        if name in row:
            return i
    raise AssertionError(f"{name} stands in no row of the layers")


def test_every_module_imports_downwards_only():
    files = [p for p in PACKAGE.rglob("*.py") if p.name != "__init__.py" or p.parent != PACKAGE]
    assert len(files) > 20
    wrong = []
    for path in files:
        name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        wrong += [
            f"{path.relative_to(PACKAGE)} imports {other}" for other in imports(path) if row_of(other) < row_of(name)
        ]
    assert not wrong


def test_models_need_torch_and_transformers_only():
    files = list((PACKAGE / "models").glob("*/*_*.py"))
    assert files
    for path in files:
        assert not imports(path), path


def test_importing_the_kit_loads_nothing_heavy():
    code = (
        "import sys, hf_kit, hf_kit.cli; print([m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert done.stdout.strip() == "[]"
