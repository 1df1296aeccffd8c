"""What a set says by its names, pixels and figures: splits, duplicates, suspicious labels."""

import io
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.support.data_sets import BOX, CLASS, NUMBER, different, encoded, request, write
from trainables.data.check import check_dataset, conclude, inspect_dataset
from trainables.data.dataset import open_dataset
from trainables.data.decode import decode_dataset, decoded_report
from trainables.data.splits import draw_validation
from trainables.errors import InputError
from trainables.spec.heads import DeclaredHead
from trainables.spec.problems import Problems
from trainables.storage.sealed_json import convert

BOXES = [[0.1 + row / 100, 0.2, 0.5 + row / 100, 0.8] for row in range(10)]


def files(tmp_path, **rows):
    """Write a set of files by name, no two images of which are equal; return the folder."""
    images = different(sum(rows.values()))
    for name, num in rows.items():
        name = name.replace("__", "/").replace("0", "-00000-of-00001").replace("_is_", "=")
        write(
            tmp_path / "set" / f"{name}.parquet",
            rows=num,
            image=[images.pop() for _ in range(num)],
        )
    return tmp_path / "set"


def report(tmp_path, *heads, **change):
    options = {
        name: change.pop(name)
        for name in ("channels", "is_strict", "skips_bad_rows", "rules", "image_size")
        if name in change
    }
    return check_dataset(request(write(tmp_path / "set.parquet", **change), *heads, **options))


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        ({"train0": 10, "test0": 6}, {"train": 8, "validation": 2, "test": 6}),
        (
            {"split_is_train__0": 10, "split_is_validation__0": 4, "split_is_test__0": 6},
            {"train": 10, "validation": 4, "test": 6},
        ),
        ({"train__a": 10, "train__b": 4, "val__a": 6}, {"train": 14, "validation": 6, "test": 0}),
        ({"my_train": 10, "my_dev": 4}, {"train": 10, "validation": 4, "test": 0}),
        ({"training": 10, "eval_set": 4}, {"train": 8, "validation": 2, "test": 4}),
        ({"train0": 10, "train1": 10}, {"train": 16, "validation": 4, "test": 0}),
        ({"part0": 10, "part1": 10}, {"train": 16, "validation": 4, "test": 0}),
        ({"testimony": 10, "trainer": 10}, {"train": 16, "validation": 4, "test": 0}),
    ],
)
def test_names_of_files_and_folders_say_which_split_their_rows_are_of(tmp_path, names, rows):
    assert check_dataset(request(files(tmp_path, **names))).info.rows == rows


def test_folders_that_name_a_column_and_a_value_are_a_column(tmp_path):
    folder = files(tmp_path, c_output_is_cat__0=6, c_output_is_a_dog__0=4)
    for path in folder.rglob("*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns("c_output"), path)

    head = check_dataset(request(folder, CLASS)).info.heads[0]

    assert head.classes == ("a_dog", "cat")


def test_files_that_are_left_out_by_their_ending_are_told(tmp_path):
    folder = files(tmp_path, part=10)
    for name in ("b.PARQUET", "c.pq", "d.parquet.gz", "_e.pq", "labels.csv"):
        (folder / name).write_bytes(b"PAR1")

    [told] = check_dataset(request(folder)).warnings

    assert told.startswith("3 files beside the data do not end in .parquet")


def test_of_files_that_train_and_test_none_that_tests_is_trained_on(tmp_path):
    wanted = request(files(tmp_path, train0=10, test0=6))
    told = decode_dataset(wanted, check_dataset(wanted).info.fingerprint, str(tmp_path))

    decoded = open_dataset(str(tmp_path), told.info.fingerprint)
    test = {image.tobytes() for image in decoded.split("test").images}

    assert len(test) == 6
    for name in ("train", "validation"):
        assert not test & {image.tobytes() for image in decoded.split(name).images}
    assert "6 test; validation is drawn" in told.notes[0]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"train0": 10, "extra": 4}, "'train-00000-of-00001.parquet' beside 'extra.parquet'"),
        ({"train__test0": 10, "train__a": 4}, r"got 'train/test-.*' \(test and train\)"),
        ({"test0": 10, "val0": 4}, r"one that trains, got \['test', 'validation'\]"),
    ],
)
def test_names_that_leave_a_split_unclear_are_refused(tmp_path, names, message):
    with pytest.raises(InputError, match=message + ".*write a column 'split'"):
        check_dataset(request(files(tmp_path, **names)))


def test_a_column_that_contradicts_the_names_of_files_is_refused(tmp_path):
    write(tmp_path / "train.parquet", split=["train"] * 9 + ["validation"])
    write(tmp_path / "test.parquet", split=["test"] * 10)

    with pytest.raises(
        InputError, match=r"'validation' in a file of 'train' in row 9 of 'train.p"
    ):
        check_dataset(request(tmp_path))


