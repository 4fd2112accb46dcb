"""Image classification: one image; one label, several labels or a number."""

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Features
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification, BaseImageProcessor, PreTrainedConfig

from hf_kit import console, image_processing, metrics
from hf_kit.answers import MULTI, SINGLE
from hf_kit.arguments import ModelArguments
from hf_kit.augmentation import MOST_MAGNITUDE, Augmentation
from hf_kit.backbone import resolve_checkpoint
from hf_kit.data import DataChecks, check_split, load_splits, similar_labels, two_rows_that_disagree
from hf_kit.data.checks import NO_TOKENS
from hf_kit.data.digits import load_digits
from hf_kit.data.image_table import (
    CONTENT,
    IMAGE,
    STORED,
    ImageColumns,
    find_image_columns,
    read_table,
    stored,
)
from hf_kit.data.images import SUFFIXES, Unreadable, images_below, load_image, others_below
from hf_kit.data.inputs import check_input_file, column_if_there
from hf_kit.errors import UserError
from hf_kit.image_rows import ImageRows, StackImages, loader_workers
from hf_kit.tasks.classification import Classification, labels_of, parse_class_weights
from hf_kit.tasks.task import Prepared

SHEET_ROWS, SHEET_COLUMNS = 4, 6  # of the contact sheet
THUMBNAIL = 256  # pixels a side
BASELINE_SIDE = 16  # pixels
MOST_PROVEN = 512  # pixels a side of the images that a saved model is proven with
PHOTO = "photo.png"  # in the lines of the card; see `proof/program.py`


@dataclass
class ImageClassificationArguments:
    """What is read, how it is changed in training, and how it is learned."""

    _argument_group_name = "image classification"

    image_column: str | None = field(
        default=None, metadata={"help": "The column of images or their paths; unset: found by its kind or name."}
    )
    label_column: str | None = field(default=None, metadata={"help": "The column of labels."})
    problem_type: str | None = field(
        default=None,
        metadata={
            "help": "Unset: decided from the labels (lists: several labels; fractions: regression).",
            "choices": [SINGLE, MULTI, "regression"],
        },
    )
    class_weights: dict | str | None = field(
        default=None,
        metadata={"help": "none; balanced: every class weighs the same; or {label: weight} as JSON."},
    )
    image_size: int | None = field(
        default=None,
        metadata={
            "help": "Pixels a side that images are resized to; unset: what the model says, else the data's own, at "
            "most 224."
        },
    )
    crop_scale: float = field(
        default=0.35,
        metadata={"help": "In training: the least share of an image's area that a random crop keeps; 1: no crop."},
    )
    horizontal_flip: bool = field(
        default=True,
        metadata={"help": "In training: mirror every second image; False where left and right differ, as in digits."},
    )
    color_jitter: float = field(
        default=0.0, metadata={"help": "In training: change brightness, contrast and colour by up to this share."}
    )
    randaugment_magnitude: int = field(
        default=0, metadata={"help": "In training: RandAugment, two operations of this magnitude, 1 to 10; 0: none."}
    )
    mixup_alpha: float = field(
        default=0.0, metadata={"help": "In training: mixup, shares from Beta(alpha, alpha); 0: none."}
    )
    cutmix_alpha: float = field(
        default=0.0, metadata={"help": "In training: CutMix, shares from Beta(alpha, alpha); 0: none."}
    )

    def __post_init__(self):
        if self.image_size is not None and self.image_size < 1:
            raise ValueError(f"--image_size is {self.image_size}; it must be greater than 0")
        if not 0 < self.crop_scale <= 1:
            raise ValueError(f"--crop_scale is {self.crop_scale}; allowed: above 0 up to 1 (no crop)")
        if not 0 <= self.color_jitter <= 1:
            raise ValueError(f"--color_jitter is {self.color_jitter}; allowed: 0 to 1")
        if not 0 <= self.randaugment_magnitude <= MOST_MAGNITUDE:
            raise ValueError(
                f"--randaugment_magnitude is {self.randaugment_magnitude}; allowed: 0 (none) to {MOST_MAGNITUDE}"
            )
        for name in ("mixup_alpha", "cutmix_alpha"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name} is {getattr(self, name)}; it must not be negative (0: none)")
        self.class_weights = parse_class_weights(self.class_weights)


class ImageName(str):
    """A name to show, with the image itself where it lies in no file of its own.

    Attributes:
        content: the image's bytes.
    """

    content: bytes


