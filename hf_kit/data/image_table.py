"""A split's images as one table: each read once, those that cannot be read left out and named.

A table holds paths of files, or the images themselves, as parquet files and data sets of the Hub do.
"""

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Value
from datasets import Image as ImageFeature
from datasets.config import HF_DATASETS_CACHE
from datasets.utils import tqdm
from huggingface_hub.constants import HF_HUB_CACHE

from hf_kit.data.arrow_columns import column_array
from hf_kit.data.columns import find_label, usual_column
from hf_kit.data.images import Unreadable, content_key, format_of, load_image
from hf_kit.data.quiet import quiet
from hf_kit.errors import UserError, nearest
from hf_kit.links import leads_outside

IMAGE_NAMES = (
    ("image", "img", "picture", "photo", "图片", "图像", "照片"),
    ("file", "path", "filename", "file_name", "filepath", "file_path", "image_path", "image_file", "文件"),
)
# Big JPEGs are looked at an eighth of their size, if that leaves so many pixels a side: to see that they are whole.
LOOK = 32
# A kind of file that so few of the images have was hardly meant to be among them.
STRAY = 0.02
MOST_NAMED = 10
IMAGE, CONTENT = "image", "content"  # the columns of the table
STORED = {"bytes": Value("binary"), "path": Value("string")}


@dataclass
class ImageColumns:
    """Column names; `label` is None where there is none."""

    image: str
    label: str | None


def find_image_columns(rows: Dataset, image_column: str | None = None, label_column: str | None = None) -> ImageColumns:
    """The columns to read: those named, else the one of images, else those with usual names.

    Raises:
        UserError: a named column is not there, no or several columns could be meant.
    """
    names = list(rows.column_names)
    for flag, name in (("image_column", image_column), ("label_column", label_column)):
        if name is not None and name not in names:
            raise UserError(f"--{flag} {name}: there is no such column among {', '.join(names)}{nearest(name, names)}")
    image = image_column
    if image is None:
        typed = [name for name in names if isinstance(rows.features[name], ImageFeature)]
        free = [name for name in names if name != label_column]
        image = typed[0] if len(typed) == 1 else usual_column(free, IMAGE_NAMES, "image_column", names)
    if image is None:
        raise UserError(
            "no column is known to hold images or their paths; name it with --image_column. "
            f"Columns: {', '.join(names)}"
        )
    label = label_column or find_label([name for name in names if name != image], rows.features)
    return ImageColumns(image, label)


def stored(value: Any, folder: Path | None, where: str) -> dict[str, Any]:
    """A table's cell as `{"bytes", "path"}`, of which one is None or both name the same image.

    Args:
        value: a path, or such a dictionary.
        folder: where paths start; None for data that `datasets` itself downloaded.
        where: the row, for messages.

    Raises:
        UserError: a path that leads out of `folder`.
        Unreadable: there is nothing.
    """
    if isinstance(value, dict):
        if value.get("bytes") is not None:
            return {"bytes": value["bytes"], "path": value.get("path")}
        value = value.get("path")
    if not isinstance(value, (str, os.PathLike)) or not str(value).strip():
        raise Unreadable("no image")
    if folder is None:
        if all(leads_outside(Path(value), Path(cache)) for cache in (HF_DATASETS_CACHE, HF_HUB_CACHE)):
            raise UserError(f"{where}: `{value}` is no file that was downloaded with this data set, and is not opened")
        return {"bytes": None, "path": str(value)}
    path = folder / str(value)
    if leads_outside(path, folder):
        raise UserError(
            f"{where}: `{value}` lies outside {folder}; paths are read relative to the file that names them, and may "
            "not leave its folder: put the images there"
        )
    return {"bytes": None, "path": str(path)}


