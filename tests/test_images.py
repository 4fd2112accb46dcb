"""Whatever lies in an image file: it becomes RGB pixels, or one reason in words."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hf_kit.data.images import Unreadable, content_key, images_below, load_image, others_below

RED = (200, 10, 10)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def plain(mode: str = "RGB", size=(20, 10), colour=RED) -> Image.Image:
    return Image.new("RGB", size, colour).convert(mode)


def bomb(side: int) -> bytes:
    """A PNG of a few bytes that claims so many pixels a side."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "pixel"),
    {
        "JPEG": (encoded(plain(), "JPEG", quality=95), RED),
        "CMYK": (encoded(plain("CMYK"), "JPEG", quality=95), RED),
        "grey": (encoded(plain("L"), "PNG"), (67, 67, 67)),
        "a palette": (encoded(plain().quantize(4), "GIF"), RED),
        "see-through": (encoded(plain("RGBA"), "PNG"), RED),
        "a palette with a see-through colour": (encoded(plain().quantize(4), "PNG", transparency=0), RED),
        "16 bits": (encoded(Image.fromarray(np.full((10, 20), 200 * 257, np.uint16)), "PNG"), (200, 200, 200)),
        "dark 16 bits": (encoded(Image.fromarray(np.full((10, 20), 20 * 257, np.uint16)), "TIFF"), (20, 20, 20)),
        "an animation": (
            encoded(plain(), "GIF", save_all=True, append_images=[plain(colour=(0, 0, 250))]),
            RED,
        ),
        "black and white": (encoded(plain("1", colour=(255, 255, 255)), "PNG"), (255, 255, 255)),
    }.values(),
)
def test_every_kind_becomes_rgb(content, pixel):
    image = load_image(content)
    assert image.mode == "RGB" and image.size == (20, 10)
    assert np.abs(np.array(image.getpixel((5, 5)), int) - pixel).max() <= 6


def test_one_pixel_is_an_image():
    assert load_image(encoded(plain(size=(1, 1)), "PNG")).size == (1, 1)


def test_a_photo_stands_upright_as_its_exif_tag_says():
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image = plain()
    image.paste((0, 0, 0), (0, 0, 10, 10))  # the left half is black
    turned = load_image(encoded(image, "JPEG", quality=95, exif=exif))
    assert turned.size == (10, 20)
    assert max(turned.getpixel((5, 2))) < 30 and turned.getpixel((5, 17))[0] > 150


def test_a_damaged_tag_costs_neither_the_photo_nor_its_orientation(monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = encoded(plain(), "JPEG", exif=exif)

    def damaged(*_):
        raise struct.error("required argument is not an integer")

    monkeypatch.setattr(Image.Exif, "tobytes", damaged)
    assert load_image(photo).size == (10, 20)
    monkeypatch.setattr(Image.Image, "getexif", damaged)
    assert load_image(photo).size == (20, 10)


@pytest.mark.parametrize(
    ("content", "why"),
    {
        "nothing": (b"", "zero bytes"),
        "text": (b"this is no image" * 20, "not an image"),
        "a cut JPEG": (encoded(Image.effect_noise((90, 90), 80), "JPEG")[:1500], "damaged"),
        "a cut PNG": (encoded(Image.effect_noise((90, 90), 80), "PNG")[:1500], "damaged"),
        "a bomb": (bomb(20_000), "pixels; at most"),
        "one that Pillow would open": (bomb(12_000), "12,000 x 12,000 pixels; at most"),
        "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "not an image"),
        "fractions": (encoded(Image.fromarray(np.full((9, 9), 0.3, np.float32)), "TIFF"), "fractions"),
    }.values(),
)
def test_what_cannot_be_read_has_one_reason(content, why, tmp_path):
    with pytest.raises(Unreadable, match=why):
        load_image(content)
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(Unreadable, match=why):
        load_image(tmp_path / "x.jpg", least=32)


def test_a_missing_file_and_a_folder_have_a_reason(tmp_path):
    with pytest.raises(Unreadable, match="no such file"):
        load_image(tmp_path / "none.png")
    with pytest.raises(Unreadable, match="a folder"):
        load_image(tmp_path)


def test_the_name_does_not_matter(tmp_path):
    (tmp_path / "really_a_png.jpg").write_bytes(encoded(plain(), "PNG"))
    assert load_image(tmp_path / "really_a_png.jpg").getpixel((0, 0)) == RED


def test_a_look_at_a_big_jpeg_is_small_and_still_finds_the_cut():
    content = encoded(Image.effect_noise((800, 640), 80).convert("RGB"), "JPEG")
    assert load_image(content, least=64).width < 200
    with pytest.raises(Unreadable, match="damaged"):
        load_image(content[: len(content) * 9 // 10], least=64)


def test_the_same_content_has_the_same_key():
    one, two = encoded(plain(), "PNG"), encoded(plain(colour=(1, 2, 3)), "PNG")
    assert content_key(one) == content_key(bytes(one)) != content_key(two)


def test_images_below_a_folder_are_found_by_their_names(tmp_path):
    for name in ("b/2.PNG", "a.jpg", "notes.txt", ".hidden/x.png", "b/.y.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [str(path.relative_to(tmp_path)) for path in images_below(tmp_path)] == ["a.jpg", "b/2.PNG"]
    assert others_below(tmp_path) == "1 (.txt 1)" and not others_below(tmp_path / "b")
