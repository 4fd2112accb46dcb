"""One image as RGB pixels, from a file or from bytes, or the reason why not.

What a photograph's file says beside its pixels is followed: it is turned as its EXIF tag says, of an animation the
first picture counts, CMYK, palettes and grey become RGB, transparency is dropped, and 16 bits a channel become 8 by
their upper half (Pillow would cut them off at 255: all white).
"""

import hashlib
import io
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

SUFFIXES = frozenset(".jpg .jpeg .jpe .jfif .png .apng .gif .bmp .dib .webp .tif .tiff .ppm .pgm .pbm .pnm".split())
# Others that Pillow reads start programs (EPS) or hold whole documents.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
Image.init()  # Pillow knows only some of them before
# What Pillow's plugins raise over a file that is cut short or damaged.
DAMAGED = (
    OSError,
    ValueError,
    LookupError,
    SyntaxError,
    TypeError,
    ArithmeticError,
    EOFError,
    struct.error,
    zlib.error,
)
# EXIF's orientations but the upright one; mirrored ones among them.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# A file of a few kilobytes can claim any number of pixels; no camera takes more.
MOST_PIXELS = 120_000_000


class Unreadable(Exception):
    """Why an image cannot be read, in a few words."""


def load_image(content: bytes | Path, least: int | None = None) -> Image.Image:
    """The image in mode RGB.

    Args:
        content: the file's bytes or its path.
        least: a JPEG may be decoded at a half, a quarter or an eighth of its size, as long as its sides keep so many
            pixels; much faster, and every byte of it is still read.

    Raises:
        Unreadable: no such file, no image, an incomplete one, or one of too many pixels.
    """
    if isinstance(content, bytes) and not content:
        raise Unreadable("zero bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pixels without number; counted below
            source = io.BytesIO(content) if isinstance(content, bytes) else content
            with Image.open(source, formats=FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise Unreadable(f"{image.width:,} x {image.height:,} pixels; at most {MOST_PIXELS:,} are read")
                if least:
                    image.draft(image.mode, (least, least))
                image.load()
                return _rgb(_turned(image))
    except UnidentifiedImageError:
        if isinstance(content, Path) and not content.stat().st_size:
            raise Unreadable("zero bytes") from None
        raise Unreadable("not an image of a kind that is read") from None
    except Image.DecompressionBombError:
        raise Unreadable(f"too many pixels; at most {MOST_PIXELS:,} are read") from None
    except FileNotFoundError:
        raise Unreadable("no such file") from None
    except IsADirectoryError:
        raise Unreadable("a folder") from None
    except MemoryError:
        raise Unreadable("no memory for its pixels") from None
    except DAMAGED as reason:
        raise Unreadable(f"damaged ({' '.join(str(reason).split())[:80] or type(reason).__name__})") from None


def _turned(image: Image.Image) -> Image.Image:
    """As the EXIF tag says; as it is where the tag cannot be read. `ImageOps.exif_transpose` writes all tags anew, and
    fails over any that is damaged."""
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except DAMAGED:
        return image
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.int64)
        if wide.size and wide.max() > 255:
            wide = wide // 257
        return Image.fromarray(wide.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise Unreadable("pixels that are fractions, of no known range")
    if image.mode == "P":
        image = image.convert("RGBA")
    return image.convert("RGB")


def format_of(content: bytes) -> str:
    """What kind of image a readable file really is, whatever its name says."""
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        return image.format


def content_key(content: bytes) -> bytes:
    """16 bytes, the same for files of the same content."""
    return hashlib.blake2b(content, digest_size=16, key=b"hf_kit 1").digest()  # another key gives other splits


def images_below(folder: Path) -> Iterator[Path]:
    """The files below `folder` that are named as images are, sorted; hidden ones left out."""
    return (path for path in _files_below(folder) if path.suffix.lower() in SUFFIXES)


def others_below(folder: Path) -> str:
    """How many files below `folder` are not named as images are, and how they are: `12 (.heic 10, .txt 2)`, or ""."""
    names = [path.suffix.lower() or path.name for path in _files_below(folder)]
    counts = Counter(name for name in names if name not in SUFFIXES)
    if not counts:
        return ""
    most = [f"{name} {count:,}" for name, count in counts.most_common(5)]
    return f"{counts.total():,} ({', '.join(most)}{', ...' if len(counts) > 5 else ''})"


def _files_below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file():
            yield path
