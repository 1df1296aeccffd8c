"""The bundled handwritten digits, each placed on a noisy canvas: a data set made in a second.

The digits are the 1,797 of the test part of "Optical Recognition of Handwritten Digits"
(E. Alpaydin and C. Kaynak, 1998, UCI, doi 10.24432/C50P49, CC BY 4.0); see ``assets/NOTICE``.
"""

import io
import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from trainables.data.request import SPLITS
from trainables.errors import InputError, StorageError
from trainables.storage.local import TEMPORARY, storage_errors

SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}
"""Of the rows and of the source digits; no source digit is in two splits."""

DEFAULT_PIXELS = (0.5625, 0.8125)
"""Smallest and largest digit as a fraction of the canvas: 18 to 26 pixels of 32."""

PAPER = (5.0, 40.0)
"""Darkest and lightest grey of the clouds behind a digit, of 255."""

INK = (200.0, 250.0)
"""Darkest and lightest full stroke."""

NOISE = (3.0, 10.0)
"""Smallest and largest standard deviation of a canvas's noise."""

FILE_NAME = "digits.parquet"
SMALLEST_NUM = 20
LARGEST_NUM = 1_000_000
SMALLEST_SIDE = 8
LARGEST_SIDE = 1024
_GROUP_ROWS = 1000
_INK_LEVELS = 16
_SCHEMA = pa.schema(
    [
        pa.field("image", pa.binary()),
        pa.field("c_output", pa.int64()),
        pa.field("r_output", pa.list_(pa.float32())),
        pa.field("split", pa.string()),
    ]
)

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDigit:
    """One handwritten digit, cut to its ink."""

    digit: int
    """0 to 9."""

    ink: Pixels
    """Shape ``(rows, columns)``, both at most 8; 0 (paper) to 255 (ink)."""


