"""Brings the rows of a split to the compiled functions: held whole, or gathered in chunks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from trainables.backend import Tensor, tf
from trainables.spec import HeadSpec

RESIDENT_BYTES = 256 * 2**20
"""A split whose images take less is held as one tensor."""

CHUNK_BYTES = 64 * 2**20
"""About what a chunk of gathered images takes."""

LABEL_TYPES = {"classification": "int32", "regression": "float32", "box": "float32"}

Order = NDArray[np.int64]
"""Row numbers in the order in which they are taken, ``(rows,)``."""


class Rows(Protocol):
    """The rows of one split."""

    @property
    def images(self) -> NDArray[np.uint8]:
        """``(rows, height, width, channels)``, 0..255; may be a memory map."""
        ...

    @property
    def labels(self) -> Mapping[str, NDArray[Any]]:
        """By head: class ids ``(rows,)``, numbers or boxes ``(rows, units)``."""
        ...


class Block(NamedTuple):
    """Rows that lie in memory and the order in which to take them."""

    images: Tensor
    labels: tuple[Tensor, ...]
    """In the order of the heads."""
    order: Tensor


class Feed(Protocol):
    """Gives the rows of one split as blocks."""

    num_rows: int

    def blocks(self, order: Order, batch_size: int) -> Iterator[Block]:
        """Yield blocks that hold ``order``'s rows; all but the last hold whole batches."""
        ...


def make_feed(rows: Rows, heads: Sequence[HeadSpec]) -> Feed:
    """Return the feed that suits the size of a split; both give the same batches."""
    is_small = rows.images.nbytes < RESIDENT_BYTES
    return ResidentFeed(rows, heads) if is_small else ChunkedFeed(rows, heads)


class ResidentFeed:
    """Holds all rows as tensors, made once: a tensor of a memory map is a copy."""

    def __init__(self, rows: Rows, heads: Sequence[HeadSpec]) -> None:
        self.num_rows = len(rows.images)
        self._images = tf.convert_to_tensor(rows.images)
        self._labels = tuple(map(tf.convert_to_tensor, _labels(rows, heads)))

    def blocks(self, order: Order, batch_size: int) -> Iterator[Block]:
        """Yield the whole split as one block."""
        yield Block(self._images, self._labels, tf.convert_to_tensor(order))


class ChunkedFeed:
    """Gathers rows from a memory map into one buffer, again and again."""

    def __init__(
        self, rows: Rows, heads: Sequence[HeadSpec], *, chunk_bytes: int = CHUNK_BYTES
    ) -> None:
        self.num_rows = len(rows.images)
        self._rows = rows
        self._labels = _labels(rows, heads)
        self._capacity = max(1, chunk_bytes * self.num_rows // max(1, rows.images.nbytes))
        self._buffer = np.empty((0, *rows.images.shape[1:]), np.uint8)

    def blocks(self, order: Order, batch_size: int) -> Iterator[Block]:
        """Yield chunks of whole batches; a block is only valid until the next is asked for."""
        size = max(1, self._capacity // batch_size) * batch_size
        if len(self._buffer) < min(size, len(order)):
            self._buffer = np.empty((size, *self._rows.images.shape[1:]), np.uint8)
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            # With mode="raise" NumPy would gather into a second buffer first.
            images = self._buffer[: len(chosen)]
            np.take(self._rows.images, chosen, axis=0, out=images, mode="clip")
            labels = tuple(tf.convert_to_tensor(column[chosen]) for column in self._labels)
            yield Block(tf.convert_to_tensor(images), labels, tf.range(len(chosen), dtype="int64"))


def _labels(rows: Rows, heads: Sequence[HeadSpec]) -> list[NDArray[np.generic]]:
    return [rows.labels[head.name].astype(LABEL_TYPES[head.kind], copy=False) for head in heads]