class ImageClassification(Classification):
    """Image classification through `AutoModelForImageClassification`."""

    Arguments = ImageClassificationArguments
    auto_class = AutoModelForImageClassification
    peft_task_type = None  # PEFT knows none for images
    pipeline_tag = "image-classification"
    proof_kind = "image"
    processor_class = "AutoImageProcessor"
    noun = "image"
    not_streamed = "images are never held as a whole anyway, only their paths or a memory-mapped file"
    example_input = "photo.jpg"
    column_flags = ("image_column", "label_column")

    columns: ImageColumns

    def __init__(self, arguments: Any, label_smoothing: float = 0.0):
        super().__init__(arguments, label_smoothing)
        self._augmentation = Augmentation()  # a finished run changes nothing any more
        if isinstance(arguments, ImageClassificationArguments):
            self._augmentation = Augmentation(**{f.name: getattr(arguments, f.name) for f in fields(Augmentation)})
        self._skipped: dict[str, int] = {}  # of each split the images that cannot be read

    def load_sample(self) -> Dataset:
        return load_digits()

    def check_model(self, model_arguments: ModelArguments, config: PreTrainedConfig, *, fresh: bool) -> None:
        image_processing.check_config(config, self.arguments.image_size, fresh=fresh)
        if not fresh:
            self._given_processor(model_arguments)

    def _given_processor(self, arguments: ModelArguments) -> BaseImageProcessor:
        name = resolve_checkpoint(arguments.model_name_or_path)
        return image_processing.load_processor(
            name, f"--model_name_or_path {arguments.model_name_or_path}", arguments.model_revision
        )

    def find_columns(self, rows: Dataset) -> None:
        flags, known = self.arguments, getattr(self, "columns", ImageColumns("", None))
        self.columns = find_image_columns(
            rows,
            flags.image_column or column_if_there(known.image, rows),
            flags.label_column or column_if_there(known.label, rows),
        )

    def check_inputs(self, rows: Dataset, name: str, notes: list[str], files: Sequence[str]) -> Dataset:
        if self.columns.image not in rows.column_names:
            raise UserError(
                f"{name}: there is no column `{self.columns.image}`; columns: {', '.join(rows.column_names)}. Every "
                "split needs the columns of the training rows"
            )
        place = Path(files[0]).expanduser() if files else None
        folder = place if place is None or place.is_dir() else place.parent
        if place is not None and place.is_dir():
            notes += _folder_notes(place, name)
        table, self._skipped[name] = read_table(rows, self.columns, folder, name, notes)
        return table

    def keys(self, rows: Dataset) -> np.ndarray:
        return np.array([int(content[:16], 16) for content in rows[CONTENT][:]], dtype=np.uint64)

    def contents(self, rows: Dataset) -> Dataset:
        return rows.select_columns([name for name in (CONTENT, "labels") if name in rows.column_names])

    def state(self) -> dict[str, Any]:
        return super().state() | {"columns": {"image": self.columns.image, "label": self.columns.label}}

    def restore(self, state: dict[str, Any]) -> None:
        self.columns = ImageColumns(**state["columns"])
        super().restore(state)

    def load_processor(
        self, model_arguments: ModelArguments, config: PreTrainedConfig, train: Dataset, *, fresh: bool
    ) -> BaseImageProcessor:
        if not fresh:
            processor = self._given_processor(model_arguments)
            if self.arguments.image_size:
                image_processing.resize_to(processor, self.arguments.image_size)
            return processor
        images = (_image(row[IMAGE]) for row in train.select(_spread(len(train), image_processing.MEASURED)))
        return image_processing.fresh_processor(config, images, self.arguments.image_size)

    def open_processor(self, folder: Path) -> BaseImageProcessor:
        return AutoImageProcessor.from_pretrained(
            folder, trust_remote_code=False, backend=image_processing.best_backend()
        )

    def preprocess(
        self, dataset: Dataset, processor: BaseImageProcessor, name: str, *, cached: bool = True
    ) -> tuple[ImageRows, list[str]]:
        classes = self.mapping.num_labels if self.mapping.problem_type == SINGLE else None
        return ImageRows(dataset, processor, self._augmentation, classes, keep=cached), []

    def loader_defaults(self, inputs: dict[str, Any]) -> dict[str, Any]:
        if not any(rows.decodes for rows in inputs.values()):
            return {}
        return {"dataloader_num_workers": loader_workers()}

    def check(self, prepared: Prepared, inputs: dict[str, ImageRows], processor: BaseImageProcessor) -> DataChecks:
        splits, example = {}, None
        for name, rows in prepared.splits().items():
            labels = labels_of(rows) if "labels" in rows.column_names else None
            keys, skipped = prepared.keys, self._skipped.get(name, 0)
            splits[name] = check_split(name, keys, labels, None, NO_TOKENS, self.mapping, skipped)
            if splits[name].two_labels and example is None:
                both = rows.select(two_rows_that_disagree(keys[name], labels))
                files = [Path(cell["path"] or "an image without a name").name for cell in both[IMAGE][:]]
                named = " and ".join(self._label_name(value) for value in labels_of(both))
                example = f"{files[0]} is {named}"
        return DataChecks(splits, similar_labels(self.mapping.names), None, example, self.noun)

    def collator(self, processor: BaseImageProcessor) -> StackImages:
        return StackImages(processor)

    def sample_inputs(self, dataset: Dataset, number: int) -> list[dict[str, str]]:
        # As the kit reads them, and no larger than is needed: the files themselves may be huge, or of odd kinds.
        out = []
        for i in np.unique(np.linspace(0, len(dataset) - 1, min(number, len(dataset))).astype(int)):
            image = _image(dataset[int(i)][IMAGE])
            image.thumbnail((MOST_PROVEN, MOST_PROVEN))
            out.append({"image": image_processing.as_png(image, ImageName)})
        return out

    def noted(self, row: dict[str, str]) -> dict[str, str]:
        return {"image": base64.b64encode(row["image"].content).decode()}

    def usage_example(self, row: dict[str, str]) -> str:
        return repr(PHOTO)

    def inputs_of(self, word: str, pair: str | None = None) -> Iterator[str]:
        if pair is not None:
            raise UserError("--text_pair: this model reads images; leave it out")
        path = Path(word).expanduser()
        if not path.is_dir():
            _check_readable(word)
            yield word
            return
        paths = [str(found) for found in images_below(path)]
        if not paths:
            raise UserError(f"{word}: no images in this folder; they are files named {', '.join(sorted(SUFFIXES))}")
        for note in _others_note(path):
            console.warn(f"{word}: {note}")
        yield from _readable(paths, word)

    def input_row(self, item: str | Path | Image.Image | dict[str, str]) -> dict[str, str]:
        if isinstance(item, dict):
            item = item.get("image")
        if isinstance(item, Image.Image):
            item = image_processing.as_png(item, ImageName)
        if not isinstance(item, (str, Path)):
            raise UserError(f"this model reads one image at a time, as a path or a PIL image; got {item!r}")
        return {"image": item if isinstance(item, str) else str(item)}

    def input_dataset(self, rows: list[dict[str, str]]) -> Dataset:
        names = [row["image"] for row in rows]
        cells = [{"bytes": getattr(name, "content", None), "path": str(Path(str(name)).expanduser())} for name in names]
        return Dataset.from_dict({IMAGE: cells}, features=Features({IMAGE: STORED}))

    def read_inputs(self, path: str) -> Iterator[str]:
        check_input_file(path)
        place = Path(path).expanduser()
        if place.suffix == ".txt":
            lines = place.read_text(encoding="utf-8-sig").splitlines()
            values = [line.strip() for line in lines if line.strip()]
        else:
            rows = load_splits(test_file=path).test
            self.find_columns(rows)
            rows = image_processing.undecoded(rows, self.columns.image)
            values = (row[self.columns.image] for row in rows)
        yield from _readable((_named(value, place, i) for i, value in enumerate(values)), path)

    def line(self, row: dict[str, str], answer: dict[str, Any]) -> str:
        if "label" in answer:
            return f"{answer['label']}\t{answer['score']:.3f}\t{row['image']}"
        if "labels" in answer:
            return f"{', '.join(answer['labels']) or '-'}\t{row['image']}"
        return f"{answer['score']:.3f}\t{row['image']}"

    def baselines(self, train: Dataset, evaluated: dict[str, Dataset]) -> dict[str, dict[str, dict[str, float]]]:
        from hf_kit.baselines import MOST_IMAGES, image_baselines

        train = train.select(_spread(len(train), MOST_IMAGES))
        return image_baselines(
            self.mapping.problem_type,
            _grey_pixels(train),
            labels_of(train),
            {name: _grey_pixels(split) for name, split in evaluated.items()},
            {name: labels_of(split) for name, split in evaluated.items()},
            self.mapping.num_labels,
        )

    def figures(
        self, predictions: np.ndarray, labels: np.ndarray, folder: Path, rows: Dataset, processor: Any
    ) -> list[Path]:
        drawn = super().figures(predictions, labels, folder, rows, processor)
        if self.mapping.problem_type != SINGLE:
            return drawn
        from hf_kit import figures

        probabilities = metrics.to_probabilities(SINGLE, predictions)  # [n, c]
        guesses = probabilities.argmax(-1)
        wrong = np.flatnonzero(guesses != labels)
        worst = wrong[np.argsort(-probabilities[wrong, guesses[wrong]], kind="stable")][: SHEET_ROWS * SHEET_COLUMNS]
        if not len(worst):
            return drawn
        names = self.mapping.names
        path = folder / "worst_errors.png"
        figures.contact_sheet(
            [_thumbnail(rows[int(i)][IMAGE]) for i in worst],
            [(names[labels[i]], names[guesses[i]], float(probabilities[i, guesses[i]])) for i in worst],
            SHEET_COLUMNS,
            f"Worst errors: {len(worst)} of {len(wrong):,} in {len(labels):,} rows",
            path,
        )
        return [*drawn, path]


