"""One split's rows, from one or several files or from a folder of one sub-folder a class."""

import glob
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, IterableDataset, NamedSplit, concatenate_datasets, load_dataset
from datasets.exceptions import DatasetGenerationError

from hf_kit.data.csv_files import load_csv, stream_csv
from hf_kit.data.files import JSON, TABLES, check_utf8
from hf_kit.data.halves import half_of
from hf_kit.data.images import images_below
from hf_kit.data.json_files import load_json, stream_json
from hf_kit.data.parallel_files import load_parallel, stream_parallel
from hf_kit.data.quiet import quiet
from hf_kit.data.row_stream import RowStream, State, stream_of
from hf_kit.errors import UserError
from hf_kit.links import leads_outside


def read_files(paths: list[Path], split: str) -> Dataset:
    """The rows of all `paths`, in their order; each is a file, a half of a parallel text or a folder of classes.

    Raises:
        UserError: a file that cannot be read, or files of different columns.
    """
    parts = []
    for path in paths:
        with quiet():
            parts.append(read_class_folder(path, split) if path.is_dir() else read_file(path, split))
        _refuse_other_columns(path, parts[-1], paths[0], parts[0])
    return parts[0] if len(parts) == 1 else concatenate_datasets(parts, split=NamedSplit(split))


def stream_files(paths: list[Path], split: str) -> RowStream:
    """`read_files` as a stream: the same rows, checked as they are there, of which none stays in memory or on disk.

    Raises:
        UserError: as `read_files` does; a folder of one sub-folder a class, or a json file that is one list.
    """
    parts = []
    for path in paths:
        if path.is_dir():
            raise UserError(
                f"{path}: a folder of classes is not streamed; write its texts into a jsonl, csv or parquet file, "
                "or leave --streaming out"
            )
        with quiet():
            parts.append(_stream_file(path, split))
        _refuse_other_columns(path, parts[-1], paths[0], parts[0])

    def tables(state: State) -> Iterator[tuple[pa.Table, State]]:
        first, inner = state or (0, None)
        for number, part in enumerate(parts[first:], first):
            for table, after in part.tables(inner if number == first else None):
                yield table, [number, after]

    return RowStream(parts[0].features, tables)


def _stream_file(path: Path, split: str) -> RowStream:
    suffix = path.suffix.lower()
    if suffix in TABLES:
        return stream_csv(path, split)
    if suffix in JSON:
        return stream_json(path)
    if half_of(path) is not None:
        return stream_parallel(path)
    with _parquet_errors(path):
        _rows_in_parquet(path)
        return stream_of(_load_parquet(path, split, streaming=True), str(path))


def _refuse_other_columns(path: Path, rows: Dataset | RowStream, first: Path, of_first: Dataset | RowStream) -> None:
    if rows.features != of_first.features:
        raise UserError(
            f"{path} has other columns or types than {first}: {_described(rows)}; there: "
            f"{_described(of_first)}. Files of one split need the same ones"
        )


def _described(dataset: Dataset | RowStream) -> str:
    return ", ".join(f"{name} ({getattr(f, 'dtype', type(f).__name__)})" for name, f in dataset.features.items())


def read_file(path: Path, split: str) -> Dataset:
    suffix = path.suffix.lower()
    if suffix in TABLES:
        return load_csv(path, split)
    if suffix in JSON:
        return load_json(path, split)
    if half_of(path) is not None:
        return load_parallel(path, split)
    return load_parquet(path, split)


def load_parquet(path: Path, split: str) -> Dataset:
    """The rows of a parquet file, with the features that `datasets` stored in it, if it did.

    Raises:
        UserError: the file is no parquet file, is cut short or has no rows.
    """
    with _parquet_errors(path):
        _rows_in_parquet(path)
        return _load_parquet(path, split, streaming=False)


def _load_parquet(path: Path, split: str, *, streaming: bool) -> Dataset | IterableDataset:
    return load_dataset("parquet", data_files={split: glob.escape(str(path))}, split=split, streaming=streaming)


def _rows_in_parquet(path: Path) -> None:
    if not pq.ParquetFile(path).metadata.num_rows:
        raise UserError(f"{path} has no rows")


@contextmanager
def _parquet_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, DatasetGenerationError) as reason:
        why = str(reason.__cause__ or reason).split(".")[0]
        raise UserError(
            f"{path} cannot be read as parquet ({why}); write it anew, or give a csv or jsonl file"
        ) from None


def class_folders(folder: Path) -> dict[str, list[Path]]:
    """The `.txt` files of each sub-folder, by its name, in the order of their names; or its images, if more are there.

    Images may also lie in folders below.
    """
    subs = [sub for sub in sorted(folder.iterdir()) if sub.is_dir() and not sub.name.startswith(".")]
    texts = {
        sub.name: sorted(p for p in sub.iterdir() if p.suffix.lower() == ".txt" and not p.name.startswith("."))
        for sub in subs
    }
    images = {sub.name: list(images_below(sub)) for sub in subs}
    found = max(texts, images, key=lambda kind: sum(map(len, kind.values())))
    return {name: files for name, files in found.items() if files}


def read_class_folder(folder: Path, split: str) -> Dataset:
    """Columns `text`, the content of one `.txt` file each, and `label`, the name of the sub-folder it lies in.

    Of a folder of images the columns `image`, paths within `folder`, and `label`.

    Raises:
        UserError: no sub-folder holds such files, one of them is not UTF-8, or is a link that leads out of the folder.
    """
    classes = class_folders(folder)
    if not classes:
        raise UserError(
            f"{folder} holds no texts or images: a folder of classes has one sub-folder a class with .txt files or "
            "images in it; a folder of csv, json or parquet files is given as --dataset_name"
        )
    if next(iter(classes.values()))[0].suffix.lower() != ".txt":
        found = [(str(path.relative_to(folder)), name) for name, paths in classes.items() for path in paths]
        paths, labels = zip(*found, strict=True)
        return Dataset.from_dict({"image": list(paths), "label": list(labels)}, split=NamedSplit(split))
    texts, labels = [], []
    for name, paths in classes.items():
        for path in paths:
            if leads_outside(path, folder):
                raise UserError(
                    f"{path} is a link to {path.resolve()}, outside the folder; if it belongs to the data, put a copy "
                    "in its place"
                )
            check_utf8(path)
            texts.append(path.read_text(encoding="utf-8-sig").rstrip("\n"))
            labels.append(name)
    return Dataset.from_dict({"text": texts, "label": labels}, split=NamedSplit(split))
