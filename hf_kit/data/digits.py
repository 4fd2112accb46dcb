"""The sample for images: the handwritten digits that scikit-learn brings, 1,797 of 8 x 8 pixels.

From the UCI repository, https://archive.ics.uci.edu/dataset/80, by E. Alpaydin and C. Kaynak, CC BY 4.0.
"""

import io

import numpy as np
from datasets import ClassLabel, Dataset, Features, NamedSplit
from datasets import Image as ImageFeature
from PIL import Image


def load_digits() -> Dataset:
    """Columns `image` and `label` (`0` to `9`); the 17 shades of the data become 0 to 255."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    shades = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # [n, 8, 8]
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=[str(i) for i in range(10)])})
    rows = {"image": [{"bytes": _png(image), "path": None} for image in shades], "label": digits.target.tolist()}
    return Dataset.from_dict(rows, features=features, split=NamedSplit("train"))


def _png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()