def _image(cell: dict[str, Any], least: int | None = None) -> Image.Image:
    return load_image(cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]), least)


def _thumbnail(cell: dict[str, Any]) -> np.ndarray:
    """As large as the sheet shows it: of photographs a whole sheet would take gigabytes."""
    image = _image(cell, least=THUMBNAIL)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return np.asarray(image)


def _spread(rows: int, most: int) -> np.ndarray:
    """At most so many row numbers, drawn evenly: files are often sorted by class."""
    return np.sort(np.random.default_rng(0).permutation(rows)[:most])


def _grey_pixels(rows: Dataset) -> np.ndarray:
    """`[n, 256]` from 0 to 1: each image in grey, 16 pixels a side."""
    pixels = np.empty((len(rows), BASELINE_SIDE * BASELINE_SIDE), dtype=np.float32)
    for i, row in enumerate(rows.select_columns([IMAGE])):
        image = _image(row[IMAGE], 4 * BASELINE_SIDE)
        pixels[i] = np.asarray(image.convert("L").resize((BASELINE_SIDE, BASELINE_SIDE))).ravel()
    return pixels / 255


def _folder_notes(folder: Path, name: str) -> list[str]:
    subs = (sub for sub in sorted(folder.iterdir()) if sub.is_dir() and not sub.name.startswith("."))
    empty = [sub.name for sub in subs if not any(images_below(sub))]
    notes = [f"{name}: no images in the class folder {', '.join(empty)}: no such class is learned"] if empty else []
    return notes + [f"{name}: {note}" for note in _others_note(folder)]