def write_digits(
    out: str | Path,
    *,
    num: int = 5000,
    image_size: int = 32,
    seed: int = 0,
    digit_pixels: tuple[int, int] | None = None,
) -> Path:
    """Write a data set of digits at random scale and position on noisy canvases.

    Columns: ``image`` (grey PNG), ``c_output`` (the digit), ``r_output`` (the tight box of its
    ink ``[y_min, x_min, y_max, x_max]`` as fractions), ``split`` (80 % train, 10 % validation,
    10 % test, which share no source digit; a source digit is used several times within its
    split). The same arguments give the same rows. A file of that name is replaced, whole or not
    at all.

    Args:
        out: A name that ends in ``.parquet``, or a folder that gets ``digits.parquet``.
        num: Images, 20 to 1,000,000.
        image_size: Pixels of each side, 8 to 1024.
        seed: At least 0.
        digit_pixels: Smallest and largest digit, inclusive: the pixels that the 8x8 source's
            side is enlarged to. By default 56 % to 81 % of the canvas.

    Returns:
        The path of the file.

    Raises:
        InputError: If an argument is outside of its range.
        StorageError: If the file cannot be written.

    Example:
        >>> path = write_digits("/tmp/twohead-digits", num=100, image_size=16)
        >>> path.name
        'digits.parquet'
    """
    low, high = digit_pixels or _default_pixels(image_size)
    _check(num=num, image_size=image_size, seed=seed, low=low, high=high)
    path = Path(out).expanduser()
    path = path if path.suffix == ".parquet" else path / FILE_NAME
    rows = _draw(num, image_size, seed, (low, high))
    schema = _SCHEMA.with_metadata(_attribution())
    temporary = path.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
    try:
        with storage_errors(f"write {str(path)!r}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(temporary, schema, rows)
            temporary.replace(path)
    except FileNotFoundError as error:
        raise StorageError(f"cannot write {str(path)!r}: its folder is gone") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path


@cache
def _source_digits() -> tuple[SourceDigit, ...]:
    """Return the 1,797 bundled digits in the order of their file, each cut to its ink."""
    table = _asset()
    pixels = table.column("pixels").combine_chunks().flatten().to_numpy().reshape(-1, 8, 8)
    return tuple(
        SourceDigit(digit=int(digit), ink=_cut(image))
        for digit, image in zip(table.column("digit").to_pylist(), pixels, strict=True)
    )


def _asset() -> Any:
    data = resources.files("trainables").joinpath("assets", FILE_NAME).read_bytes()
    return pq.read_table(pa.BufferReader(data), page_checksum_verification=True)


def _attribution() -> dict[bytes, bytes]:
    return dict(_asset().schema.metadata)


def _cut(image: Pixels) -> Pixels:
    rows = np.flatnonzero(image.any(axis=1))
    columns = np.flatnonzero(image.any(axis=0))
    ink = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.uint16)
    return (ink * 255 // _INK_LEVELS).astype(np.uint8)


def _default_pixels(image_size: int) -> tuple[int, int]:
    low, high = DEFAULT_PIXELS
    return round(low * image_size), round(high * image_size)


def _check(*, num: int, image_size: int, seed: int, low: int, high: int) -> None:
    problems = []
    if not SMALLEST_NUM <= num <= LARGEST_NUM:
        problems.append(f"digits need num from {SMALLEST_NUM} to {LARGEST_NUM}, got {num}")
    if not SMALLEST_SIDE <= image_size <= LARGEST_SIDE:
        problems.append(
            f"digits need image_size from {SMALLEST_SIDE} to {LARGEST_SIDE}, got {image_size}"
        )
    if not 0 <= seed < 2**64:
        problems.append(f"digits need a seed in [0, 2**64), got {seed}")
    if not 2 <= low <= high <= image_size:
        problems.append(
            f"digits need digit_pixels with 2 <= smallest <= largest <= {image_size} "
            f"(image_size), got {[low, high]}"
        )
    if problems:
        raise InputError.of(problems)


Row = tuple[bytes, int, list[float], str]


def _draw(num: int, image_size: int, seed: int, pixels: tuple[int, int]) -> Iterator[Row]:
    """Yield rows in a random order of splits."""
    rng = np.random.Generator(np.random.Philox(key=seed))
    sources = {split: _endless(rng, group) for split, group in _groups(rng).items()}
    counts = _counts(num)
    splits = np.repeat(np.arange(len(SPLITS)), [counts[split] for split in SPLITS])
    for place in rng.permutation(splits):
        split = SPLITS[place]
        source = next(sources[split])
        canvas, box = _place(rng, source.ink, image_size, pixels)
        yield _png(canvas), source.digit, box, split


def _counts(num: int) -> dict[str, int]:
    held_out = {split: round(SHARES[split] * num) for split in SPLITS[1:]}
    return {"train": num - sum(held_out.values()), **held_out}


def _groups(rng: np.random.Generator) -> dict[str, list[SourceDigit]]:
    """Deal the source digits out to the splits, each digit in the same shares."""
    groups: dict[str, list[SourceDigit]] = {split: [] for split in SPLITS}
    for digit in range(10):
        same = [source for source in _source_digits() if source.digit == digit]
        order = [same[place] for place in rng.permutation(len(same))]
        first = round(SHARES["train"] * len(order))
        second = first + round(SHARES["validation"] * len(order))
        groups["train"] += order[:first]
        groups["validation"] += order[first:second]
        groups["test"] += order[second:]
    return groups


def _endless(rng: np.random.Generator, sources: list[SourceDigit]) -> Iterator[SourceDigit]:
    """Yield every source once, in a random order, then all again in another."""
    while True:
        for place in rng.permutation(len(sources)):
            yield sources[place]


def _place(
    rng: np.random.Generator, ink: Pixels, size: int, pixels: tuple[int, int]
) -> tuple[Pixels, list[float]]:
    """Return a canvas ``(size, size)`` with the digit on it, and the digit's box."""
    side = int(rng.integers(pixels[0], pixels[1], endpoint=True))
    height, width = (max(2, round(side * count / 8)) for count in ink.shape)
    top = int(rng.integers(0, size - height, endpoint=True))
    left = int(rng.integers(0, size - width, endpoint=True))
    enlarged = Image.fromarray(ink).resize((width, height), Image.Resampling.BICUBIC)
    canvas = _background(rng, size)
    cover = np.asarray(enlarged, dtype=np.float64) / 255.0
    spot = canvas[top : top + height, left : left + width]
    spot += cover * (rng.uniform(*INK) - spot)
    canvas += rng.normal(0.0, rng.uniform(*NOISE), canvas.shape)
    box = [top / size, left / size, (top + height) / size, (left + width) / size]
    return np.clip(canvas, 0.0, 255.0).round().astype(np.uint8), box


def _background(rng: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Return dark, softly clouded paper ``(size, size)``: 4x4 random greys, enlarged."""
    coarse = rng.uniform(*PAPER, (4, 4)).astype(np.uint8)
    clouds = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(clouds, dtype=np.float64).copy()


def _png(canvas: Pixels) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(canvas).save(stream, format="PNG", compress_level=6)
    return stream.getvalue()


def _write(path: Path, schema: Any, rows: Iterator[Row]) -> None:
    with path.open("xb") as file:
        with pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True) as out:
            group: list[Row] = []
            for row in rows:
                group.append(row)
                if len(group) == _GROUP_ROWS:
                    out.write_table(_table(group, schema))
                    group.clear()
            if group:
                out.write_table(_table(group, schema))
        file.flush()
        os.fsync(file.fileno())


def _table(rows: list[Row], schema: Any) -> Any:
    columns = [
        pa.array(values, kind)
        for values, kind in zip(zip(*rows, strict=True), schema.types, strict=True)
    ]
    return pa.table(columns, schema=schema)
