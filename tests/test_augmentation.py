"""Training images change at random, and the same numbers make the same change."""

import numpy as np
import pytest
from PIL import Image

from hf_kit.augmentation import _OPERATIONS, Augmentation

EVERYTHING = Augmentation(0.3, True, 0.4, 9, 0.4, 1.0)


def noise(seed: int = 0, size=(40, 30)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8))


def rng(*numbers: int) -> np.random.Generator:
    return np.random.default_rng(numbers)


def test_the_same_numbers_make_the_same_image():
    one = EVERYTHING.apply(noise(), (24, 24), rng(1, 2, 3))
    assert (one == EVERYTHING.apply(noise(), (24, 24), rng(1, 2, 3))).all()
    assert one.shape == (24, 24, 3) and one.dtype == np.uint8
    assert (one != EVERYTHING.apply(noise(), (24, 24), rng(1, 3, 3))).any()


def test_nothing_is_changed_where_nothing_is_asked_for():
    image = noise(size=(24, 24))
    assert (Augmentation().apply(image, (24, 24), rng(0)) == np.asarray(image)).all()


def test_every_second_image_is_mirrored():
    image = noise(size=(24, 24))
    made = [Augmentation(horizontal_flip=True).apply(image, (24, 24), rng(i)) for i in range(60)]
    mirrored = sum((m == np.asarray(image)[:, ::-1]).all() for m in made)
    assert 18 <= mirrored <= 42
    assert all((m == np.asarray(image)).all() or (m == np.asarray(image)[:, ::-1]).all() for m in made)


@pytest.mark.parametrize("size", [(40, 30), (1, 1), (3, 200)])
def test_a_crop_keeps_the_share_that_was_asked_for(size):
    from hf_kit.augmentation import _crop

    for i in range(50):
        left, top, right, bottom = _crop(*size, 0.5, rng(i))
        assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]
        assert (right - left) * (bottom - top) >= 0.4 * size[0] * size[1]  # rounded to pixels


@pytest.mark.parametrize("operation", range(len(_OPERATIONS)))
def test_every_operation_keeps_size_and_mode(operation):
    for magnitude in (-1.0, 1.0):
        made = _OPERATIONS[operation](noise(), magnitude)
        assert made.size == (40, 30) and made.mode == "RGB"


def test_a_mixture_has_the_shares_that_it_says():
    dark, light = np.zeros((20, 20, 3), np.uint8), np.full((20, 20, 3), 200, np.uint8)
    for mixing in (Augmentation(mixup_alpha=0.8), Augmentation(cutmix_alpha=0.8)):
        assert mixing.mixes
        for i in range(30):
            mixed, share = mixing.mix(light, dark, rng(i))
            assert mixed.mean() / 200 == pytest.approx(share, abs=0.01)
    cut, _ = Augmentation(cutmix_alpha=1.0).mix(light, dark, rng(4))
    assert set(np.unique(cut)) <= {0, 200}
    assert (light == 200).all() and (dark == 0).all()  # its inputs stay as they are