def _others_note(folder: Path) -> list[str]:
    others = others_below(folder)
    return [f"{others} files are left out, by their names no images; convert those that are"] if others else []


def _check_readable(name: str) -> None:
    try:
        content = getattr(name, "content", None)
        load_image(Path(name).expanduser() if content is None else content, 32)
    except Unreadable as trouble:
        raise UserError(f"{name}: {trouble}") from None


def _readable(names: Iterator[str] | list[str], source: str) -> Iterator[str]:
    """Those that can be read; the others are counted and named at the end."""
    troubles = []
    for name in names:
        try:
            _check_readable(name)
        except UserError as trouble:
            troubles.append(str(trouble))
            continue
        yield name
    if troubles:
        more = f" and {len(troubles) - 10:,} more" if len(troubles) > 10 else ""
        listed = "; ".join(troubles[:10]) + more
        console.warn(f"{source}: {len(troubles):,} images cannot be read and have no answer: {listed}")


def _named(value: Any, place: Path, row: int) -> str:
    """A table's cell as the name of an image.

    Raises:
        UserError: a path that leads out of the table's folder.
    """
    try:
        cell = stored(value, place.parent, f"{place.name}, row {row + 1}")
    except Unreadable:
        return f"{place.name}, row {row + 1}"
    if cell["bytes"] is None:
        return cell["path"]
    name = ImageName(cell["path"] or f"{place.name}, row {row + 1}")
    name.content = cell["bytes"]
    return name


TASK = ImageClassification
