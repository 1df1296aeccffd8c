"""Small data sets of bright rectangles on noise, for studies that are run for real."""

import io
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

BRIGHTNESS = np.array([120, 180, 250], np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rectangles:
    arrays: list[np.ndarray]
    boxes: np.ndarray
    """yxyx pixels, whole numbers."""
    shape: tuple[int, int, int]

    @property
    def encoded(self):
        return [png(array) for array in self.arrays]

    @property
    def classes(self):
        return np.arange(len(self.arrays)) % 3

    @property
    def fractions(self):
        height, width, _ = self.shape
        return self.boxes / [height, width, height, width]

    @property
    def xywh(self):
        top, left, bottom, right = self.boxes.T
        return np.stack([left, top, right - left, bottom - top], axis=1)


def rectangles(num, height=18, width=18, channels=1, seed=0):
    rng = np.random.default_rng(seed)
    tops, lefts = rng.integers(0, height // 2, num), rng.integers(0, width // 2, num)
    bottoms = tops + rng.integers(3, height // 2, num)
    rights = lefts + rng.integers(3, width // 2, num)
    boxes = np.stack([tops, lefts, bottoms, rights], axis=1)
    shape = (height, width) if channels == 1 else (height, width, channels)
    arrays = []
    for index, (top, left, bottom, right) in enumerate(boxes):
        array = rng.integers(0, 60, shape).astype(np.uint8)
        array[top:bottom, left:right] = BRIGHTNESS[index % 3]
        arrays.append(array)
    return Rectangles(arrays=arrays, boxes=boxes, shape=(height, width, channels))


def png(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format="PNG")
    return stream.getvalue()


def splits(num):
    """Half to train, a quarter to validate, the rest to test."""
    half, quarter = num // 2, num // 4
    return ["train"] * half + ["validation"] * quarter + ["test"] * (num - half - quarter)


def save(path, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    lists = {n: c.tolist() if isinstance(c, np.ndarray) else c for n, c in columns.items()}
    pq.write_table(pa.table(lists), path)
    return str(path)
