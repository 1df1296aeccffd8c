import io
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from tests.support.data_sets import encoded
from trainables.data.images import (
    FORMATS,
    ImageProblem,
    ImageRule,
    bombs_are_errors,
    decode_image,
    fit_pixels,
    read_header,
)


def rule(channels=1, height=8, width=8, is_resized=False):
    return ImageRule(height=height, width=width, channels=channels, is_resized=is_resized)


def png_of(image):
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()


def bomb(side):
    """Return a PNG of about a hundred bytes whose header announces ``side`` x ``side``."""
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("mode", "channels", "value", "expected"),
    [
        pytest.param("L", 1, 7, [7], id="grey"),
        pytest.param("1", 1, 1, [255], id="bilevel"),
        pytest.param("I;16", 1, 0x1234, [0x12], id="deep_grey_keeps_its_upper_byte"),
        pytest.param("L", 3, 7, [7, 7, 7], id="grey_in_a_colour_set"),
        pytest.param("RGB", 3, 9, [9, 9, 9], id="colour"),
        pytest.param("P", 3, 0, [0, 0, 0], id="palette"),
        pytest.param("RGBA", 3, 128, [64, 64, 64], id="half_transparent_on_black"),
        pytest.param("LA", 1, 128, [64], id="half_transparent_grey_on_black"),
    ],
)
def test_every_mode_becomes_grey_or_colour(mode, channels, value, expected):
    pixels = decode_image(encoded(mode=mode, value=value), rule(channels))

    assert pixels.shape == (8, 8, channels)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels[0, 0].astype(int) - expected).max() <= 1


def test_cmyk_jpeg_becomes_colour():
    pixels = decode_image(encoded(mode="CMYK", value=0, form="JPEG"), rule(3))

    assert pixels.min() > 250


@pytest.mark.parametrize(
    ("height", "width"),
    [pytest.param(17, 17, id="17x17"), pytest.param(5, 9, id="not_square")],
)
def test_pixels_keep_their_place_and_value(height, width):
    drawn = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)

    pixels = decode_image(png_of(Image.fromarray(drawn)), rule(3, height, width))

    assert np.array_equal(pixels, drawn)


def test_an_image_is_resized_with_antialiasing():
    drawn = np.zeros((16, 16), dtype=np.uint8)
    drawn[::2] = 200

    pixels = decode_image(png_of(Image.fromarray(drawn)), rule(height=4, width=2, is_resized=True))

    assert pixels.shape == (4, 2, 1)
    assert np.abs(pixels.astype(int) - 100).max() <= 15


def test_an_exif_orientation_is_ignored():
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    Image.new("L", (9, 5)).save(stream, format="JPEG", exif=exif)

    header = read_header(stream.getvalue())

    assert (header.height, header.width) == (5, 9)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_every_format_is_decoded(form, mode):
    data = encoded(5, 9, mode, value=100, form=form)

    pixels = decode_image(data, rule(3, 5, 9))

    header = read_header(data)
    assert (header.height, header.width) == (5, 9)
    assert np.abs(pixels.astype(int) - 100).max() <= 2


@pytest.mark.parametrize("form", ["GIF", "TIFF", "WEBP", "PNG"])
def test_of_several_frames_or_pages_the_first_is_taken(form):
    frames = [Image.new("RGB", (8, 8), (value,) * 3) for value in (50, 150, 250)]
    stream = io.BytesIO()
    frames[0].save(stream, format=form, save_all=True, append_images=frames[1:], lossless=True)

    pixels = decode_image(stream.getvalue(), rule(3))

    assert np.abs(pixels.astype(int) - 50).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["TIFF", "JPEG", "WEBP", "PNG"])
