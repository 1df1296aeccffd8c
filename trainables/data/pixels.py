"""Decodes all images of a set in bounded memory, on several processors.

Pillow's decoders hold Python's lock for small images and are C code that reads foreign bytes: they
run in the processes of `guarded`, of which one that ends costs the image that ended it, no more.
"""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.guarded import Readers, shared_readers
from trainables.data.images import (
    Headers,
    ImageColumn,
    ImageProblem,
    ImageRule,
    bombs_are_errors,
    deep_bits,
    encoded_bytes,
)
from trainables.data.parquet import Source
from trainables.errors import InputError

MAX_PROCESSES = 4
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
    for start, decoded in _in_processes(
        source, column, _decode_images, column, rule, take is not None
    ):
        good = [(start + i, one) for i, one in enumerate(decoded) if not isinstance(one, str)]
        reasons |= {start + i: one for i, one in enumerate(decoded) if isinstance(one, str)}
        for row, (_, digest) in good:
            hashes[row] = np.void(digest)
        if take is not None and good:
            take(np.array([row for row, _ in good]), np.stack([one for _, (one, _) in good]))
    return Pixels(hashes=hashes, reasons=reasons)


def _decode_images(
    images: list[Any], column: ImageColumn, rule: ImageRule | None, keeps_pixels: bool
) -> Iterator[list[tuple[NDArray[np.uint8] | None, bytes] | str]]:
    """Yield, once, the pixels of images, where they are kept, and their hash, or what is wrong."""
    with bombs_are_errors():
        decoded = [_decode(column, rule, image) for image in images]
    if keeps_pixels:
        yield list(decoded)
    else:
        yield [one if isinstance(one, str) else (None, one[1]) for one in decoded]


def _in_processes(
    source: Source,
    column: ImageColumn,
    function: Callable[..., Iterable[list[Any]]],
    *arguments: Any,
) -> Iterator[tuple[int, list[Any]]]:
    """Yield the first row of each batch and, of each image in it, what a function finds.

    A few batches are under way at once.
    """
    readers = shared_readers()
    num_processes = min(MAX_PROCESSES, os.cpu_count() or 1)
    waiting: deque[tuple[int, Future[list[Any]]]] = deque()
    with ThreadPoolExecutor(num_processes) as pool:
        for start, images in column.images(source):
            asked = pool.submit(_ask, readers, images, function, arguments)
            waiting.append((start, asked))
            if len(waiting) > num_processes:
                first, answer = waiting.popleft()
                yield first, answer.result()
        for first, answer in waiting:
            yield first, answer.result()


def _ask(
    readers: Readers,
    images: list[Any],
    function: Callable[..., Iterable[list[Any]]],
    arguments: tuple[Any, ...],
) -> list[Any]:
    """Return what a function finds in each image; where its process ends, one after the other."""
    contents = [_content(image) for image in images]
    readable = [one for one in contents if not isinstance(one, str)]
    try:
        (found,) = readers.ask("an image", function, readable, *arguments) if readable else ([],)
    except InputError as error:
        if len(images) == 1:
            return [str(error)]
        return [one for image in images for one in _ask(readers, [image], function, arguments)]
    answers = iter(found)
    return [one if isinstance(one, str) else next(answers) for one in contents]


def _content(image: Any) -> Any:
    """Return what can be sent of an image, or in words why there is nothing."""
    try:
        return image if isinstance(image, np.ndarray) else encoded_bytes(image)
    except ImageProblem as problem:
        return str(problem)


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
    if not headers.is_deep.any():
        return DEPTHS[-1]
    bits = 0
    for start, found in _in_processes(source, column, _bits_of_images):
        deep = headers.is_deep[start : start + len(found)]
        used = [n for n, is_one in zip(found, deep, strict=True) if is_one and n in range(65)]
        bits = max([bits, *used])
    return next((depth for depth in DEPTHS if depth >= bits), DEPTHS[-1])


def _bits_of_images(images: list[Any]) -> Iterator[list[int]]:
    """Yield, once, the bits that each image of more than 8 uses; 0 for any other."""
    found = [0] * len(images)
    with bombs_are_errors():
        for place, image in enumerate(images):
            with suppress(ImageProblem):  # told when all are decoded
                found[place] = deep_bits(image)
    yield found
