"""The splits as they come: from the embedded sample, from files, from a local folder or from the Hub.

Everything becomes a `datasets.Dataset`. Nothing is split, renamed or dropped here, and no task is assumed.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from datasets import Dataset, IterableDataset, load_dataset
from datasets.exceptions import DatasetsError
from huggingface_hub import constants, is_offline_mode

from hf_kit.data.files import KINDS, SUFFIXES, check_files_exist, is_local_folder
from hf_kit.data.halves import both_halves, first_halves, half_of, same_text
from hf_kit.data.quiet import quiet
from hf_kit.data.reading import class_folders, read_files, stream_files
from hf_kit.data.row_stream import RowStream, stream_of
from hf_kit.data.split_names import ROLES, choose_splits, role_of
from hf_kit.errors import UserError

SHARD = re.compile(r"-\d{5}-of-\d{5}$")  # how `datasets` names the parts of one split


@dataclass
class RawSplits:
    """What was found, before anything is made of it.

    Attributes:
        train, validation, test: None where there is no such split; `train` may be a stream.
        name: short, for folder names: `sst2`, or the stem of the file.
        files: split name to the local files or folders that its rows came from; empty for the sample and the Hub.
    """

    train: Dataset | RowStream | None
    validation: Dataset | None
    test: Dataset | None
    name: str
    files: dict[str, list[str]] = field(default_factory=dict)


@contextmanager
def naming_files(raw: RawSplits) -> Iterator[None]:
    """While this lasts, an error that begins with a split's name also says which files its rows came from."""
    try:
        yield
    except UserError as mistake:
        split, _, rest = str(mistake).partition(": ")
        if split not in raw.files:
            raise
        raise UserError(f"{split} ({', '.join(raw.files[split])}): {rest}") from None


def load_splits(
    *,
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    dataset_revision: str | None = None,
    train_file: str | None = None,
    validation_file: str | None = None,
    test_file: str | None = None,
    train_split_name: str | None = None,
    validation_split_name: str | None = None,
    test_split_name: str | None = None,
    wanted: Collection[str] = ROLES,
    streaming: bool = False,
    sample: Callable[[], Dataset] | None = None,
) -> RawSplits:
    """Load what the flags of the same names say; with none of them, `sample()` as the training split.

    Args:
        dataset_name: a Hub id, or a local folder: of files named `train*`, `dev*`, `test*` ..., of sub-folders named
            so, of parallel texts (`train.en`, `train.zh`), or of one sub-folder of `.txt` files or images a class. A
            folder that exists comes before the Hub.
        train_file, validation_file, test_file: csv, tsv, json, jsonl or parquet, one half of a parallel text, or a
            folder of class sub-folders.
        *_split_name: the split's name, where the usual ones do not tell; for a folder the file's name without suffix.
        wanted: the splits to look for among those of `dataset_name`; others are not loaded.
        streaming: the training split is not loaded, but given as a stream; the other splits are held in memory.

    Raises:
        UserError: a contradiction in the flags, a file that cannot be read, a split or data set that is not there.
    """
    files = {"train": train_file, "validation": validation_file, "test": test_file}
    asked = {"train": train_split_name, "validation": validation_split_name, "test": test_split_name}
    check_sources(
        dataset_name=dataset_name,
        dataset_config_name=dataset_config_name,
        dataset_revision=dataset_revision,
        **{f"{role}_file": name for role, name in files.items()},
        **{f"{role}_split_name": name for role, name in asked.items()},
    )
    if dataset_name is None:
        named = {role: [Path(name).expanduser()] for role, name in files.items() if name is not None}
        if not named:
            return RawSplits(sample(), None, None, "sample")
        return _from_files(_short_name(named.get("train", named.get("test"))[0].stem), named, streaming)
    if is_local_folder(dataset_name):
        folder = Path(dataset_name).expanduser()
        found = _files_of_splits(folder)
        chosen = choose_splits(str(folder), found, asked, wanted)
        return _from_files(
            _short_name(folder.resolve().name),
            {role: found[name] for role, name in chosen.items() if name is not None},
            streaming,
        )
    splits = _from_hub(dataset_name, dataset_config_name, dataset_revision, streaming)
    chosen = choose_splits(dataset_name, splits, asked, wanted)
    if streaming:
        splits = _streams(dataset_name, {role: splits[name] for role, name in chosen.items() if name is not None})
        chosen = {role: role for role in chosen}
    short = dataset_name.split("/")[-1] + (f"-{dataset_config_name}" if dataset_config_name else "")
    return RawSplits(**{role: splits.get(chosen.get(role)) for role in ROLES}, name=_short_name(short))


