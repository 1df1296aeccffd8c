"""One image becomes pixels: header, colour, size; nothing here knows of files or rows.

Pixels are taken as they are stored: an EXIF orientation is ignored, because box labels
describe the stored pixels. Transparent parts become black. 16-bit grey keeps its upper 8 bits.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

LARGEST_PIXELS = 50_000_000
"""An image whose header announces more is not decoded."""

FORMATS = ("PNG", "JPEG")
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRule:
    """What every image of a set becomes."""

    height: int
    width: int
    channels: Literal[1, 3]
    is_resized: bool
    """Whether images of another size are resized (bilinear, antialiased, the aspect not kept)
    or refused."""


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
        return Header(height=image.height, width=image.width, is_grey=image.mode in _GREY_MODES)


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
        if rule.channels == 1 and image.mode not in _GREY_MODES:
            raise ImageProblem(f"a colour image (mode {image.mode}) in a grey set")
        _check_size(image.height, image.width, rule)
        image.load()
        plain = _as_mode(image, "L" if rule.channels == 1 else "RGB")
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


def _as_mode(image: Image.Image, mode: ColourMode) -> Image.Image:
    if image.mode in _DEEP_MODES:
        upper = np.clip(np.asarray(image, dtype=np.int64), 0, 65_535) >> 8
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
