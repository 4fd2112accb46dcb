"""Images as inputs: what is scored is what the processor makes, what is trained on follows from its numbers alone."""

import pickle

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image
from transformers import (
    BeitImageProcessorPil,
    ConvNextImageProcessorPil,
    EfficientNetImageProcessorPil,
    MobileViTImageProcessorPil,
    ViTImageProcessorPil,
)

from hf_kit.augmentation import Augmentation
from hf_kit.data.image_table import ImageColumns, read_table
from hf_kit.image_rows import ImageRows, StackImages, loader_workers, output_size
from hf_kit.input_rows import Draw

CHANGES = Augmentation(0.4, True, 0.3)


def table(folder, sizes, labels=None):
    rng = np.random.default_rng(0)
    for i, (w, h) in enumerate(sizes):
        Image.fromarray(rng.integers(0, 256, (h, w, 3)).astype(np.uint8)).save(folder / f"{i}.png")
    rows = Dataset.from_dict({"image": [f"{i}.png" for i in range(len(sizes))]})
    made, _ = read_table(rows, ImageColumns("image", None), folder, "train", [])
    return made.add_column("labels", labels or [i % 3 for i in range(len(sizes))])


def vit(side=12):
    return ViTImageProcessorPil(size={"height": side, "width": side}, image_mean=[0.4, 0.5, 0.6], image_std=[0.2] * 3)


PROCESSORS = {
    "vit": vit(),
    "other size": vit(20),
    "convnext": ConvNextImageProcessorPil(size={"shortest_edge": 12}, crop_pct=0.875),
    "beit": BeitImageProcessorPil(
        size={"height": 12, "width": 12}, crop_size={"height": 12, "width": 12}, do_center_crop=False
    ),
    "mobilevit": MobileViTImageProcessorPil(
        size={"shortest_edge": 12}, crop_size={"height": 12, "width": 12}, do_flip_channel_order=True
    ),
    "efficientnet": EfficientNetImageProcessorPil(size={"height": 12, "width": 12}, include_top=True),
    "not normalised": ViTImageProcessorPil(size={"height": 12, "width": 12}, do_normalize=False),
}


@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize("sizes", [[(12, 12)] * 4, [(12, 12), (30, 20), (120, 100)]])
def test_what_is_scored_is_what_the_processor_makes(tmp_path, name, sizes):
    processor = PROCESSORS[name]
    rows = ImageRows(table(tmp_path, sizes), processor, CHANGES, 3)
    assert rows.decodes == (len(set(sizes)) > 1)
    batch = StackImages(processor)([rows[i] for i in range(len(sizes))])
    images = [Image.open(tmp_path / f"{i}.png") for i in range(len(sizes))]
    expected = processor(images=images, return_tensors="pt")["pixel_values"]
    assert torch.allclose(batch["pixel_values"], expected, atol=1e-5)
    assert batch["labels"].tolist() == [0, 1, 2, 0][: len(sizes)] and batch["labels"].dtype == torch.int64


@pytest.mark.parametrize("sizes", [[(12, 12)] * 4, [(12, 12), (30, 20), (120, 100)]])
def test_a_draw_alone_says_what_a_training_image_becomes(tmp_path, sizes):
    rows = ImageRows(table(tmp_path, sizes), vit(), CHANGES, 3)
    one = rows[Draw(1, 0, 1)]["pixel_values"]
    np.random.default_rng(0), np.random.seed(3)
    elsewhere = pickle.loads(pickle.dumps(rows))  # a worker's copy
    assert (elsewhere[Draw(1, 0, 1)]["pixel_values"] == one).all()
    for other in (Draw(2, 0, 1), Draw(1, 1, 1), Draw(1, 0, 2)):
        assert (rows[other]["pixel_values"] != one).any(), other
    assert one.shape == (12, 12, 3)


@pytest.mark.parametrize("name", ["vit", "beit", "mobilevit", "efficientnet", "not normalised"])
def test_training_pixels_are_those_of_the_scored_ones(tmp_path, name):
    rows = ImageRows(table(tmp_path, [(12, 12)] * 3), PROCESSORS[name], Augmentation(), 3)
    stack = StackImages(PROCESSORS[name])
    trained = stack([rows[Draw(0, 0, i)] for i in range(3)])["pixel_values"]
    assert torch.allclose(trained, stack([rows[i] for i in range(3)])["pixel_values"], atol=1e-5)
    assert rows.normalises == (name not in ("mobilevit", "efficientnet"))
    assert trained.is_contiguous(memory_format=torch.channels_last) == rows.normalises


def test_mixed_images_have_shares_of_their_labels(tmp_path):
    rows = ImageRows(table(tmp_path, [(12, 12)] * 6), vit(), Augmentation(mixup_alpha=1.0), 3)
    batch = StackImages(vit())([rows[Draw(0, 0, i)] for i in range(6)])
    assert batch["labels"].shape == (6, 3) and batch["labels"].dtype == torch.float32
    assert torch.allclose(batch["labels"].sum(1), torch.ones(6))
    assert ((batch["labels"] > 0).sum(1) > 1).any()
    assert rows[2]["labels"] == 2  # what is scored is not mixed


def test_small_images_are_kept_and_big_ones_are_not(tmp_path, monkeypatch):
    made = table(tmp_path, [(12, 12)] * 4)
    assert not ImageRows(made, vit(), CHANGES, 3).decodes
    assert ImageRows(made, vit(), CHANGES, 3, keep=False).decodes
    monkeypatch.setattr("hf_kit.image_rows.KEPT_BYTES", 4 * 12 * 12 * 3 - 1)
    assert ImageRows(made, vit(), CHANGES, 3).decodes


def test_the_output_size_is_the_processors():
    assert output_size(vit(20)) == (20, 20)
    assert output_size(ViTImageProcessorPil(size={"height": 8, "width": 16})) == (8, 16)


def test_there_is_a_worker_and_a_core_is_left():
    assert [loader_workers(lambda n=n: n) for n in (None, 1, 2, 4, 64)] == [1, 1, 1, 3, 8]
