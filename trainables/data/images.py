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
from typing import IO, Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from trainables.data.image_files import ImageFile, UnreadableImage
from trainables.data.parquet import Source
from trainables.data.request import IMAGE_COLUMN, DataRequest
from trainables.data.schemas import image_parts
from trainables.spec.problems import Problems

LARGEST_PIXELS = 50_000_000
"""An image whose header announces more is not decoded."""

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP")
"""What is decoded, and nothing else that Pillow can; of several frames or pages the first."""

FORMAT_WORDS = "PNG, JPEG, WebP, GIF, TIFF or BMP"
_TURNED_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""By EXIF orientation: what undoes how Pillow turns an image of that."""
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
    """Whether it has more than 8 bits a pixel and channel."""

    is_cut: bool = False
    """Whether of those only the upper 8 of 16 can be had: Pillow drops the others."""


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
    """Make Pillow's warning about huge images an error; enter it once, outside of threads.

    What else it warns of, such as an odd tag of a TIFF, does not concern the pixels.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def read_header(data: bytes | IO[bytes] | None) -> Header:
    """Return the header of an encoded image without decoding its pixels.

    Raises:
        ImageProblem: If it is of no known format, or announces more than ``LARGEST_PIXELS``.
    """
    with _problems(), _open(data) as image:
        return Header(
            height=image.height,
            width=image.width,
            is_grey=image.mode in _GREY_MODES,
            is_deep=image.mode in _DEEP_MODES or _is_cut(image),
            is_cut=_is_cut(image),
        )


