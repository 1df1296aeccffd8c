"""One image becomes pixels: header, colour, size; nothing here knows of files or rows.

Pixels are taken as they are stored: an EXIF orientation is ignored, because box labels
describe the stored pixels. Transparent parts become black; a palette is colour; of pixels of
more than 8 bits the upper 8 of those that the set uses are kept.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from trainables.data.parquet import Source
from trainables.data.request import IMAGE_COLUMN, DataRequest
from trainables.spec.problems import Problems

LARGEST_PIXELS = 50_000_000
"""An image whose header announces more is not decoded."""

FORMATS = ("PNG", "JPEG")
FORMAT_WORDS = "PNG or JPEG"
_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F"})
_DEEP_MODES = frozenset({"I", "I;16", "I;16B", "I;16L", "I;16N"})

ColourMode = Literal["L", "RGB"]


class ImageProblem(Exception):
    """Why an image cannot be used; the text ends in a row's message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What an image says of itself before it is decoded."""

    height: int
    width: int
    is_grey: bool
    is_deep: bool = False
    """Whether it has more than 8 bits a pixel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRule:
    """What every image of a set becomes."""

    height: int
    width: int
    channels: Literal[1, 3]
    is_resized: bool
    """Whether images of another size are resized (bilinear, antialiased, the aspect not kept)
    or refused."""

    is_made_grey: bool = False
    """Whether a colour image becomes grey where the set is, or is refused."""

    depth: int = 16
    """Bits that images of more than 8 bits really use: the upper 8 of these are kept."""


@contextmanager
def bombs_are_errors() -> Iterator[None]:
    """Make Pillow's warning about huge images an error; enter it once, outside of threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def read_header(data: bytes | None) -> Header:
    """Return the header of a PNG or JPEG without decoding its pixels.

    Raises:
        ImageProblem: If it is none of these, or announces more than ``LARGEST_PIXELS``.
    """
    with _problems(), _open(data) as image:
        return Header(
            height=image.height,
            width=image.width,
            is_grey=image.mode in _GREY_MODES,
            is_deep=image.mode in _DEEP_MODES,
        )


def decode_image(data: bytes | None, rule: ImageRule) -> NDArray[np.uint8]:
    """Return the pixels of a PNG or JPEG, ``(height, width, channels)``.

    Raises:
        ImageProblem: If it cannot be decoded completely, or does not fit the rule.
    """
    with _problems():
        _verify(data)
        with _open(data) as image:
            return fit_image(image, rule)


def fit_image(image: Image.Image, rule: ImageRule) -> NDArray[np.uint8]:
    """Return the pixels of an open image, ``(height, width, channels)``.

    Raises:
        ImageProblem: If it cannot be decoded completely, or does not fit the rule.
    """
    with _problems():
        if rule.channels == 1 and image.mode not in _GREY_MODES and not rule.is_made_grey:
            raise ImageProblem(f"a colour image (mode {image.mode}) in a grey set")
        _check_size(image.height, image.width, rule)
        image.load()
        plain = _as_mode(image, "L" if rule.channels == 1 else "RGB", rule.depth)
    if plain.size != (rule.width, rule.height):
        plain = plain.resize((rule.width, rule.height), Image.Resampling.BILINEAR)
    return np.asarray(plain, dtype=np.uint8).reshape(rule.height, rule.width, rule.channels)


def fit_pixels(pixels: NDArray[np.uint8], rule: ImageRule) -> NDArray[np.uint8]:
    """Return raw pixels ``(h, w, c)`` as `fit_image` returns those of an image.

    Args:
        pixels: 1 channel is grey, 3 are colour; a last one of 2 or 4 is the opacity.
        rule: What they become.

    Raises:
        ImageProblem: If they do not fit the rule.
    """
    if pixels.shape == (rule.height, rule.width, rule.channels):
        return pixels
    return fit_image(Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels), rule)


def _check_size(height: int, width: int, rule: ImageRule) -> None:
    if not height or not width:
        raise ImageProblem(f"an image of {height}x{width} pixels")
    if not rule.is_resized and (height, width) != (rule.height, rule.width):
        raise ImageProblem(
            f"an image of {height}x{width} pixels where the others have "
            f"{rule.height}x{rule.width}: set image_size: [height, width] to resize"
        )


def _open(data: bytes | None) -> Image.Image:
    if not data:
        raise ImageProblem("no image" if data is None else "an image of 0 bytes")
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    if image.width * image.height > LARGEST_PIXELS:
        raise ImageProblem(
            f"an image of {image.height}x{image.width} pixels, more than {LARGEST_PIXELS}"
        )
    return image


