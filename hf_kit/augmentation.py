"""Random changes of training images, each drawn from a generator that it is given: the same numbers, the same image.

The random resized crop is that of Szegedy et al. 2015 (arXiv:1409.4842, section 6), RandAugment that of Cubuk et al.
2020 (arXiv:1909.13719; `n` operations of one magnitude), mixup that of Zhang et al. 2018 (arXiv:1710.09412), CutMix
that of Yun et al. 2019 (arXiv:1905.04899). Deliberately different: mixup and CutMix mix a row with another one of the
whole training set instead of its batch's, so that what a row becomes depends neither on batches nor on processes.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

MOST_MAGNITUDE = 10
OPERATIONS = 2  # of RandAugment, an image
ASPECTS = (3 / 4, 4 / 3)
GREY = (124, 116, 104)  # what a moved image uncovers: ImageNet's mean
BILINEAR = Image.Resampling.BILINEAR


@dataclass(frozen=True)
class Augmentation:
    """What is changed at random.

    Attributes:
        crop_scale: the least share of an image's area that a random crop keeps; 1: no crop.
        horizontal_flip: every second image is mirrored.
        color_jitter: brightness, contrast and saturation are multiplied by 1 ± up to this; 0: not.
        randaugment_magnitude: 0 (not) to 10.
        mixup_alpha, cutmix_alpha: of the Beta distribution that a mixture's shares follow; 0: not. With both, each
            image is mixed in one of the two ways.
    """

    crop_scale: float = 1.0
    horizontal_flip: bool = False
    color_jitter: float = 0.0
    randaugment_magnitude: int = 0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0

    @property
    def mixes(self) -> bool:
        return self.mixup_alpha > 0 or self.cutmix_alpha > 0

    def apply(self, image: Image.Image, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        """`[h, w, 3]` uint8 of `size` (height, width) from an RGB image of any size."""
        h, w = size
        box = (0, 0, image.width, image.height)
        if self.crop_scale < 1:
            box = _crop(image.width, image.height, self.crop_scale, rng)
        if box != (0, 0, w, h) or image.size != (w, h):
            image = image.resize((w, h), BILINEAR, box, reducing_gap=3.0)
        if self.horizontal_flip and rng.random() < 0.5:
            image = ImageOps.mirror(image)
        if self.color_jitter:
            image = _jitter(image, self.color_jitter, rng)
        if self.randaugment_magnitude:
            image = _randaugment(image, self.randaugment_magnitude / MOST_MAGNITUDE, rng)
        return np.asarray(image)

    def mix(self, first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
        """A mixture of two images `[h, w, 3]`, and the first one's share of it."""
        cut = self.cutmix_alpha > 0 and (self.mixup_alpha == 0 or rng.random() < 0.5)
        alpha = self.cutmix_alpha if cut else self.mixup_alpha
        share = float(rng.beta(alpha, alpha))
        if not cut:
            mixed = first.astype(np.float32) * share + second.astype(np.float32) * (1 - share)
            return np.rint(mixed).astype(np.uint8), share
        h, w = first.shape[:2]
        side = math.sqrt(1 - share)
        middle_y, middle_x = rng.integers(h), rng.integers(w)
        top, bottom = (int(np.clip(middle_y + d * side * h / 2, 0, h)) for d in (-1, 1))
        left, right = (int(np.clip(middle_x + d * side * w / 2, 0, w)) for d in (-1, 1))
        mixed = first.copy()
        mixed[top:bottom, left:right] = second[top:bottom, left:right]
        return mixed, 1 - (bottom - top) * (right - left) / (h * w)


def _crop(width: int, height: int, least: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A box (left, top, right, bottom) of `least` to all of the area and of an aspect near the image's own."""
    for _ in range(10):
        area = width * height * rng.uniform(least, 1)
        aspect = width / height * math.exp(rng.uniform(math.log(ASPECTS[0]), math.log(ASPECTS[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    return 0, 0, width, height


def _jitter(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhancer(image).enhance(max(0.0, 1 + rng.uniform(-strength, strength)))
    return image


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, BILINEAR, fillcolor=GREY)


# Each takes the image and a magnitude from 0 to 1, with a sign where it has two directions.
_OPERATIONS = (
    lambda image, m: image,
    lambda image, m: ImageOps.autocontrast(image),
    lambda image, m: ImageOps.equalize(image),
    lambda image, m: image.rotate(30 * m, BILINEAR, fillcolor=GREY),
    lambda image, m: ImageOps.solarize(image, round(256 * (1 - abs(m)))),
    lambda image, m: ImageOps.posterize(image, 8 - round(4 * abs(m))),
    lambda image, m: ImageEnhance.Color(image).enhance(1 + 0.9 * m),
    lambda image, m: ImageEnhance.Contrast(image).enhance(1 + 0.9 * m),
    lambda image, m: ImageEnhance.Brightness(image).enhance(1 + 0.9 * m),
    lambda image, m: ImageEnhance.Sharpness(image).enhance(1 + 0.9 * m),
    lambda image, m: _affine(image, 1, 0.3 * m, 0, 0, 1, 0),
    lambda image, m: _affine(image, 1, 0, 0, 0.3 * m, 1, 0),
    lambda image, m: _affine(image, 1, 0, 0.45 * m * image.width, 0, 1, 0),
    lambda image, m: _affine(image, 1, 0, 0, 0, 1, 0.45 * m * image.height),
)


def _randaugment(image: Image.Image, magnitude: float, rng: np.random.Generator) -> Image.Image:
    for _ in range(OPERATIONS):
        operation = _OPERATIONS[rng.integers(len(_OPERATIONS))]
        image = operation(image, magnitude if rng.random() < 0.5 else -magnitude)
    return image
