"""Images of any form become what a model takes: the one preprocessing there is.

What a study trains on goes through the same functions (``trainables.data.images``), so a model
sees here exactly what it saw there: pixels as stored, whatever an EXIF orientation says,
transparent parts black, of more than 8 bits the upper 8 of those that the set uses, resized by
Pillow's antialiased bilinear filter with the aspect not kept. A grey image is taken where the set
has colour; a colour image where the set is grey is refused, unless the set's became grey, too.
"""

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from io import IOBase
from os import PathLike
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainables.data.image_files import ImageFile
from trainables.data.images import (
    FORMAT_WORDS,
    ImageProblem,
    ImageRule,
    bombs_are_errors,
    decode_image,
    encoded_bytes,
    fit_image,
    fit_pixels,
    image_column,
    read_header,
)
from trainables.data.parquet import Source
from trainables.errors import InputError
from trainables.spec.plain_values import plain
from trainables.spec.problems import Problems
from trainables.storage.local import open_plain

Images: TypeAlias = Any
"""One of these, or a list (or other iterable) of them, also mixed:

* the path of a PNG, JPEG, WebP, GIF, TIFF or BMP, or its bytes;
* an array ``(height, width)`` or ``(height, width, channels)``, or many of one size:
  ``(rows, height, width)`` or ``(rows, height, width, channels)``; 1 channel is grey, 3 are
  colour, a last one of 2 or 4 is the opacity; uint8, or other whole numbers of 0..255. Where
  the model takes colour, 3 or 4 rows of ``(height, width)`` are refused: channels come last;
* a ``PIL.Image.Image``;
* the path or URI of a Parquet file or a folder of them, with a column ``image`` as in the data
  of a study: an image per row.
"""

_NO_PIXELS = "pixels that are not whole numbers of 0..255"
_NOT_PLAIN = frozenset({errno.EINVAL, errno.ENXIO})
"""What `open_plain` says of a pipe or a device, and of a socket."""
_PARQUET_MAGIC = b"PAR1"
_MOST_CHANNELS = 4
_NO_LISTS = (Mapping, IOBase)
"""What can be iterated over without being a list of images: names, lines of a file."""
_NO_NUMBERS = "OSU"
"""Kinds of arrays whose elements are bytes, texts or other objects: a list of images."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedImage:
    """One image as a model takes it, and what it was."""

    place: str
    """Where it stood among what was given, for messages."""

    height: int
    """Pixels of the original, as stored."""

    width: int

    pixels: NDArray[np.uint8]
    """Shape ``(height, width, channels)`` of the model."""


def preprocess(
    images: Images,
    *,
    image_shape: tuple[int, int, int],
    depth: int = 16,
    makes_grey: bool = False,
) -> NDArray[np.uint8]:
    """Return images as a model takes them, ``(rows, *image_shape)``, 0..255.

    Args:
        images: See ``Images``.
        image_shape: Height, width and channels (1 or 3) that the model takes.
        depth: Bits that images of more than 8 bits use, as `ModelSignature.depth`.
        makes_grey: Whether colour images become grey where the model takes grey ones.

    Raises:
        InputError: Naming the image and what is wrong with it.

    Example:
        >>> preprocess(np.zeros((480, 640, 3), np.uint8), image_shape=(64, 64, 3)).shape
        (1, 64, 64, 3)
    """
    rule = image_rule(image_shape, depth=depth, makes_grey=makes_grey)
    prepared = [image.pixels for image in prepare_each(images, rule)]
    return np.stack(prepared) if prepared else np.zeros((0, *image_shape), np.uint8)


def prepare_each(images: Images, rule: ImageRule) -> Iterator[PreparedImage]:
    """Yield every image as `preprocess` returns it, in order, holding few at a time.

    Raises InputError at the first image that cannot be used, naming it.
    """
    for place, image in _each(images, "", rule):
        try:
            with bombs_are_errors():
                height, width, pixels = _prepared(image, rule)
        except ImageProblem as problem:
            raise InputError(f"{place} needs to be usable, got {problem}") from problem
        yield PreparedImage(place=place, height=height, width=width, pixels=pixels)


def image_rule(
    image_shape: tuple[int, int, int], *, depth: int = 16, makes_grey: bool = False
) -> ImageRule:
    """Return what every image becomes; the arguments are those of `preprocess`."""
    sides = plain(image_shape)
    is_shape = isinstance(sides, list | tuple) and [type(side) for side in sides] == [int] * 3
    if not is_shape or min(sides) < 1 or sides[2] not in (1, 3):
        rule = "image_shape needs (height, width, channels), whole numbers, 1 or 3 channels"
        raise InputError(f"{rule}, got {image_shape!r}")
    height, width, channels = sides
    return ImageRule(
        height=height,
        width=width,
        channels=3 if channels == 3 else 1,
        is_resized=True,
        is_made_grey=makes_grey,
        depth=depth,
    )


def _prepared(image: Any, rule: ImageRule) -> tuple[int, int, NDArray[np.uint8]]:
    """Return height and width of one image, and what the rule makes of it."""
    if image is None or isinstance(image, bytes | ImageFile):
        data = encoded_bytes(image)
        header = read_header(data)
        return header.height, header.width, decode_image(data, rule)
    if isinstance(image, Image.Image):
        return image.height, image.width, fit_image(image, rule)
    pixels = _bytes_of_pixels(image)
    return pixels.shape[0], pixels.shape[1], fit_pixels(pixels, rule)


def _each(images: Any, place: str, rule: ImageRule) -> Iterator[tuple[str, Any]]:
    """Yield every image, as bytes, a picture or an array of one, with its place in words."""
    if hasattr(images, "as_py"):  # one of Arrow's scalars, such as a row of a column has
        images = images.as_py()
    if isinstance(images, str | PathLike):
        yield from _at_path(os.fspath(images), place)
    elif isinstance(images, bytes | bytearray | memoryview):
        yield place or "image", bytes(images)
    elif isinstance(images, Image.Image):
        yield place or "image", images
    elif hasattr(images, "__array__"):
        yield from _in_array(np.asarray(images), place, rule)
    elif isinstance(images, Iterable) and not isinstance(images, _NO_LISTS) and not place:
        for index, image in enumerate(images):
            yield from _each(image, f"image {index}", rule)
    else:
        raise InputError(
            f"{place or 'images'} needs a path, bytes of {FORMAT_WORDS}, an array or a PIL image, "
            f"got {type(images).__name__}"
        )


def _in_array(array: NDArray[Any], place: str, rule: ImageRule) -> Iterator[tuple[str, Any]]:
    is_list = array.dtype.kind in _NO_NUMBERS
    if is_list and array.ndim < 2:
        yield from _each(array.tolist(), place, rule)
    elif array.ndim == 2 or (array.ndim == 3 and array.shape[2] <= _MOST_CHANNELS):
        yield place or "image", array
    elif array.ndim == 3 and rule.channels == 3 and array.shape[0] in (3, _MOST_CHANNELS):
        raise InputError(
            f"{place or 'images'} needs the channels last, (height, width, channels), got shape "
            f"{array.shape}; {array.shape[0]} grey images are a list of (height, width)"
        )
    elif array.ndim in (3, 4):
        before = f"{place}, " if place else ""
        yield from ((f"{before}image {index}", one) for index, one in enumerate(array))
    else:
        raise InputError(
            f"{place or 'images'} needs an array (height, width, channels), (height, width) or "
            f"many of them, got shape {array.shape}"
        )


def _at_path(path: str, place: str) -> Iterator[tuple[str, Any]]:
    """Yield the image in a file, or the images in a data set."""
    who = f"{place} ({path!r})" if place else f"image {path!r}"
    data = None if "://" in path else _read(path, who)
    if data is not None:
        yield who, data
    else:
        yield from _in_data_set(path)


def _read(path: str, who: str) -> bytes | None:
    """Return a file's content; None if it is a folder or a Parquet file."""
    try:
        with open(path, "rb", opener=partial(open_plain, follow=True)) as file:
            first = file.read(len(_PARQUET_MAGIC))
            return None if first == _PARQUET_MAGIC else first + file.read()
    except IsADirectoryError:
        return None
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in _NOT_PLAIN:
            raise InputError(f"{who} needs a file or a folder, got neither") from error
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{who} needs a file that can be read, got: {reason}") from error


