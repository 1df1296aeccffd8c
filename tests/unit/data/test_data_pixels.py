"""Decoding in processes of their own: one image that ends its process costs that image."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from tests.support.data_sets import different, request, write
from trainables.data.check import check_dataset
from trainables.data.guarded import Readers
from trainables.data.pixels import _ask
from trainables.errors import InputError


def decode_or_die(images):
    if b"deadly" in images:
        os.abort()
    yield [image.decode() for image in images]


def png16(highest, height=8, width=8):
    """Return a colour PNG of 16 bits a channel; Pillow cannot write one."""
    pixels = np.random.default_rng(highest).integers(0, highest + 1, (height, width, 3))
    pixels[0, 0] = highest
    rows = b"".join(b"\0" + row.tobytes() for row in pixels.astype(">u2"))
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def test_an_image_that_ends_its_decoder_is_one_bad_image(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))  # where the function is

    found = _ask(Readers(), [b"a", b"deadly", b"c"], decode_or_die, ())

    assert found[::2] == ["a", "c"]
    assert found[1] == "an image cannot be read: the reader ended by signal SIGABRT"


def test_colour_of_fewer_than_16_bits_in_16_is_refused_and_not_cut(tmp_path):
    images = [*different(9, mode="RGB"), png16(4095)]

    with pytest.raises(InputError, match="16 bits in a set that uses 12 of them in row 9"):
        check_dataset(request(write(tmp_path / "a.parquet", image=images)))


def test_colour_of_16_bits_keeps_the_upper_8(tmp_path):
    images = [*different(9, mode="RGB"), png16(65535)]

    report = check_dataset(request(write(tmp_path / "a.parquet", image=images)))

    assert report.info.depth == 16
    assert report.notes == ("1 images of more than 8 bits use 16: the upper 8 of these are kept",)