def test_equal_images_stay_on_one_side_of_a_drawn_split(tmp_path):
    images = different(50) * 2
    wanted = request(
        write(tmp_path / "a.parquet", rows=100, image=images, r_output=[1.0, 2.0] * 50),
    )
    told = decode_dataset(wanted, check_dataset(wanted).info.fingerprint, str(tmp_path / "s"))

    decoded = open_dataset(str(tmp_path / "s"), told.info.fingerprint)
    sides = [
        {image.tobytes() for image in decoded.split(name).images}
        for name in ("train", "validation")
    ]

    assert told.info.rows == {"train": 80, "validation": 20, "test": 0}
    assert not sides[0] & sides[1]
    assert "50 of 100 rows repeat the image of an earlier one" in told.warnings[0]
    assert decoded_report(told.info.fingerprint, str(tmp_path / "s")) == told


@given(
    groups=st.lists(st.integers(0, 30), min_size=2, max_size=80).filter(lambda g: len(set(g)) > 1),
    seed=st.integers(0, 100),
)
def test_a_group_is_never_on_both_sides(groups, seed):
    wanted = request("set", validation_seed=seed, validation_share=0.3)
    ids, classes = np.zeros(len(groups), np.int8), np.zeros(len(groups), np.int64)
    drawn = draw_validation(ids, classes, np.array(groups), wanted, Problems("set"))

    for group in set(groups):
        assert len(set(drawn[np.array(groups) == group].tolist())) == 1
    assert set(drawn.tolist()) == {0, 1}


def test_a_row_for_each_object_of_an_image_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"5 of 10 rows have .* row 0 and row 5: .*one object an"):
        report(tmp_path, image=different(5) * 2)


def test_an_accident_in_the_labels_of_equal_images_is_told(tmp_path):
    images = different(199)
    told = report(tmp_path, rows=200, image=[*images, images[0]])

    assert "1 of 200 rows have the image of another row and another label" in told.warnings[0]
    with pytest.raises(InputError, match="1 of 200 rows have the image"):
        report(tmp_path, rows=200, image=[*images, images[0]], is_strict=True)


def test_pixels_are_compared_and_not_bytes(tmp_path):
    images = different(10)
    again = io.BytesIO()
    Image.open(io.BytesIO(images[2])).save(again, format="PNG", compress_level=0)
    images[7] = again.getvalue()
    assert images[7] != images[2]

    with pytest.raises(InputError, match="row 2 and row 7"):
        report(tmp_path, image=images)


def test_images_that_a_given_split_has_on_both_sides_are_told_or_refused(tmp_path):
    images = different(398)
    split = ["train"] * 200 + ["validation"] * 200
    few = [*images[:200], images[0], *images[200:], images[5]]
    labels = [float(few.index(image)) for image in few]
    options = {"rows": 400, "image": few, "split": split, "r_output": labels}
    options["c_output"] = [int(label) % 2 for label in labels]

    told = report(tmp_path, **options)
    assert "2 of 200 rows of 'validation' (split by the column 'split')" in told.warnings[0]
    with pytest.raises(InputError, match="such as row 200 and row 0"):
        report(tmp_path, **options, is_strict=True)
    with pytest.raises(InputError, match="1 of 50 rows of 'validation'"):
        report(tmp_path, **options | {"split": ["train"] * 350 + ["validation"] * 50})


def test_the_colour_of_a_set_does_not_hang_on_its_first_images(tmp_path):
    last = [encoded(mode="RGB", value=3), encoded(mode="P", value=2)]
    for images in (different(300, last=last), [*last, *different(298)]):
        told = report(tmp_path, rows=300, image=images)
        assert told.info.image_shape == (8, 8, 3)
        assert "298 of 300 images are grey, the others colour" in told.notes[0]


def test_channels_say_what_colour_becomes(tmp_path):
    told = report(tmp_path, image=different(mode="RGB"), channels=1)

    assert told.info.image_shape == (8, 8, 1)
    assert told.info.is_made_grey
    assert report(tmp_path, channels=3).info.image_shape == (8, 8, 3)


def deep(values):
    """Return a PNG of 16 bits with these values in its first row."""
    pixels = np.zeros((8, 8), np.uint16)
    pixels[0, : len(values)] = values
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


