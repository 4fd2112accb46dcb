"""The image processor: a checkpoint's own, or one that suits the data, and what a model cannot take is said first."""

import numpy as np
import pytest
from PIL import Image
from transformers import ConvNextConfig, ConvNextImageProcessorPil, ResNetConfig, ViTConfig, ViTImageProcessorPil

from hf_kit import image_processing
from hf_kit.data.images import load_image
from hf_kit.errors import UserError


def images(*sizes: tuple[int, int]):
    for i, size in enumerate(sizes):
        yield Image.new("RGB", size, (255 * (i % 2), 51, 0))


def test_a_fresh_models_processor_has_the_datas_size_and_averages():
    made = image_processing.fresh_processor(ResNetConfig(), images((30, 20), (24, 50), (22, 22), (90, 22)), None)
    assert dict(made.size) == {"height": 22, "width": 22}  # the median of the shorter sides
    assert made.image_mean == pytest.approx([0.5, 0.2, 0.0], abs=1e-3)
    assert made.image_std == pytest.approx([0.5, 0.01, 0.01], abs=1e-3)  # never zero


def test_big_images_are_made_smaller_and_the_users_word_comes_first():
    assert image_processing.fresh_processor(ResNetConfig(), images((900, 700)), None).size["height"] == 224
    config = ViTConfig(image_size=32)
    assert image_processing.fresh_processor(config, images((8, 8)), None).size["height"] == 32
    assert image_processing.fresh_processor(config, images((8, 8)), 48).size["height"] == 48
    assert config.image_size == 48


def test_a_checkpoints_processor_takes_another_size_in_its_own_way():
    for processor in (ConvNextImageProcessorPil(), ViTImageProcessorPil()):
        image_processing.resize_to(processor, 40)
        pixels = processor(images=Image.new("RGB", (100, 60)), return_tensors="np")["pixel_values"]
        assert pixels.shape == (1, 3, 40, 40)


def test_what_a_model_cannot_take_is_one_error():
    with pytest.raises(UserError, match="num_channels is 1"):
        image_processing.check_config(ViTConfig(num_channels=1), None, fresh=True)
    with pytest.raises(UserError, match="images of 224 pixels"):
        image_processing.check_config(ViTConfig(), 96, fresh=False)
    image_processing.check_config(ViTConfig(), 224, fresh=False)
    image_processing.check_config(ResNetConfig(), 96, fresh=False)
    image_processing.check_config(ConvNextConfig(), 96, fresh=False)  # whatever size its configuration names


def test_a_folder_without_a_processor_is_one_error(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(UserError, match=r"--model_name_or_path x: its image processor \(preprocessor_config.json\)"):
        image_processing.load_processor(str(tmp_path), "--model_name_or_path x", None)


def test_an_image_in_memory_keeps_its_pixels():
    class Name(str):
        content: bytes

    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    name = image_processing.as_png(Image.fromarray(pixels), Name)
    assert (np.asarray(load_image(name.content)) == pixels).all() and str(name) == "an image"
