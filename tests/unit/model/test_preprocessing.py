"""Every form of an image becomes the same pixels, and what cannot is named."""

import io
import os
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.support.data_sets import encoded, write
from tests.support.image_sets import png
from trainables.data.images import ImageRule, decode_image
from trainables.errors import InputError
from trainables.model.preprocessing import image_rule, prepare_each, preprocess

COLOUR, GREY = (8, 10, 3), (8, 10, 1)


def drawn(height=21, width=34, channels=3, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def trained_on(data, shape):
    """What a study with image_size makes of the bytes."""
    height, width, channels = shape
    return decode_image(
        data, ImageRule(height=height, width=width, channels=channels, is_resized=True)
    )


def as_path(array, folder):
    path = folder / "image.png"
    path.write_bytes(png(array))
    return path


def as_parquet(array, folder):
    pq.write_table(pa.table({"image": [png(array)]}), folder / "one.parquet")
    return str(folder / "one.parquet")


def as_hugging_face(array, folder):
    images = [{"bytes": png(array), "path": "a.png"}]
    (folder / "set").mkdir()
    pq.write_table(pa.table({"image": images}), folder / "set/part.parquet")
    return folder / "set"


FORMS = [
    pytest.param(as_path, id="path"),
    pytest.param(lambda array, folder: str(as_path(array, folder)), id="text_path"),
    pytest.param(lambda array, _: png(array), id="bytes"),
    pytest.param(lambda array, _: bytearray(png(array)), id="bytearray"),
    pytest.param(lambda array, _: array, id="array"),
    pytest.param(lambda array, _: array[None], id="batch"),
    pytest.param(lambda array, _: array.astype(np.float32), id="float_array"),
    pytest.param(lambda array, _: array.astype(np.int64), id="int_array"),
    pytest.param(lambda array, _: Image.fromarray(array), id="pil"),
    pytest.param(lambda array, _: [Image.fromarray(array)], id="list"),
    pytest.param(lambda array, _: (one for one in (png(array),)), id="generator"),
    pytest.param(lambda array, _: np.array([png(array)], dtype=object), id="object_array"),
    pytest.param(lambda array, _: pa.chunked_array([[png(array)]]), id="arrow_column"),
    pytest.param(lambda array, _: pa.scalar(png(array)), id="arrow_scalar"),
    pytest.param(lambda array, _: list(pa.array([png(array)])), id="arrow_scalars"),
    pytest.param(as_parquet, id="parquet"),
    pytest.param(lambda array, folder: f"file://{as_parquet(array, folder)}", id="uri"),
    pytest.param(as_hugging_face, id="folder_of_structs"),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "shape", [pytest.param(COLOUR, id="colour"), pytest.param(GREY, id="grey")]
)
def test_every_form_of_an_image_gives_the_pixels_that_a_study_trains_on(form, shape, tmp_path):
    array = drawn(channels=shape[2])

    pixels = preprocess(form(array, tmp_path), image_shape=shape)

    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, trained_on(png(array), shape)[None])


def test_a_mixed_list_keeps_its_order_and_each_image_its_own_size(tmp_path):
    arrays = [drawn(8, 10), drawn(30, 20, seed=1), drawn(5, 7, seed=2), drawn(9, 40, 1, seed=3)]
    mixed = [arrays[0], png(arrays[1]), as_path(arrays[2], tmp_path), Image.fromarray(arrays[3])]

    prepared = list(prepare_each(mixed, image_rule(COLOUR)))

    assert [(one.height, one.width) for one in prepared] == [(8, 10), (30, 20), (5, 7), (9, 40)]
    for one, array in zip(prepared, arrays, strict=True):
        assert np.array_equal(one.pixels, trained_on(png(array), COLOUR))
    assert [one.place for one in prepared] == [
        "image 0",
        "image 1",
        f"image 2 ({str(tmp_path / 'image.png')!r})",
        "image 3",
    ]


@pytest.mark.parametrize(
    ("shape", "number"),
    [
        pytest.param((6, 5), 1, id="one_grey"),
        pytest.param((6, 5, 1), 1, id="one_grey_with_its_channel"),
        pytest.param((6, 5, 3), 1, id="one_colour"),
        pytest.param((7, 6, 5), 7, id="many_grey"),
        pytest.param((7, 6, 5, 3), 7, id="many_colour"),
        pytest.param((0, 6, 5, 3), 0, id="none"),
    ],
)
def test_an_array_is_one_image_or_many(shape, number):
    assert preprocess(np.zeros(shape, np.uint8), image_shape=COLOUR).shape == (number, *COLOUR)


def test_no_images_give_no_rows():
    assert preprocess([], image_shape=GREY).shape == (0, *GREY)


def test_a_file_without_rows_gives_none(tmp_path):
    pq.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / "none.parquet")

    assert preprocess(tmp_path / "none.parquet", image_shape=GREY).shape == (0, *GREY)


def test_a_large_file_is_read_a_few_rows_at_a_time(tmp_path, monkeypatch):
    data = write(tmp_path / "many.parquet", rows=200)
    made = []
    monkeypatch.setattr(
        "trainables.model.preprocessing.decode_image", lambda *a: made.append(a) or 0
    )

    first = next(prepare_each(data, image_rule(GREY)))

    assert first.place == f"image in row 0 of data {data!r}"
    assert len(made) == 1


