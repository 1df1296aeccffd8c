"""Decodes all images of a set in bounded memory, on several threads."""

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from trainables.data.images import (
    Headers,
    ImageColumn,
    ImageProblem,
    ImageRule,
    bombs_are_errors,
    deep_bits,
)
from trainables.data.parquet import Source

MAX_THREADS = 4
HASH_BYTES = 16
"""Of a row's pixels: two different images of 10 million are equal with a chance of 1e-24."""

DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras and scanners give a pixel."""

Taker = Callable[[NDArray[np.intp], NDArray[np.uint8]], None]
"""Takes rows ``(n,)`` and their pixels ``(n, height, width, channels)``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """What the decoding of all images has found."""

    hashes: NDArray[np.void]
    """Shape ``(rows,)``: BLAKE2 of each image's pixels as the rule makes them."""

    reasons: dict[int, str]
    """By row: why its image cannot be decoded."""

    @property
    def groups(self) -> NDArray[np.int64]:
        """Which rows have the same pixels, ``(rows,)``; a row without pixels stands alone."""
        _, groups = np.unique(self.hashes, return_inverse=True)
        alone = np.array(sorted(self.reasons), dtype=np.intp)
        groups[alone] = len(groups) + alone
        return np.asarray(groups, dtype=np.int64)


def decode_all(
    source: Source, column: ImageColumn, rule: ImageRule | None, take: Taker | None = None
) -> Pixels:
    """Decode all images.

    Args:
        source: The set.
        column: How it stores images.
        rule: What they become; None: each is only looked at.
        take: Gets those that can be decoded, in order.
    """
    hashes = np.zeros(source.num_rows, dtype=f"V{HASH_BYTES}")
    reasons: dict[int, str] = {}
    num_threads = min(MAX_THREADS, os.cpu_count() or 1)
    with bombs_are_errors(), ThreadPoolExecutor(num_threads) as pool:
        decode = partial(_decode, column, rule)
        for start, images in column.images(source):
            decoded = list(pool.map(decode, images))
            good = [(start + i, one) for i, one in enumerate(decoded) if not isinstance(one, str)]
            reasons |= {start + i: one for i, one in enumerate(decoded) if isinstance(one, str)}
            for row, (_, digest) in good:
                hashes[row] = np.void(digest)
            if take is not None and good:
                take(np.array([row for row, _ in good]), np.stack([one for _, (one, _) in good]))
    return Pixels(hashes=hashes, reasons=reasons)


def _decode(
    column: ImageColumn, rule: ImageRule | None, image: object
) -> tuple[NDArray[np.uint8], bytes] | str:
    """Return the pixels of an image and their hash, or why there are none."""
    try:
        if rule is None:
            header = column.header(image)
            rule = ImageRule(
                height=header.height, width=header.width, channels=3, is_resized=False
            )
        pixels = column.decode(image, rule)
    except ImageProblem as problem:
        return str(problem)
    return pixels, hashlib.blake2b(pixels.data, digest_size=HASH_BYTES).digest()


def find_depth(source: Source, column: ImageColumn, headers: Headers) -> int:
    """Return the bits that the set's images of more than 8 bits really use, one of ``DEPTHS``.

    The brightest pixel of all of them decides: a 12-bit camera's images lie in 16 bits, and the
    upper 8 of these would be 0 to 15.
    """
    bits = 0
    if not headers.is_deep.any():
        return DEPTHS[-1]
    with bombs_are_errors():
        for start, images in column.images(source):
            for row, image in enumerate(images, start):
                if headers.is_deep[row]:
                    with suppress(ImageProblem):  # told when all are decoded
                        bits = max(bits, deep_bits(image))
    return next((depth for depth in DEPTHS if depth >= bits), DEPTHS[-1])
