"""Images as a model's inputs: through the image processor where they are scored, changed at random in training.

Small images are decoded once and kept; others are decoded whenever they are read, so that memory does not grow with
their number. Pixels stay 8-bit numbers up to the batch, where they are normalised all at once.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from PIL import Image
from torch import Tensor
from transformers import BaseImageProcessor

from hf_kit.augmentation import Augmentation
from hf_kit.collation import stacked
from hf_kit.data.image_table import IMAGE
from hf_kit.data.images import Unreadable, load_image
from hf_kit.errors import UserError
from hf_kit.input_rows import Draw, InputRows

GEOMETRY = ("do_resize", "do_center_crop", "do_pad")  # what a processor does about an image's size
KEPT_BYTES = 1 << 30
SMALL = 96 * 96  # pixels an image: decoding such a one costs more than keeping it


def output_size(processor: BaseImageProcessor) -> tuple[int, int]:
    """Height and width of what a processor gives."""
    probe = Image.new("RGB", (64, 64))
    return tuple(processor(images=probe, return_tensors="np")["pixel_values"].shape[-2:])


def normalisation(processor: BaseImageProcessor) -> tuple[np.ndarray, np.ndarray]:
    """What a processor subtracts from 8-bit pixels, and divides by then, `[3]` each."""
    factor = processor.rescale_factor if processor.do_rescale else 1.0
    mean = np.array(processor.image_mean if processor.do_normalize else [0.0] * 3, dtype=np.float32)
    std = np.array(processor.image_std if processor.do_normalize else [1.0] * 3, dtype=np.float32)
    return mean / np.float32(factor), std / np.float32(factor)


class ImageRows(InputRows):
    """The images of a split.

    Args:
        table: a column of images as `data.image_table.read_table` gives them, and `labels` if there are some.
        processor: what makes the model's input of an image that is scored.
        augmentation: of rows that are asked for by a `Draw`.
        num_labels: the number of classes where labels are ids; mixed images then have the shares of each, `[c]`.
        keep: small images are decoded here and kept.
    """

    def __init__(
        self,
        table: Dataset,
        processor: BaseImageProcessor,
        augmentation: Augmentation,
        num_labels: int | None,
        *,
        keep: bool = True,
    ):
        self.images = table.select_columns([IMAGE])
        self.labels = None
        if "labels" in table.column_names:
            self.labels = np.asarray(table.select_columns("labels").with_format("numpy")["labels"][:])
        self.processor = processor
        self.augmentation = augmentation
        self.num_labels = num_labels
        self.size = output_size(processor)
        self.kept = self._keep_small() if keep else None  # [n, h, w, 3] uint8
        self.as_they_are = self._is_input(self.kept[:1]) if self.kept is not None and len(self.kept) else False
        # What the processor does with images that have the model's size: some families want other than normal pixels
        # (MobileViT's channels are blue, green, red).
        self._own_size = {name: False for name in GEOMETRY if hasattr(processor, name)}
        probe = np.random.default_rng(0).integers(0, 256, (1, *self.size, 3), dtype=np.uint8)
        self.normalises = self._is_input(probe, **self._own_size)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def decodes(self) -> bool:
        """Whether rows are decoded as they are read."""
        return self.kept is None

    def image(self, row: int) -> Image.Image:
        """The row's image as it is stored, in RGB."""
        if self.kept is not None:
            return Image.fromarray(self.kept[row])
        return self._load(row)

    def __getitem__(self, row: int | Draw) -> dict[str, Any]:
        """`pixel_values`: `[h, w, 3]` uint8, or what the processor gives, `[3, h, w]` float32; and `labels`."""
        if isinstance(row, Draw):
            return self._changed(row)
        if self.as_they_are:
            pixels = self.kept[row]
        else:
            pixels = self._processed(self.image(row))
        return {"pixel_values": pixels} | ({} if self.labels is None else {"labels": self.labels[row]})

    def _changed(self, draw: Draw) -> dict[str, Any]:
        rng = np.random.default_rng((draw.seed, draw.epoch, draw.row))
        pixels = self.augmentation.apply(self.image(draw.row), self.size, rng)
        label = self.labels[draw.row]
        if self.augmentation.mixes:
            other = int(rng.integers(len(self)))
            second = self.augmentation.apply(self.image(other), self.size, rng)
            pixels, share = self.augmentation.mix(pixels, second, rng)
            label = (self._soft(draw.row) * share + self._soft(other) * (1 - share)).astype(np.float32)
        if not self.normalises:
            pixels = self._processed(Image.fromarray(pixels), **self._own_size)
        return {"pixel_values": pixels, "labels": label}

    def _processed(self, image: Image.Image, **options: bool) -> np.ndarray:
        """[3, h, w] float32."""
        return np.asarray(self.processor(images=image, return_tensors="np", **options)["pixel_values"][0])

    def _soft(self, row: int) -> Any:
        return self.labels[row] if self.num_labels is None else np.eye(self.num_labels)[self.labels[row]]

    def _load(self, row: int) -> Image.Image:
        cell = self.images[row][IMAGE]
        try:
            return load_image(cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]))
        except Unreadable as trouble:
            raise UserError(f"image {cell['path'] or row + 1}: {trouble}") from None

    def _keep_small(self) -> np.ndarray | None:
        """All images, if they are small, of one size, and not too many."""
        if not len(self):
            return None
        first = self._load(0)
        bytes_each = first.width * first.height * 3
        if first.width * first.height > SMALL or bytes_each * len(self) > KEPT_BYTES:
            return None
        kept = np.empty((len(self), first.height, first.width, 3), dtype=np.uint8)
        for row in range(len(self)):
            image = self._load(row)
            if image.size != first.size:
                return None
            kept[row] = image
        return kept

    def _is_input(self, pixels: np.ndarray, **options: bool) -> bool:
        """Whether normalising alone makes the processor's output of these images."""
        own = StackImages(self.processor)([{"pixel_values": image} for image in pixels])["pixel_values"]
        theirs = np.stack([self._processed(Image.fromarray(image), **options) for image in pixels])
        return own.shape == theirs.shape and np.allclose(own.numpy(), theirs, atol=1e-5)


class StackImages:
    """A collator: the rows of `ImageRows` as one batch, `pixel_values` `[b, 3, h, w]` in the order that suits
    convolutions (channels last), normalised; `labels` `[b]` or `[b, c]`."""

    def __init__(self, processor: BaseImageProcessor):
        mean, std = normalisation(processor)
        self.mean, self.std = torch.from_numpy(mean), torch.from_numpy(std)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        pixels = torch.from_numpy(np.stack([row["pixel_values"] for row in rows]))
        if pixels.dtype == torch.uint8:
            pixels = pixels.float().sub_(self.mean).div_(self.std).permute(0, 3, 1, 2)  # [b, 3, h, w]
        batch = {"pixel_values": pixels}
        if "labels" in rows[0]:
            batch["labels"] = stacked([row["labels"] for row in rows])
        return batch


def loader_workers(cores: Callable[[], int | None] = os.cpu_count) -> int:
    """How many processes decode images beside the training one."""
    return max(1, min(8, (cores() or 2) - 1))
