"""Public reports of data that were read as something else, each with an input of our own making.

In brackets the repository and the thread; what the report is about is told in our own words.
"""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.support.data_sets import (
    CLASS,
    NUMBER,
    as_numbers,
    columns,
    different,
    marked,
    request,
    write,
)
from trainables.data.check import check_dataset
from trainables.data.images import ImageRule, decode_image
from trainables.errors import InputError
from trainables.spec.heads import DeclaredHead

PIXEL_BOX = DeclaredHead(name="r_output", kind="box", format="xyxy", scale="pixel")
WIDE = ImageRule(height=4, width=6, channels=3, is_resized=False)


def png(image, **options):
    stream = io.BytesIO()
    image.save(stream, format="PNG", **options)
    return stream.getvalue()


def check(tmp_path, *heads, **change):
    return check_dataset(request(write(tmp_path / "set.parquet", **change), *heads))


def test_a_name_with_a_split_in_it_beside_others_is_no_silent_choice(tmp_path):
    """[huggingface/datasets 5021] "photo of a train" became a split, the others vanished."""
    images = different(20)
    write(tmp_path / "photos of a train.parquet", image=images[:10])
    write(tmp_path / "photos of a cat.parquet", image=images[10:])

    with pytest.raises(InputError, match=r"of a train.parquet' beside .*of a cat.parquet'"):
        check_dataset(request(tmp_path))


def test_a_test_folder_is_never_drawn_from(tmp_path):
    """[fastai/fastai 2336] A validation share was drawn from all folders, the test one too."""
    images = different(20)
    write(tmp_path / "train" / "a.parquet", image=images[:10])
    write(tmp_path / "test" / "a.parquet", image=images[10:])

    assert check_dataset(request(tmp_path)).info.rows == {"train": 8, "validation": 2, "test": 10}


def test_16_bit_grey_is_scaled_and_not_cut_off_at_255(tmp_path):
    """[pytorch/pytorch 20524] Bright 16-bit images became nearly white ones."""
    dark, bright = (np.full((4, 6), value, np.uint16) for value in (40_000, 65_535))
    deep = [png(Image.fromarray(pixels)) for pixels in (dark, bright)]
    report = check(tmp_path, image=[*different(8, height=4, width=6), *deep])

    rule = ImageRule(height=4, width=6, channels=1, is_resized=False, depth=report.info.depth)
    assert decode_image(deep[0], rule).max() == 40_000 >> 8


def test_a_palette_with_transparency_keeps_its_colours_in_place():
    """[meta-pytorch/torchcodec 1732] Four channels were written where three had room."""
    image = Image.new("P", (6, 4))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)

    pixels = decode_image(png(image, transparency=bytes([255, 255])), WIDE)

    assert pixels[0, 1].tolist() == [200, 100, 50]
    assert pixels[3, 5].tolist() == [10, 20, 30]


def test_colours_under_transparent_parts_do_not_come_back():
    """[kohya-ss/sd-scripts 1269] Hidden colours of a transparent background were trained on."""
    image = Image.new("RGBA", (6, 4), (255, 0, 255, 0))

    assert not decode_image(png(image), WIDE).any()


def test_ids_with_gaps_are_told(tmp_path):
    """[facebookresearch/detr 23] 91 outputs for 80 classes, since ids have gaps."""
    (warning,) = check(tmp_path, c_output=[1, 3, 90, 90, 1] * 2).warnings

    assert "has 91 classes, of which 3 occur" in warning


@pytest.mark.parametrize("box", [[1, 1, 1, 5], [4, 1, 2, 5]])
def test_a_box_without_an_area_is_refused_before_training(tmp_path, box):
    """[pytorch/vision 2240] Boxes of no or negative size made the loss NaN."""
    boxes = [*[[1, 1, 5, 5]] * 9, box]

    with pytest.raises(InputError, match=r"a height and a width above 0.* in row 9"):
        check(tmp_path, CLASS, PIXEL_BOX, r_output=as_numbers(boxes))