def check_sources(
    *,
    dataset_name: str | None = None,
    dataset_config_name: str | None = None,
    dataset_revision: str | None = None,
    train_file: str | None = None,
    validation_file: str | None = None,
    test_file: str | None = None,
    train_split_name: str | None = None,
    validation_split_name: str | None = None,
    test_split_name: str | None = None,
) -> None:
    """Look at the flags of `load_splits` and at the paths only.

    Raises:
        UserError: a contradiction, or as `check_files_exist`.
    """
    files = {"train": train_file, "validation": validation_file, "test": test_file}
    asked = {"train": train_split_name, "validation": validation_split_name, "test": test_split_name}
    given = {f"--{role}_file": name for role, name in files.items() if name is not None}
    splits = [f"--{role}_split_name" for role, name in asked.items() if name is not None]
    hub = {"--dataset_config_name": dataset_config_name, "--dataset_revision": dataset_revision}
    hub_only = [flag for flag, value in hub.items() if value is not None]
    if dataset_name is not None and given:
        raise UserError(
            f"--dataset_name {dataset_name} and {' and '.join(given)} both say where the rows are; give one"
        )
    if dataset_name is None and (splits or hub_only):
        raise UserError(f"{(splits + hub_only)[0]} needs --dataset_name: a file is one split")
    if hub_only and is_local_folder(dataset_name):
        raise UserError(
            f"{hub_only[0]} is for data sets of the Hub, and --dataset_name {dataset_name} is a folder here"
        )
    if files["validation"] is not None and files["train"] is None:
        raise UserError("--validation_file needs --train_file; a file to score alone is --test_file")
    resolved = Counter(same_text(Path(name).expanduser().resolve()) for name in given.values())
    if any(count > 1 for count in resolved.values()):
        raise UserError(
            f"{' and '.join(given)} name the same file ({resolved.most_common(1)[0][0].name}); leave one out"
        )
    check_files_exist(
        dataset_name=dataset_name, train_file=train_file, validation_file=validation_file, test_file=test_file
    )


def _from_files(name: str, paths: dict[str, list[Path]], streaming: bool) -> RawSplits:
    def read(role: str) -> Dataset | RowStream | None:
        if role not in paths:
            return None
        return stream_files(paths[role], role) if streaming and role == "train" else read_files(paths[role], role)

    rows = {role: read(role) for role in ROLES}
    files = {role: [str(p) for path in found for p in _files_of(path)] for role, found in paths.items()}
    return RawSplits(**rows, name=name, files=files)


def _files_of(path: Path) -> tuple[Path, ...]:
    return (path,) if path.is_dir() or half_of(path) is None else both_halves(path, str(path), KINDS)


def _files_of_splits(folder: Path) -> dict[str, list[Path]]:
    """Split name to its files, for the layouts that `load_splits` names."""
    files: dict[str, list[Path]] = {}
    by_stem: dict[str, set[str]] = {}
    here = sorted(p for p in folder.iterdir() if not p.name.startswith((".", "_")))
    data_files = [p for p in here if p.is_file() and p.suffix.lower() in SUFFIXES]
    for path in data_files:
        by_stem.setdefault(SHARD.sub("", path.stem), set()).add(path.suffix)
    for path in data_files:
        stem = SHARD.sub("", path.stem)
        files.setdefault(stem if len(by_stem[stem]) == 1 else stem + path.suffix, []).append(path)
    # A table of the same name is the more explicit of the two, and what its other endings mean is not known.
    texts = [p for p in first_halves(p for p in here if p.is_file()) if half_of(p).stem not in by_stem]
    stems = [half_of(p).stem for p in texts]
    halves = {stem if stems.count(stem) == 1 else p.name: [p] for stem, p in zip(stems, texts, strict=True)}
    folders: dict[str, list[Path]] = {}
    for sub in (p for p in here if p.is_dir()):
        inside = sorted(p for p in sub.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
        if inside or class_folders(sub):
            folders[sub.name] = inside or [sub]
    # Files before sub-folders: `train.csv` beside a folder `train` is the more explicit of the two.
    for found in (files | halves, folders):
        if any(role_of(name)[0] for name in found):
            return found
    if class_folders(folder):
        return {"train": [folder]}
    if not files and not folders and not halves:
        raise UserError(
            f"{folder} holds no data: it needs {KINDS} files named train, dev, test ..., sub-folders named so, "
            "parallel texts (`train.en` and `train.zh`), or one sub-folder of .txt files or images a class"
        )
    return files or folders or halves


def _streams(name: str, splits: dict[str, IterableDataset]) -> dict[str, Dataset | RowStream]:
    """The training split as a stream, the others read into memory."""
    out: dict[str, Dataset | RowStream] = {}
    for role, split in splits.items():
        where = f"--dataset_name {name}, split {split.split}"
        stream = stream_of(split, where)
        out[role] = stream if role == "train" else stream.load(where)
    return out


def _from_hub(
    name: str, config_name: str | None, revision: str | None, streaming: bool = False
) -> dict[str, Dataset | IterableDataset]:
    try:
        with quiet(keep_progress=True):
            return dict(load_dataset(name, config_name, revision=revision, streaming=streaming))
    except (DatasetsError, OSError, ValueError, RuntimeError) as reason:
        raise UserError(_hub_message(name, revision, reason)) from None


def _hub_message(name: str, revision: str | None, reason: Exception) -> str:
    why = " ".join(str(reason).split())[:400]
    if isinstance(reason, ConnectionError) and is_offline_mode():
        return (
            f"--dataset_name {name}: there is no such folder here, and the Hub is switched off (HF_HUB_OFFLINE=1) "
            "with no copy in the cache. Unset HF_HUB_OFFLINE, or give a local folder or --train_file"
        )
    if "Config name is missing" in why or "BuilderConfig" in why:
        return f"--dataset_name {name} needs one of its configurations in --dataset_config_name: {why}"
    if isinstance(reason, ConnectionError) or "LocalEntryNotFoundError" in why:
        return (
            f"--dataset_name {name}: {constants.ENDPOINT} cannot be reached ({why[:200]}); try again, or give a local "
            "folder"
        )
    at = f" --dataset_revision {revision}" if revision else ""
    return (
        f"--dataset_name {name}{at}: there is no such folder here and {constants.ENDPOINT} does not give it ({why}). "
        "Check the spelling; a private data set needs `hf auth login` or HF_TOKEN"
    )


def _short_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-") or "data"