def _verify(data: bytes | None) -> None:
    """Check the checksums that a PNG has; Pillow does not look at them while decoding."""
    with _open(data) as image:
        if image.format == "PNG":
            image.verify()


def deep_bits(image: bytes) -> int:
    """Return how many bits the brightest pixel of an image takes."""
    with _problems(), _open(image) as opened:
        return int(np.asarray(opened).max(initial=0)).bit_length()


def _as_mode(image: Image.Image, mode: ColourMode, depth: int) -> Image.Image:
    if image.mode == "F":
        raise ImageProblem("an image of real numbers: write it with 8 or 16 bits a pixel")
    if image.mode in _DEEP_MODES:
        upper = np.clip(np.asarray(image, dtype=np.int64), 0, 2**depth - 1) >> (depth - 8)
        image = Image.fromarray(upper.astype(np.uint8))
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        black = Image.new("RGBA", opaque.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, opaque)
    return image if image.mode == mode else image.convert(mode)


@contextmanager
def _problems() -> Iterator[None]:
    """Turn whatever a decoder raises on hostile bytes into an ``ImageProblem``."""
    try:
        yield
    except ImageProblem:
        raise
    except UnidentifiedImageError:
        raise ImageProblem("bytes that are neither a PNG nor a JPEG") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageProblem(f"an image of more than {LARGEST_PIXELS} pixels") from None
    except Exception as error:  # Pillow's plug-ins raise OSError, SyntaxError, struct.error, ...
        reason = (str(error).strip().splitlines() or [""])[0][:100]
        raise ImageProblem(f"an undecodable image ({reason or type(error).__name__})") from error


HEADER_ROWS = 256
"""Images whose headers decided size and colour of a set by the rules of version 1."""

_METADATA = ("height", "width", "channels")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageColumn:
    """How a set stores its images."""

    field: str | None = None
    """The struct field that holds the bytes; None: the column itself does."""

    shape: tuple[int, int, int] | None = None
    """Height, width, channels of raw pixels; None: PNG or JPEG bytes."""

    def images(self, source: Source) -> Iterator[tuple[int, list[Any]]]:
        """Yield ``(first row, images)``: PNG or JPEG bytes, raw pixels ``(h, w, c)`` or None."""
        for start, array in source.batches(IMAGE_COLUMN, field=self.field):
            yield start, array.to_pylist() if self.shape is None else _pixels(array, self.shape)

    def header(self, image: Any) -> Header:
        """Return the header of one image of ``images``."""
        if self.shape is None:
            return read_header(image)
        height, width, channels = self.shape
        return Header(height=height, width=width, is_grey=channels == 1)

    def decode(self, image: Any, rule: ImageRule) -> NDArray[np.uint8]:
        """Return the pixels of one image of ``images`` as the rule says."""
        if self.shape is None:
            return decode_image(image, rule)
        if image is None:
            raise ImageProblem("no image")
        return fit_pixels(image, rule)


def image_column(schema: Any, problems: Problems) -> ImageColumn | None:
    """Return how the ``image`` column stores images; None after a problem."""
    if IMAGE_COLUMN not in schema.names:
        problems.note(
            f"images need a column {IMAGE_COLUMN!r}, got the columns {sorted(schema.names)}"
        )
        return None
    column = schema.field(IMAGE_COLUMN)
    if _is_bytes(column.type):
        return ImageColumn()
    if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
        if _is_bytes(column.type.field("bytes").type):
            return ImageColumn(field="bytes")
    elif pa.types.is_fixed_size_list(column.type) and column.type.value_type == pa.uint8():
        return _raw_column(column, problems)
    problems.note(
        f"column {IMAGE_COLUMN!r} needs PNG or JPEG bytes, a struct {{bytes, path}} or a "
        f"fixed-size list of uint8, got type {column.type}"
    )
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """What all images of a set say of themselves."""

    sizes: NDArray[np.int64]
    """Shape ``(rows, 2)``: height and width, 0 where no header can be read."""

    is_grey: NDArray[np.bool_]
    is_deep: NDArray[np.bool_]
    reasons: dict[int, str]
    """By row: why its header cannot be read."""

    def first(self, num: int) -> "Headers":
        """Return those of the first rows."""
        reasons = {row: reason for row, reason in self.reasons.items() if row < num}
        return Headers(
            sizes=self.sizes[:num],
            is_grey=self.is_grey[:num],
            is_deep=self.is_deep[:num],
            reasons=reasons,
        )


