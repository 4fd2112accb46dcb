"""The run folder: the contract between train, evaluate, predict and push.

`run.json` (what was trained on what, written before the first step), `recipe.yaml` (reruns the experiment),
`results.json` (a run that has it is trained and scored), `figures/`, the model's files, `checkpoint-N/`; after LoRA the
adapter, and the merged model in `merged/`; `proof_rows.jsonl` (what the trained model answered), `proof.json` (whether
the saved one answers so elsewhere) and `README.md` (the model card), made anew where they are missing.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from datasets import Dataset

from hf_kit.data.arrow_columns import content_of
from hf_kit.data.streamed_rows import StreamedRows
from hf_kit.errors import UserError
from hf_kit.run_lock import LOCK

RUN, RECIPE, RESULTS, MERGED = "run.json", "recipe.yaml", "results.json", "merged"
CARD, PROOF, PROOF_ROWS = "README.md", "proof.json", "proof_rows.jsonl"
# Pictures that show rows of the data, which are not ours to tell.
FIGURES_OF_ROWS = ("worst_errors.png",)

# What a run may leave that ended before its facts were written.
UNBEGUN = (LOCK, f"{RUN}.part")


def fingerprint(parts: dict[str, Any]) -> str:
    """sha256 of `parts` written as canonical JSON, 64 hex digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def hash_file(path: Path) -> str:
    """sha256 of a file's content, 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_text(text: str) -> str:
    """sha256 of a text, 64 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def hash_folder(folder: Path) -> str:
    """sha256 over names and contents of a model folder's own files (no sub-folders)."""
    total = hashlib.sha256()
    for path in sorted(p for p in folder.iterdir() if p.is_file()):
        total.update(path.name.encode())
        with path.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def hash_rows(dataset: Dataset | StreamedRows) -> str:
    """sha256 over the rows' contents, whatever file or cache they come from."""
    if isinstance(dataset, StreamedRows):
        return dataset.digest
    total = hashlib.sha256()
    for table in dataset.with_format("arrow").iter(batch_size=10_000):
        total.update(content_of(table))
    return total.hexdigest()


def hash_processor(processor: Any) -> str:
    """sha256 of what a tokenizer or image processor does, wherever it was loaded from."""
    with tempfile.TemporaryDirectory() as name:
        processor.save_pretrained(name)
        whole = Path(name) / "tokenizer.json"
        return hash_file(whole) if whole.is_file() else hash_folder(Path(name))


def write_text(path: Path, text: str) -> None:
    """Write whole or not at all."""
    _write(path, text)


def write_lines(path: Path, rows: Iterable[Any]) -> None:
    """One JSON value a line."""
    _write(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_json(path: Path, value: Any) -> None:
    """Write whole or not at all."""
    _write(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_recipe(path: Path, values: dict[str, Any], header: str) -> None:
    """A recipe with a comment on top; `values` are flags."""
    _write(path, header + yaml.safe_dump(values, allow_unicode=True, sort_keys=False))


def _write(path: Path, text: str) -> None:
    aside = path.with_name(path.name + ".part")
    try:
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> dict[str, Any] | None:
    """The file's object, or None where there is no file.

    Raises:
        UserError: the file is there and is no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError) as reason:
        raise UserError(f"{path} is damaged ({reason}); restore it or remove the folder") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged (no JSON object in it); restore it or remove the folder")
    return value


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """`name: old -> new` for every entry that two runs do not share."""

    def short(value: Any) -> str:
        text = str(value)
        return f"{text[:8]}..." if len(text) == 64 else text  # a sha256

    changed = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    return [f"{name}: {short(before.get(name))} -> {short(now.get(name))}" for name in changed]


def check_run_folder(folder: Path) -> None:
    """See, without leaving anything behind, that a run can lie in `folder`, which need not be there yet.

    Raises:
        UserError: it is a file, lies below one, holds other files than a run's, or may not be written.
    """
    try:
        if (folder / RESULTS).is_file():
            return  # it will only be shown
        there = folder
        while not there.is_dir():
            if there.exists():
                raise UserError(f"--output_dir {folder}: {there} is a file; name a folder")
            there = there.parent
        others = [path for path in folder.iterdir() if path.name not in UNBEGUN] if there == folder else []
        if others and not (folder / RUN).is_file():
            raise UserError(f"--output_dir {folder} holds other files and no run; name an empty or a new folder")
        tempfile.TemporaryFile(dir=there).close()
    except OSError as reason:
        raise UserError(
            f"--output_dir {folder} cannot be written ({reason.strerror}); name a folder in a place that is yours"
        ) from None


def open_run_folder(folder: Path, parts: dict[str, Any]) -> str:
    """Say what `folder` is to a run with the fingerprint parts `parts`: "new", "unfinished" or "finished".

    Raises:
        UserError: the folder holds another run, or `check_run_folder` refuses it. Nothing is touched.
    """
    check_run_folder(folder)
    run = read_json(folder / RUN)
    if run is not None:
        changed = differences(run.get("fingerprint_of", {}), parts)
        if changed:
            more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
            raise UserError(
                f"--output_dir {folder} holds another run ({'; '.join(changed[:5])}{more}). Name another folder with "
                "--output_dir, or remove this one if you no longer need it; nothing was changed"
            )
        return "finished" if (folder / RESULTS).is_file() else "unfinished"
    return "new"
