"""The image processor of a run: a checkpoint's own, or for a fresh model one that suits its data.

Which of transformers' two implementations is used is said out loud: torchvision's where it is installed, else Pillow's.
Left to itself the library takes a checkpoint's word for it, and falls back with a warning.
"""

import io
from collections.abc import Iterable
from typing import Any

import numpy as np
from datasets import Dataset
from datasets import Image as ImageFeature
from PIL import Image
from transformers import AutoImageProcessor, BaseImageProcessor, PreTrainedConfig
from transformers.utils import is_torchvision_available

from hf_kit.errors import UserError
from hf_kit.hub_errors import why_not_from_hub
from hf_kit.untrusted_folder import examine_checkpoint

MEASURED = 2048  # images of which mean, deviation and size are taken
MOST_SIDE = 224
# Families whose weights fit images of any size, though their configuration names one: convolutions, and DINOv2, which
# stretches its places.
ANY_SIZE = frozenset("convnext convnextv2 dinov2 dinov2_with_registers efficientnet mobilenet_v1 mobilenet_v2".split())


def best_backend() -> str:
    return "torchvision" if is_torchvision_available() else "pil"


def check_config(config: PreTrainedConfig, image_size: int | None, *, fresh: bool) -> None:
    """Raises: UserError: a model that reads no RGB images, or none of the size asked for."""
    channels = getattr(config, "num_channels", 3)
    if channels != 3:
        raise UserError(f"--config_overrides: num_channels is {channels}; images are read as RGB, so it must be 3")
    own = getattr(config, "image_size", None)
    learned = own is not None and config.model_type not in ANY_SIZE
    if image_size and not fresh and learned and own != image_size:
        raise UserError(
            f"--image_size {image_size}: this checkpoint has learned the places in images of {own} pixels; leave it out"
        )


def load_processor(name: str, what: str, revision: str | None) -> BaseImageProcessor:
    """The processor of a checkpoint, a folder or a Hub id.

    Args:
        what: the message's first words.

    Raises:
        UserError: it has none, or one that wants to run code.
    """
    try:
        revision = examine_checkpoint(name, what, revision=revision)
        return AutoImageProcessor.from_pretrained(
            name, revision=revision, trust_remote_code=False, backend=best_backend()
        )
    except UserError:
        raise
    except Exception as reason:  # of many kinds: the network's, the file's, the configuration's
        why = why_not_from_hub(reason, revision) or " ".join(str(reason).split())[:250]
        raise UserError(f"{what}: its image processor (preprocessor_config.json) cannot be loaded: {why}") from None


def fresh_processor(config: PreTrainedConfig, images: Iterable[Image.Image], image_size: int | None) -> Any:
    """Resize to a square, normalise by the mean and the deviation of `images`; `config` gets the size it lacks.

    The side is `image_size`, else the configuration's, else the median of the images' shorter sides, at most 224.
    """
    from transformers import ViTImageProcessor, ViTImageProcessorPil

    sides, sums, squares, pixels = [], np.zeros(3), np.zeros(3), 0
    for image in images:
        sides.append(min(image.size))
        if max(image.size) > MOST_SIDE:
            image = image.resize((64, 64))  # enough for two averages
        values = np.asarray(image, dtype=np.float64).reshape(-1, 3) / 255
        weight = 1 / len(values)  # every image counts the same
        sums += values.sum(0) * weight
        squares += (values**2).sum(0) * weight
        pixels += 1
    mean = sums / pixels
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 1e-4))
    side = image_size or getattr(config, "image_size", None) or min(MOST_SIDE, int(np.median(sides)))
    if hasattr(config, "image_size"):
        config.image_size = side
    h, w = (side, side) if isinstance(side, int) else side
    own = ViTImageProcessor if best_backend() == "torchvision" else ViTImageProcessorPil
    return own(
        size={"height": h, "width": w},
        image_mean=[round(float(m), 4) for m in mean],
        image_std=[round(float(s), 4) for s in std],
    )


def resize_to(processor: BaseImageProcessor, side: int) -> None:
    """Have a checkpoint's processor give square images of `side` pixels."""
    for name in ("size", "crop_size"):
        size = getattr(processor, name, None)
        if size:
            setattr(processor, name, dict.fromkeys(dict(size), side))


def undecoded(rows: Dataset, column: str) -> Dataset:
    """The rows with the images of `column` as they are stored."""
    decoding = isinstance(rows.features[column], ImageFeature)
    return rows.cast_column(column, ImageFeature(decode=False)) if decoding else rows


def as_png(image: Image.Image, named: type) -> Any:
    """An image in memory as a name (of the type `named`) with its bytes in `content`."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    name = named("an image")
    name.content = stream.getvalue()
    return name