def decode_image(data: bytes | None, rule: ImageRule) -> NDArray[np.uint8]:
    """Return the pixels of an encoded image, ``(height, width, channels)``.

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


def _open(data: bytes | IO[bytes] | None) -> Image.Image:
    if not data:
        raise ImageProblem("no image" if data is None else "an image of 0 bytes")
    stream = io.BytesIO(data) if isinstance(data, bytes) else data
    image = Image.open(stream, formats=FORMATS)
    if image.width * image.height > LARGEST_PIXELS:
        raise ImageProblem(
            f"an image of {image.height}x{image.width} pixels, more than {LARGEST_PIXELS}"
        )
    return _as_stored(image) if isinstance(image, TiffImageFile) else image


def _as_stored(image: TiffImageFile) -> Image.Image:
    """Return a TIFF with its pixels in their stored order: Pillow turns it as it loads it."""
    turned = _TURNED_BACK.get(image.tag_v2.get(ExifTags.Base.Orientation, 1))
    return image if turned is None else image.transpose(turned)


def _verify(data: bytes | None) -> None:
    """Check the checksums that a PNG has; Pillow does not look at them while decoding."""
    with _open(data) as image:
        if image.format == "PNG":
            image.verify()


def deep_bits(image: bytes | None) -> int:
    """Return how many bits the brightest pixel takes; 0 for an image of 8 bits a channel."""
    with _problems(), _open(image) as opened:
        is_cut = _is_cut(opened)
        if not is_cut and opened.mode not in _DEEP_MODES:
            return 0
        bits = int(np.asarray(opened).max(initial=0)).bit_length()
        return bits + 8 if is_cut and bits else bits


def _is_cut(image: Image.Image) -> bool:
    """Tell whether Pillow drops the lower 8 of 16 bits of each channel."""
    raw_modes = [str(tile[3]) for tile in getattr(image, "tile", [])]
    return image.mode not in _DEEP_MODES and any(";16" in mode for mode in raw_modes)


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
    except UnreadableImage as error:
        raise ImageProblem(str(error)) from None
    except UnidentifiedImageError:
        raise ImageProblem(f"bytes that are no {FORMAT_WORDS}") from None
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

    fields: tuple[str, ...] = ()
    """The struct fields that are read, of ``bytes`` and ``path``; none: the column itself."""

    has_paths: bool = False
    """Whether the last of them, or the column, holds paths of files, read where it counts."""

    shape: tuple[int, int, int] | None = None
    """Height, width, channels of raw pixels; None: encoded images."""

    def images(self, source: Source) -> Iterator[tuple[int, list[Any]]]:
        """Yield ``(first row, images)``.

        Encoded images are bytes, or an `ImageFile`; raw pixels ``(h, w, c)``; None: no image.
        """
        for start, array in source.batches(IMAGE_COLUMN, fields=self.fields):
            if self.shape is None:
                yield start, self._encoded(source, start, array.to_pylist())
            else:
                yield start, _pixels(array, self.shape)

    def header(self, image: Any) -> Header:
        """Return the header of one image of ``images``."""
        if self.shape is not None:
            height, width, channels = self.shape
            return Header(height=height, width=width, is_grey=channels == 1)
        if not isinstance(image, ImageFile):
            return read_header(image)
        with _problems(), image.open() as file:
            return read_header(file)

    def decode(self, image: Any, rule: ImageRule) -> NDArray[np.uint8]:
        """Return the pixels of one image of ``images`` as the rule says."""
        if self.shape is None:
            return decode_image(encoded_bytes(image), rule)
        if image is None:
            raise ImageProblem("no image")
        return fit_pixels(image, rule)

    def _encoded(self, source: Source, start: int, rows: list[Any]) -> list[Any]:
        """Return the images of rows: their bytes, or the files that they name."""
        if not self.has_paths:
            return [row[self.fields[0]] if row and self.fields else row for row in rows]
        given = "a path but no bytes" if self.fields else "a path"
        images: list[Any] = []
        for number, row in enumerate(rows, start):
            data, path = (row.get("bytes"), row["path"]) if self.fields else (None, row)
            if data is None and path is not None:
                data = source.image_file(number, path, given=given)
            images.append(data)
        return images


def encoded_bytes(image: bytes | ImageFile | None) -> bytes | None:
    """Return the bytes of an encoded image, wherever they are.

    Raises:
        ImageProblem: If its file cannot be read.
    """
    with _problems():
        return image.read() if isinstance(image, ImageFile) else image


def image_column(schema: Any, problems: Problems) -> ImageColumn | None:
    """Return how the ``image`` column stores images; None after a problem."""
    if IMAGE_COLUMN not in schema.names:
        problems.note(
            f"images need a column {IMAGE_COLUMN!r}, got the columns {sorted(schema.names)}"
        )
        return None
    column = schema.field(IMAGE_COLUMN)
    parts = image_parts(schema)
    if parts is not None:
        return ImageColumn(fields=parts.fields, has_paths=parts.has_paths)
    if pa.types.is_fixed_size_list(column.type) and column.type.value_type == pa.uint8():
        return _raw_column(column, problems)
    problems.note(
        f"column {IMAGE_COLUMN!r} needs bytes of {FORMAT_WORDS}, a struct {{bytes, path}}, paths "
        f"of files or a fixed-size list of uint8, got type {column.type}"
    )
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Headers:
    """What all images of a set say of themselves."""

    sizes: NDArray[np.int64]
    """Shape ``(rows, 2)``: height and width, 0 where no header can be read."""

    is_grey: NDArray[np.bool_]
    is_deep: NDArray[np.bool_]
    is_cut: NDArray[np.bool_]
    reasons: dict[int, str]
    """By row: why its header cannot be read."""

    def first(self, num: int) -> "Headers":
        """Return those of the first rows."""
        reasons = {row: reason for row, reason in self.reasons.items() if row < num}
        return Headers(
            sizes=self.sizes[:num],
            is_grey=self.is_grey[:num],
            is_deep=self.is_deep[:num],
            is_cut=self.is_cut[:num],
            reasons=reasons,
        )


def read_headers(source: Source, column: ImageColumn) -> Headers:
    """Return what all images of a set say of themselves; nothing is decoded."""
    num_rows = source.num_rows
    sizes, reasons = np.zeros((num_rows, 2), dtype=np.int64), dict[int, str]()
    is_grey, is_deep, is_cut = (
        np.ones(num_rows, bool),
        np.zeros(num_rows, bool),
        np.zeros(num_rows, bool),
    )
    headers = Headers(
        sizes=sizes, is_grey=is_grey, is_deep=is_deep, is_cut=is_cut, reasons=reasons
    )
    if column.shape is not None:  # raw pixels: all are alike, and a missing one is told later
        sizes[:] = column.shape[:2]
        is_grey[:] = column.shape[2] == 1
        return headers
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
                    is_cut[row] = header.is_cut
    return headers


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
        reason = f": {source.place(first[0])} has {first[1]}" if first else ""
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