@pytest.mark.parametrize(
    ("images", "shape", "message"),
    [
        pytest.param(b"text", COLOUR, "image needs to be usable, got bytes that are", id="bytes"),
        pytest.param([encoded(), None], COLOUR, "image 1 needs a path, bytes of PNG", id="none"),
        pytest.param(7, COLOUR, "images needs a path, bytes of PNG.* got int", id="number"),
        pytest.param({"image": b""}, COLOUR, "images needs a path.* got dict", id="mapping"),
        pytest.param([[encoded()]], COLOUR, "image 0 needs a path.* got list", id="nested"),
        pytest.param([encoded(), encoded()[:-30]], COLOUR, "image 1 .* undecodable", id="cut"),
        pytest.param(drawn(), GREY, r"colour image \(mode RGB\) in a grey set", id="array_colour"),
        pytest.param(encoded(mode="RGB"), GREY, "colour image", id="bytes_colour"),
        pytest.param(Image.new("P", (4, 4)), GREY, "colour image", id="pil_colour"),
        pytest.param(np.zeros((2, 4, 4, 9)), COLOUR, r"image 0 .* shape \(4, 4, 9\)", id="deep"),
        pytest.param(np.zeros(4), COLOUR, r"array .* got shape \(4,\)", id="flat"),
        pytest.param(drawn() / 255, COLOUR, "multiply fractions by 255", id="fractions"),
        pytest.param(np.full((4, 4), 0.5), COLOUR, "multiply fractions by 255", id="half"),
        pytest.param(np.full((4, 4), 9.5), COLOUR, "float64 from 9.5 to 9.5; round", id="halves"),
        pytest.param(
            np.full((4, 4), 256), COLOUR, "from 256 to 256; of 16 bits", id="sixteen_bits"
        ),
        pytest.param(np.full((4, 4), -1), COLOUR, "int64 from -1 to -1$", id="negative"),
        pytest.param(np.full((4, 4), -0.5), COLOUR, "float64 from -0.5 to -0.5$", id="centred"),
        pytest.param(np.full((4, 4), np.nan), COLOUR, "from nan to nan$", id="nan"),
        pytest.param(drawn().transpose(2, 0, 1), COLOUR, "needs the channels last", id="first"),
        pytest.param([drawn().transpose(2, 0, 1)], COLOUR, "image 0 needs the channels", id="its"),
        pytest.param(drawn().astype(object), COLOUR, "0..255: object", id="objects"),
        pytest.param(io.BytesIO(encoded()), COLOUR, "images needs .* got BytesIO", id="stream"),
        pytest.param(np.ones((4, 4), bool), COLOUR, "whole numbers of 0..255: bool", id="mask"),
        pytest.param("/nowhere/x.png", COLOUR, "'/nowhere/x.png' needs .*No such file", id="path"),
        pytest.param(["a\0b"], COLOUR, "image 0 .* needs a file that can be read", id="nul"),
        pytest.param(encoded(), (8, 8, 2), "1 or 3 channels", id="shape"),
        pytest.param(encoded(), (8, 8), r"needs \(height, width, .* got \(8, 8\)", id="short"),
        pytest.param(encoded(), (0, 8, 3), "image_shape needs .* got", id="no_side"),
        pytest.param(encoded(), None, "image_shape needs .* got None", id="no_shape"),
    ],
)
def test_what_is_no_image_is_named_with_what_is_wrong(images, shape, message):
    with pytest.raises(InputError, match=message):
        preprocess(images, image_shape=shape)


def test_a_damaged_row_of_a_file_is_named(tmp_path):
    data = write(tmp_path / "data.parquet", rows=3, image=[encoded(), None, b"x"])

    place = re.escape(f"image in row 1 of data {data!r} needs to be usable, got no image")
    with pytest.raises(InputError, match=place):
        preprocess(data, image_shape=GREY)


def test_a_file_without_images_says_which_columns_it_has(tmp_path):
    data = write(tmp_path / "data.parquet", image=None)

    with pytest.raises(InputError, match=r"column 'image', got the columns \['c_output'"):
        preprocess(data, image_shape=GREY)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")

    with pytest.raises(InputError, match=r"pipe.png' needs a file or a folder, got neither"):
        preprocess(tmp_path / "pipe.png", image_shape=GREY)


def test_the_image_that_was_given_is_not_changed():
    given = Image.fromarray(drawn())
    before = given.tobytes(), given.size, given.mode

    preprocess(given, image_shape=COLOUR)

    assert (given.tobytes(), given.size, given.mode) == before


def test_what_a_set_says_of_depth_and_colour_holds_for_later_images():
    deep = np.full((4, 4), 4095, np.uint16)
    stream = io.BytesIO()
    Image.fromarray(deep).save(stream, format="PNG")

    assert (preprocess(stream.getvalue(), image_shape=(4, 4, 1), depth=12) == 255).all()
    colour = np.zeros((4, 4, 3), np.uint8)
    assert preprocess(colour, image_shape=(4, 4, 1), makes_grey=True).shape == (1, 4, 4, 1)
    with pytest.raises(InputError, match="a colour image"):
        preprocess(colour, image_shape=(4, 4, 1))