def _in_data_set(uri: str) -> Iterator[tuple[str, Any]]:
    source = Source(uri)
    problems = Problems(f"data {uri!r}", source.place)
    column = image_column(source.schema, problems)
    problems.refuse_any()
    if column is not None:
        for start, images in column.images(source):
            for row, image in enumerate(images, start):
                yield f"image in {source.place(row)} of data {uri!r}", image


def _bytes_of_pixels(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the pixels of one image as ``(h, w, c)`` uint8.

    Only what cannot be misread is taken: pixels of 0..1 would be a black image, and the upper
    half of 16 bits cannot be told from a lower one.
    """
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or not 1 <= array.shape[2] <= _MOST_CHANNELS:
        raise ImageProblem(f"an array of shape {array.shape} where (h, w) or (h, w, 1 to 4) fits")
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "iuf":
        raise ImageProblem(f"{_NO_PIXELS}: {array.dtype}")
    if not array.size:
        return np.zeros(array.shape, np.uint8)
    low, high = float(array.min()), float(array.max())
    is_real, is_share = array.dtype.kind == "f", low >= 0.0 and 0.0 < high <= 1.0
    if not (low >= 0.0 and high <= 255.0) or (is_real and (is_share or (array % 1).any())):
        cure = _cure(low, high, is_real=is_real)
        raise ImageProblem(f"{_NO_PIXELS}: {array.dtype} from {low:g} to {high:g}{cure}")
    return array.astype(np.uint8)


def _cure(low: float, high: float, *, is_real: bool) -> str:
    """Return how values in a range become pixels of 0..255; empty where that cannot be told."""
    if not is_real:
        return "; of 16 bits give the upper 8: (pixels >> 8)" if low >= 0.0 else ""
    if low >= 0.0 and high <= 1.0:
        return "; multiply fractions by 255 and round them"
    return "; round them" if low >= 0.0 and high <= 255.0 else ""