def test_an_orientation_never_turns_the_pixels(form, orientation):
    drawn = np.random.default_rng(0).integers(0, 256, (5, 9, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    plain, turned = io.BytesIO(), io.BytesIO()
    Image.fromarray(drawn).save(plain, format=form)
    Image.fromarray(drawn).save(turned, format=form, exif=exif)

    header = read_header(turned.getvalue())

    assert (header.height, header.width) == (5, 9)
    assert np.array_equal(
        decode_image(turned.getvalue(), rule(3, 5, 9)),
        decode_image(plain.getvalue(), rule(3, 5, 9)),
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(None, "no image", id="null"),
        pytest.param(b"", "0 bytes", id="empty"),
        pytest.param(b"not an image", "bytes that are no PNG, JPEG, WebP", id="text"),
        pytest.param(
            encoded(form="PPM"), "bytes that are no PNG, JPEG, WebP", id="another_format"
        ),
        pytest.param(encoded()[:-30], "undecodable", id="cut_png"),
        pytest.param(encoded(8, 8, form="JPEG")[:-40], "undecodable", id="cut_jpeg"),
        pytest.param(encoded(mode="RGB"), "colour image", id="colour_in_a_grey_set"),
        pytest.param(encoded(9, 9), "9x9 pixels where the others have 8x8", id="other_size"),
        pytest.param(bomb(8000), "8000x8000 pixels, more than 50000000", id="over_the_limit"),
        pytest.param(bomb(10_000), "more than 50000000", id="pillow_warns"),
        pytest.param(bomb(60_000), "more than 50000000", id="pillow_refuses"),
    ],
)
def test_an_image_that_cannot_be_used_says_why(data, message):
    with bombs_are_errors(), pytest.raises(ImageProblem, match=message):
        decode_image(data, rule())


def test_an_odd_tag_of_a_tiff_is_no_matter():
    data = bytearray(encoded(form="TIFF"))
    data[113] = 203  # Pillow warns: "Tag data larger than file. Skipping tag ..."

    with bombs_are_errors():
        assert decode_image(bytes(data), rule()).shape == (8, 8, 1)


def test_a_png_with_a_flipped_bit_in_its_pixels_is_refused():
    noise = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    data = bytearray(png_of(Image.fromarray(noise)))
    data[data.index(b"IDAT") + 20] ^= 1

    with pytest.raises(ImageProblem, match="undecodable"):
        decode_image(bytes(data), rule())


@pytest.mark.parametrize("form", FORMATS)
def test_mutated_images_decode_or_say_why(form):
    data = encoded(8, 8, form=form)
    rng = np.random.default_rng(0)

    for _ in range(300):
        mutated = bytearray(data)
        for place in rng.integers(0, len(data), 3):
            mutated[place] = rng.integers(0, 256)
        try:
            with bombs_are_errors():
                pixels = decode_image(bytes(mutated), rule(3, is_resized=True))
        except ImageProblem:
            continue
        assert pixels.shape == (8, 8, 3)


def test_raw_pixels_are_resized_like_encoded_ones():
    pixels = np.full((16, 16, 1), 50, dtype=np.uint8)

    assert fit_pixels(pixels, rule(is_resized=True)).tolist() == [[[50]] * 8] * 8
    with pytest.raises(ImageProblem, match="set image_size"):
        fit_pixels(pixels, rule())


@pytest.mark.parametrize(
    ("given", "channels", "expected"),
    [
        pytest.param([7], 1, [7], id="grey"),
        pytest.param([7], 3, [7, 7, 7], id="grey_in_a_colour_set"),
        pytest.param([1, 2, 3], 3, [1, 2, 3], id="colour"),
        pytest.param([128, 128], 1, [64], id="half_transparent_grey_on_black"),
        pytest.param([128, 64, 0, 0], 3, [0, 0, 0], id="transparent_colour_on_black"),
    ],
)
def test_raw_pixels_become_grey_or_colour_like_encoded_ones(given, channels, expected):
    pixels = np.broadcast_to(np.array(given, np.uint8), (8, 8, len(given)))

    assert fit_pixels(pixels, rule(channels))[3, 4].tolist() == expected


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        pytest.param((8, 8, 3), "colour image", id="colour_in_a_grey_set"),
        pytest.param((0, 8, 1), "0x8 pixels", id="no_rows"),
    ],
)
def test_raw_pixels_that_cannot_be_used_say_why(shape, message):
    with pytest.raises(ImageProblem, match=message):
        fit_pixels(np.zeros(shape, np.uint8), rule(is_resized=True))