def read_headers(source: Source, column: ImageColumn) -> Headers:
    """Return what all images of a set say of themselves; nothing is decoded."""
    sizes = np.zeros((source.num_rows, 2), dtype=np.int64)
    is_grey, is_deep = np.ones(len(sizes), dtype=bool), np.zeros(len(sizes), dtype=bool)
    reasons: dict[int, str] = {}
    if column.shape is not None:  # raw pixels: all are alike, and a missing one is told later
        sizes[:] = column.shape[:2]
        is_grey[:] = column.shape[2] == 1
        return Headers(sizes=sizes, is_grey=is_grey, is_deep=is_deep, reasons=reasons)
    with bombs_are_errors():
        for start, images in column.images(source):
            for row, image in enumerate(images, start):
                try:
                    header = column.header(image)
                except ImageProblem as problem:
                    reasons[row] = str(problem)
                else:
                    sizes[row] = header.height, header.width
                    is_grey[row], is_deep[row] = header.is_grey, header.is_deep
    return Headers(sizes=sizes, is_grey=is_grey, is_deep=is_deep, reasons=reasons)


def choose_rule(
    source: Source, headers: Headers, request: DataRequest, problems: Problems
) -> ImageRule | None:
    """Return what every image becomes; None if that cannot be told.

    Where no size is asked for all need to have one. Where no colour is, one colour image makes
    the set a colour one. Images without a readable header do not count.
    """
    if request.rules == 1:
        headers = headers.first(HEADER_ROWS)
    is_known: NDArray[np.bool_] = np.asarray(headers.sizes.all(axis=1))
    if not is_known.any():
        first = next(iter(headers.reasons.items()), None)
        reason = f": {first[1]} in {source.place(first[0])}" if first else ""
        problems.note(f"images need to be {FORMAT_WORDS}, got none with a readable header{reason}")
        return None
    sizes = np.unique(headers.sizes[is_known], axis=0)
    if request.image_size is None and len(sizes) > 1:
        problems.note(_different_sizes(source, headers.sizes, is_known))
        return None
    height, width = request.image_size or (int(sizes[0, 0]), int(sizes[0, 1]))
    is_grey = bool(headers.is_grey[is_known].all())
    return ImageRule(
        height=height,
        width=width,
        channels=request.channels or (1 if is_grey else 3),
        is_resized=request.image_size is not None,
        is_made_grey=request.channels == 1 and not is_grey,
    )


def _is_bytes(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _raw_column(column: Any, problems: Problems) -> ImageColumn | None:
    metadata = {k.decode(): v.decode(errors="replace") for k, v in (column.metadata or {}).items()}
    given = [metadata.get(name, "") for name in _METADATA]
    sides = [int(text) if text.isascii() and text.isdigit() else 0 for text in given]
    height, width, channels = sides
    length = column.type.list_size
    if channels in (1, 3) and height * width * channels == length and length:
        return ImageColumn(shape=(height, width, channels))
    problems.note(
        f"column {IMAGE_COLUMN!r} (a list of {length} uint8) needs height, width and channels "
        f"(1 or 3) in its field metadata whose product is {length}, got {dict(metadata)}"
    )
    return None


def _pixels(array: Any, shape: tuple[int, int, int]) -> list[NDArray[np.uint8] | None]:
    flat = array.values.slice(
        array.offset * array.type.list_size, len(array) * array.type.list_size
    )
    values = flat.fill_null(0).to_numpy(zero_copy_only=False).reshape(len(array), *shape)
    absent = array.is_null().to_numpy(zero_copy_only=False)
    if flat.null_count:
        missing = flat.is_null().to_numpy(zero_copy_only=False).reshape(len(array), -1)
        absent = absent | missing.any(axis=1)
    return [None if gone else image for gone, image in zip(absent, values, strict=True)]


def _different_sizes(source: Source, sizes: NDArray[np.int64], is_known: NDArray[np.bool_]) -> str:
    distinct, counts = np.unique(sizes[is_known], axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    told = []
    for height, width in distinct[order[:4]].tolist():
        rows = np.flatnonzero((sizes == (height, width)).all(axis=1))
        told.append(f"{height}x{width} ({len(rows)} rows, first {source.place(int(rows[0]))})")
    return (
        f"images need one size, got {len(distinct)} sizes (height x width): {', '.join(told)}"
        f"{', ...' if len(distinct) > len(told) else ''}; "
        "set image_size: [height, width] to resize them"
    )