def test_a_width_taken_for_a_corner_is_told_with_its_cure(tmp_path):
    """[pytorch/vision 1128] Corner and size were given where two corners were expected."""
    boxes = [[3 + row % 3, 4, 2, 2 + row % 2] for row in range(10)]

    with pytest.raises(InputError, match="did you mean `format: xywh`"):
        check(tmp_path, CLASS, PIXEL_BOX, r_output=as_numbers(boxes))


def test_rows_of_the_test_split_that_train_as_well_are_counted(tmp_path):
    """[zalandoresearch/fashion-mnist 44] Some test images were in the training set."""
    images = different(399)
    write(tmp_path / "train.parquet", rows=200, image=images[:200])
    write(tmp_path / "test.parquet", rows=200, image=[*images[200:], images[0]])

    warnings = check_dataset(request(tmp_path)).warnings

    assert any("1 of 200 rows of 'test'" in warning for warning in warnings)


def test_equal_images_of_other_classes_are_refused(tmp_path):
    """[pratikkayal/PlantDoc-Dataset 4] The same photos stood in two splits with two classes."""
    write(tmp_path / "train.parquet")
    write(tmp_path / "test.parquet", c_output=[1 - row % 2 for row in range(10)])

    with pytest.raises(InputError, match="10 of 10 rows of 'test'"):
        check_dataset(request(tmp_path))


def test_numbers_that_float32_rounds_to_one_are_told(tmp_path):
    """[tensorflow/tensorflow 50888] 48584629 became 48584628."""
    (warning,) = check(tmp_path, r_output=[48_584_629 + row for row in range(10)]).warnings

    assert "has 10 different numbers" in warning


def test_files_whose_integers_differ_in_width_are_one_set(tmp_path):
    """[duckdb/duckdb 1214] INTEGER in one file and BIGINT in another was an error."""
    images = different(20)
    for name, kind, part in (("a", pa.int32(), images[:10]), ("b", pa.int64(), images[10:])):
        table = columns(image=part, c_output=pa.array([0, 1] * 5, kind))
        pq.write_table(pa.table(table), tmp_path / f"{name}.parquet")

    assert check_dataset(request(tmp_path)).info.heads[0].units == 2


def test_a_missing_label_of_minus_100_is_no_class(tmp_path):
    """[huggingface/datasets 4508] Negative ids stand for labels that are missing."""
    with pytest.raises(InputError, match="class ids from 0 to 1, got class id -100 in row 9"):
        check(tmp_path, c_output=[*[0, 1, 0] * 3, -100])


def test_boxes_of_a_turned_photo_belong_to_its_stored_pixels(tmp_path):
    """[open-edge-platform/datumaro 1756] EXIF turned sides round, so that boxes were off."""
    turned = Image.Exif()
    turned[274] = 6
    stream = io.BytesIO()
    Image.fromarray(np.arange(60, dtype=np.uint8).reshape(4, 15)).save(stream, "JPEG", exif=turned)
    images = [*different(9, height=4, width=15), stream.getvalue()]
    boxes = [[row, 0, row + 3, 3] for row in range(10)]

    assert check(tmp_path, CLASS, PIXEL_BOX, image=images, r_output=as_numbers(boxes)).info


def test_a_truncated_image_is_found_before_the_training(tmp_path):
    """[microsoft/Biodiversity 605] Training ended at the first truncated camera image."""
    images = different(9, mode="RGB", form="JPEG")
    images.append(marked(200, 9, mode="RGB", form="JPEG")[:-60])

    with pytest.raises(InputError, match=r"an undecodable image \(.*\) in row 9"):
        check(tmp_path, NUMBER, image=images)


def test_webp_counts_as_an_image(tmp_path):
    """[keras-team/tf-keras 429] WebP files were not among the images that were read."""
    images = [*different(9, mode="RGB"), marked(9, 7, mode="RGB", form="WEBP")]

    assert check(tmp_path, image=images).info.image_shape == (8, 8, 3)