@pytest.mark.parametrize(("highest", "depth"), [(4095, 12), (1023, 10), (255, 8), (65535, 16)])
def test_images_of_more_than_8_bits_keep_the_upper_8_of_those_they_use(tmp_path, highest, depth):
    images = [deep([highest, row * 2 ** (depth - 8)]) for row in range(9)]
    images.append(deep([0, highest // 2]))
    split = ["train"] * 9 + ["validation"]
    wanted = request(write(tmp_path / "a.parquet", image=images, split=split))
    told = check_dataset(wanted)
    decode_dataset(wanted, told.info.fingerprint, str(tmp_path))

    validation = open_dataset(str(tmp_path), told.info.fingerprint).split("validation")
    assert told.info.depth == depth
    assert validation.images[0, 0, :2, 0].tolist() == [0, 127]


def test_labels_that_are_legal_and_odd_are_told_with_a_cure(tmp_path):
    pixel = DeclaredHead(name="r_output", kind="box", scale="pixel")
    corners = DeclaredHead(name="r_output", kind="box", format="xywh")
    apart = [[0.1 + row / 100, 0.1, 0.4 + row / 100, 0.5] for row in range(30)]
    cases = [
        ((CLASS,), {"c_output": [1, 2] * 5}, "class ids from 1 to 2 and none of 0"),
        ((CLASS,), {"c_output": [0, 90] * 5}, "has 91 classes, of which 2 occur"),
        ((CLASS,), {"c_output": ["cat", "Cat "] * 5}, "differ by case or blanks only"),
        (
            (CLASS,),
            {"c_output": [0, 1] * 4 + [2, 2], "split": ["train"] * 8 + ["validation"] * 2},
            "in 'validation' that never train: '2'",
        ),
        ((NUMBER,), {"r_output": [3.0] * 10}, "the same label in every row"),
        ((BOX,), {"r_output": [[0.1, 0.1, 0.5, 0.5]] * 10}, "the same box in every row"),
        (
            (NUMBER,),
            {"r_output": [1.7e9 + row for row in range(10)]},
            "10 different numbers at place 0, of which float32 can tell",
        ),
        ((pixel,), {"r_output": BOXES}, "did you mean `scale: fraction`"),
        ((corners,), {"rows": 30, "r_output": apart}, "did you mean `format: xyxy`"),
    ]
    for heads, change, message in cases:
        told = report(tmp_path, *heads, **change)
        assert any(message in line for line in told.warnings), (message, told.warnings)
        with pytest.raises(InputError, match="head"):
            report(tmp_path, *heads, **change, is_strict=True)


@pytest.mark.parametrize(
    ("declared", "given", "cure"),
    [
        ({}, [[1.0, 2.0, 5.0, 7.0 - row / 10] for row in range(10)], "`scale: pixel`"),
        (
            {"format": "xywh"},
            [[0.5, 0.6, 0.9, 0.95 - row / 100] for row in range(10)],
            "`format: xyxy`",
        ),
        (
            {"format": "xyxy"},
            [[0.6, 0.5, 0.2, 0.3 - row / 100] for row in range(10)],
            "`format: xywh`",
        ),
    ],
)
def test_boxes_that_do_not_fit_are_refused_with_what_was_meant(tmp_path, declared, given, cure):
    head = DeclaredHead(name="r_output", kind="box", **declared)

    with pytest.raises(InputError, match=f"did you mean {cure}"):
        report(tmp_path, head, r_output=given)


def test_a_box_up_to_a_pixel_outside_is_clipped_and_counted(tmp_path):
    head = DeclaredHead(name="r_output", kind="box", scale="pixel")
    uri = write(tmp_path / "a.parquet", r_output=[[0, row / 10, 8, 9] for row in range(10)])
    inspection = inspect_dataset(request(uri, head))

    assert conclude(inspection, None).labels[0].values[0].tolist() == [0.0, 0.0, 1.0, 1.0]
    assert (
        "10 boxes of head 'r_output' up to a pixel outside are clipped"
        in inspection.problems.notes
    )


def test_bad_rows_are_left_out_where_the_request_says_so(tmp_path):
    images = different()
    images[3], images[4] = images[3][:-30], None
    change = {
        "image": images,
        "c_output": [None, 0, 1, 0, 1, 0, 1, 0, 1, 0],
        "r_output": [[1.0], [2.0, 3.0], *[[float(row)] for row in range(8)]],
    }
    wanted = request(write(tmp_path / "a.parquet", **change), skips_bad_rows=True)
    told = check_dataset(wanted)

    assert decode_dataset(wanted, told.info.fingerprint, str(tmp_path)) == told
    assert sum(told.info.rows.values()) == 6
    assert told.notes[0].startswith(
        "4 bad rows are left out: row 0: head 'c_output' needs a label"
    )
    with pytest.raises(InputError, match="3 problems") as error:
        report(tmp_path, **change)
    assert "in row 3; no image in row 4" in str(error.value)


def test_what_looking_at_headers_does_not_find_the_check_does(tmp_path):
    uri = write(tmp_path / "a.parquet", image=[*different(9), different(10)[9][:-30]])

    assert sum(check_dataset(request(uri), is_fast=True).info.rows.values()) == 10
    with pytest.raises(InputError, match=r"undecodable image.*row 9"):
        check_dataset(request(uri))


def test_rules_of_version_1_read_a_set_as_it_was_read_then(tmp_path):
    folder = files(tmp_path, train0=10, test0=10)
    old = check_dataset(request(folder, rules=1)).info

    assert old.rows == {"train": 16, "validation": 4, "test": 0}
    assert old.fingerprint != check_dataset(request(folder)).info.fingerprint
    told = json.loads(json.dumps(old.to_dict()))
    assert "rules" not in told
    assert convert(told, type(old)) == old