def read_table(
    rows: Dataset, columns: ImageColumns, folder: Path | None, name: str, notes: list[str]
) -> tuple[Dataset, int]:
    """The rows whose image can be read, with columns `image`, `content` (a hash, 32 hex digits) and the label's.

    Args:
        folder: where paths start.
        name: the split, for messages.
        notes: what was left out and what is odd is added.

    Returns:
        The rows, and how many were left out.

    Raises:
        UserError: no image can be read, the column holds no images, or a path leads out of `folder`.
    """
    feature = rows.features[columns.image]
    if isinstance(feature, ImageFeature):
        rows = rows.cast_column(columns.image, ImageFeature(decode=False))
    elif not (isinstance(feature, Value) and feature.dtype in ("string", "large_string")) and not isinstance(
        feature, dict
    ):
        raise UserError(
            f"{name}: column `{columns.image}` holds {feature}; it must hold images or the paths of image files. Name "
            "another one with --image_column"
        )
    kept, cells, contents, formats, troubles = [], [], [], [], []
    values = rows.select_columns([columns.image])
    cells_of_rows = (row[columns.image] for row in values)
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        looked = _in_order(threads, cells_of_rows, folder, name)
        for row, (cell, content, kind, trouble) in enumerate(tqdm(looked, total=len(rows), desc=f"reading {name}")):
            if trouble:
                troubles.append(f"{_shown(cell, folder) or f'row {row + 1}'} ({trouble})")
                continue
            kept.append(row)
            cells.append(cell)
            contents.append(content)
            formats.append(kind)
    if troubles:
        more = f" and {len(troubles) - MOST_NAMED:,} more" if len(troubles) > MOST_NAMED else ""
        said = f"{len(troubles):,} of {len(rows):,} images cannot be read"
        listed = f"{'; '.join(troubles[:MOST_NAMED])}{more}"
        if not kept:
            raise UserError(f"{name}: {said}: {listed}. There must be some that can")
        notes.append(f"{name}: {said} and are left out: {listed}")
    notes += _stray_kinds(formats, cells, folder, name)
    made = Dataset.from_dict(
        {IMAGE: cells, CONTENT: contents},
        features=Features({IMAGE: STORED, CONTENT: Value("string")}),
        split=rows.split,
    )
    if columns.label in rows.column_names:
        labels = column_array(rows.select(kept), columns.label)
        with quiet():
            made = made.add_column(columns.label, labels, feature=rows.features[columns.label])
    return made, len(troubles)


def _in_order(
    threads: ThreadPoolExecutor, cells: Iterator[Any], folder: Path | None, name: str, ahead: int = 256
) -> Iterator[tuple]:
    """`_look` at each cell, by several threads; only some cells are held at a time."""
    done = False
    while not done:
        block = [cell for _, cell in zip(range(ahead), cells, strict=False)]
        done = len(block) < ahead
        yield from threads.map(_look, block, repeat(folder), repeat(name))


def _look(value: Any, folder: Path | None, name: str) -> tuple[dict | None, str | None, str | None, str | None]:
    """The cell as stored, the hash of its content, its kind of file; or why it cannot be read."""
    cell = None
    try:
        cell = stored(value, folder, name)
        content = cell["bytes"]
        if content is None:
            path = Path(cell["path"])
            try:
                if path.exists() and not path.is_file():
                    raise Unreadable("a folder, a pipe or a device")
                content = path.read_bytes()
            except OSError as reason:
                raise Unreadable((reason.strerror or "cannot be opened").lower()) from None
        load_image(content, LOOK)
        return cell, content_key(content).hex(), format_of(content), None
    except Unreadable as trouble:
        return cell, None, None, str(trouble)


def _shown(cell: dict | None, folder: Path | None) -> str | None:
    path = cell and cell["path"]
    return str(Path(path).relative_to(folder)) if path and folder and Path(path).is_relative_to(folder) else path


def _stray_kinds(formats: list[str], cells: list[dict], folder: Path | None, name: str) -> list[str]:
    counts = Counter(formats)
    usual, most = counts.most_common(1)[0]
    notes = []
    for kind, count in counts.items():
        if kind != usual and count <= STRAY * len(formats):
            there = [_shown(c, folder) or f"row {i + 1}" for i, c in enumerate(cells) if formats[i] == kind]
            shown = ", ".join(there[:MOST_NAMED]) + (" ..." if len(there) > MOST_NAMED else "")
            notes.append(f"{name}: {most:,} images are {usual} and {count:,} {kind}: {shown}; was that meant?")
    return notes
