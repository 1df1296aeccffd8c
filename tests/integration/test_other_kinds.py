"""Studies of other kinds of data and models than the digits, by the same call."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

import search
from search.cluster.session import prepare_environment
from tests.support.image_sets import rectangles, save, splits
from trainables.data.boxes import from_yxyx, to_yxyx
from trainables.data.dataset import open_dataset
from trainables.model.signature import read_signature
from trainables.spec.heads import BOX_FORMATS, BOX_SCALES
from trainables.spec.losses import iou, sample_losses
from trainables.storage.store import Store
from trainables.training.predictor import Predictor

pytestmark = pytest.mark.slow

CLASS, BOX, NUMBERS = {"kind": "classification"}, {"kind": "box"}, {"kind": "regression"}
SMALL = {"conv1_filters": {"choice": [4, 6]}, "conv2_filters": 4, "batch_size": 16}
MODELS = """
import keras


def build(*, image_shape, heads, filters: int, width=8, norm=True):
    images = keras.Input(image_shape)
    x = keras.layers.Rescaling(1 / 255)(images)
    x = keras.layers.Conv2D(filters, 3, activation="relu")(x)
    x = keras.layers.BatchNormalization()(x) if norm else x
    x = keras.layers.Dense(width)(keras.layers.Flatten()(x))
    return keras.Model(images, {head.name: output(head)(x) for head in heads})


def as_list(image_shape, heads, filters, norm):
    model = build(image_shape=image_shape, heads=heads, filters=filters, norm=norm)
    return keras.Model(model.inputs, [model.output[head.name] for head in heads])


def output(head):
    return keras.layers.Dense(head.units, activation=head.activation, name=head.name)
"""


@pytest.fixture(scope="module", autouse=True)
def one_ray():
    prepare_environment()
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def run(tmp_path, data, heads, **changes):
    settings = {"reference": False, "budget": {"trials": 2, "epochs": 2}, "space": SMALL}
    settings["resources"] = {"concurrent": 1}  # the second trial needs no process of its own
    storage = str(tmp_path / "studies")
    return search.run(
        search.Study(
            name="other", data=data, heads=heads, storage=storage, **{**settings, **changes}
        )
    )


def check_losses(result, rel=1e-4):
    """Compare what was recorded of each point with what its model predicts."""
    info = result.prepared.data
    rows = open_dataset(result.study.storage, info.fingerprint).split("validation")
    for point in result.points():
        outputs = result.model(point).predict(rows.images, verbose=0)
        for head in info.heads:
            true = sample_losses(head, outputs[head.name], rows.labels[head.name]).mean()
            assert point.losses[head.name] == pytest.approx(true, rel=rel, abs=1e-6)
    assert {trial.state for trial in result.trials} <= {"complete", "stopped"}


def two_heads(path, num=60, **size):
    seen = rectangles(num, **size)
    return save(path, image=seen.encoded, c=seen.classes, b=seen.fractions, split=splits(num))


def resized_two_classes_giou(folder):
    sizes = [(20, 24), (31, 18), (26, 40)] * 20
    seen = [rectangles(1, *size, channels=3, seed=i) for i, size in enumerate(sizes)]
    data = save(
        folder / "sizes.parquet",
        image=[one.encoded[0] for one in seen],
        c=[i % 2 for i in range(60)],
        b=np.concatenate([one.fractions for one in seen]),
    )
    heads = {"c": CLASS, "b": {**BOX, "loss": "giou", "activation": "linear"}}
    return data, heads, {"image_size": [16, 20]}


def a_class_with_one_row_and_no_space(folder):
    seen = rectangles(61)
    classes = [*seen.classes[:-1].tolist(), 3]
    data = save(folder / "lonely.parquet", image=seen.encoded, c=classes)
    budget = {"trials": 2, "epochs": 1}
    return data, {"c": CLASS}, {"space": None, "reference": True, "budget": budget}


def hugging_face_images_several_numbers(folder):
    seen = rectangles(60)
    images = [{"bytes": image, "path": f"{i}.png"} for i, image in enumerate(seen.encoded)]
    for part in range(3):
        rows = slice(20 * part, 20 * part + 20)
        save(folder / f"hf/{part}.parquet", image=images[rows], n=seen.fractions[rows, :3])
    return str(folder / "hf"), {"n": NUMBERS}, {"sampler": "random", "scheduler": "fifo"}


def raw_pixels_three_heads(folder):
    seen = rectangles(60, 16, 20, 3)
    pixels = pa.array(np.stack(seen.arrays).reshape(-1))
    sides = {"height": "16", "width": "20", "channels": "3"}
    field = pa.field("image", pa.list_(pa.uint8(), 960), metadata=sides)
    columns = {
        "c": pa.array(seen.classes),
        "b": pa.array(seen.fractions.tolist()),
        "n": pa.array(seen.fractions[:, 0]),
    }
    schema = pa.schema([field, *(pa.field(name, c.type) for name, c in columns.items())])
    images = pa.FixedSizeListArray.from_arrays(pixels, 960)
    pq.write_table(pa.table([images, *columns.values()], schema=schema), folder / "raw.parquet")
    heads = {"c": CLASS, "b": {**BOX, "loss": "ciou"}, "n": NUMBERS}
    return str(folder / "raw.parquet"), heads, {"sampler": "nsga2"}


KINDS = [
    resized_two_classes_giou,
    a_class_with_one_row_and_no_space,
    hugging_face_images_several_numbers,
    raw_pixels_three_heads,
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_study_records_the_losses_that_its_models_give(kind, tmp_path):
    data, heads, changes = kind(tmp_path)

    result = run(tmp_path, data, heads, **changes)

    assert len(result.trials) == 2
    assert set(result.best().losses) == set(heads)
    check_losses(result)


def test_string_labels_become_classes_in_sorted_order_and_bfloat16_is_exact_enough(tmp_path):
    seen = rectangles(60)
    names = [["zebra", "ant", "mouse"][index] for index in seen.classes]
    data = save(tmp_path / "names.parquet", image=seen.encoded, animal=names)

    result = run(tmp_path, data, {"animal": CLASS}, precision="bfloat16")

    head = result.prepared.data.heads[0]
    rows = open_dataset(result.study.storage, result.prepared.data.fingerprint).split("train")
    assert head.classes == ("ant", "mouse", "zebra")
    brightest = np.asarray(rows.images).reshape(len(rows.images), -1).max(axis=1)
    assert [head.classes[index] for index in rows.labels["animal"]] == [
        {120: "zebra", 180: "ant", 250: "mouse"}[value] for value in brightest
    ]
    check_losses(result, rel=2e-2)


def test_a_precision_left_open_is_measured_and_what_start_with_leaves_out_is_filled(tmp_path):
    data = two_heads(tmp_path / "data.parquet", height=17, width=17)
    first = {"conv1_filters": 6, "learning_rate": 0.002}

    result = run(
        tmp_path,
        data,
        {"c": CLASS, "b": BOX},
        precision="auto",
        space={**SMALL, "c_units": {"int": [8, 300]}},
        start_with=[first],
        budget={"trials": 1, "epochs": 1},
    )

    assert result.prepared.precision in ("float32", "bfloat16")
    again = search.load(result.study.folder)
    assert again.prepared.precision == result.prepared.precision
    check_losses(result, rel=2e-2)
    config = result.trials[0].config
    assert {name: config[name] for name in first} == first
    # As in the space where it has one value, else the reference's.
    assert (config["conv2_filters"], config["batch_size"]) == (4, 16)
    assert (config["c_units"], config["b_units"]) == (256, 512)


def test_a_users_own_model_is_searched_tested_and_read_back(tmp_path):
    (tmp_path / "own_models.py").write_text(MODELS)
    space = {"filters": {"choice": [4, 6]}, "norm": {"choice": [True, False]}, "batch_size": 16}

    result = run(
        tmp_path,
        two_heads(tmp_path / "data.parquet"),
        {"c": CLASS, "b": BOX},
        model="own_models:as_list",
        module_folder=str(tmp_path),
        space=space,
        start_with=[{"filters": 6, "norm": False}],
        reference=True,
        budget={"trials": 3, "epochs": 1},
    )

    assert [trial.is_reference for trial in result.trials] == [True, False, False]
    trained = {"learning_rate": 1e-3, "batch_size": 32, "optimizer": "adam"}
    weights = {"c_loss_weight": 1.0, "b_loss_weight": 1.0}
    # The function's own, not the built-in network: it gives no defaults here.
    assert result.trials[0].config == {"filters": 4, "norm": True, **trained, **weights}
    assert result.reference().config == result.trials[0].config
    assert result.trials[1].config["filters"] == 6
    assert result.trials[1].config["batch_size"] == 16
    assert result.best().test is not None
    check_losses(result)


FORMS = [(form, scale) for form in BOX_FORMATS for scale in BOX_SCALES]


def boxes_in_every_form(folder, num=64):
    """Photos of many sizes, a named class, and the same box in every format and scale."""
    rng = np.random.default_rng(7)
    sizes = rng.integers(18, 60, (num, 2))
    seen = [rectangles(1, *size, channels=3, seed=i) for i, size in enumerate(sizes)]
    fractions = np.concatenate([one.fractions for one in seen])
    scales = {"fraction": np.ones((num, 4)), "pixel": np.tile(sizes, 2)}
    columns = {
        f"{form}_{scale}": from_yxyx(fractions * scales[scale], form) for form, scale in FORMS
    }
    names = [["zebra", "ant", "mouse"][i % 3] for i in range(num)]
    images = [one.encoded[0] for one in seen]
    path = folder / "forms.parquet"
    save(path, image=images, animal=names, split=splits(num), **columns)
    heads = {f"{form}_{scale}": {**BOX, "format": form, "scale": scale} for form, scale in FORMS}
    return path, {"animal": CLASS, **heads}


def figures_of(answers, labels, sizes):
    """Compute what a study records from answers alone, in the form that was declared."""
    said = list(zip([answer["animal"] for answer in answers], labels["animal"], strict=True))
    figures = {
        "animal": np.mean([-np.log(animal.probabilities[label]) for animal, label in said]),
        "animal_accuracy": np.mean([animal.label == label for animal, label in said]),
    }
    for form, scale in FORMS:
        name = f"{form}_{scale}"
        boxes = [
            to_yxyx(np.array(b), form) for b in ([a[name].box for a in answers], labels[name])
        ]
        pixels = 1 if scale == "pixel" else np.tile(sizes, 2)
        figures[f"{name}_iou"] = iou(boxes[0] * pixels, boxes[1] * pixels).mean()
    return figures


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # keras 3.15
def test_predict_answers_in_the_declared_form_with_the_figures_that_were_recorded(tmp_path):
    path, heads = boxes_in_every_form(tmp_path)
    space = {**SMALL, "learning_rate": 0.01}
    result = run(tmp_path, str(path), heads, image_size=[20, 24], space=space)
    best, rows = result.best(), pq.read_table(path).to_pylist()

    answers = result.predict(path)
    sizes = np.array([(answer.height, answer.width) for answer in answers])

    for split, recorded in [
        ("validation", {n.removeprefix("val_"): v for n, v in best.metrics.items()}),
        ("test", best.test.metrics),
    ]:
        chosen = [i for i, row in enumerate(rows) if row["split"] == split]
        losses = best.losses if split == "validation" else best.test.losses
        figures = figures_of(
            [answers[i] for i in chosen],
            {name: [rows[i][name] for i in chosen] for name in heads},
            sizes[chosen],
        )
        expected = {name: {**recorded, **losses}[name] for name in figures}
        assert figures == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert len(set(map(tuple, sizes.tolist()))) > 30
    assert result.predict([row["image"] for row in rows[:3]])[2] == answers[2]
    images = result.preprocess([row["image"] for row in rows])
    outputs = result.model().predict(images, verbose=0)["animal"]
    assert np.argmax(outputs, axis=1).tolist() == [answer["animal"].id for answer in answers]
    untested = next(point for point in result.points() if point.test is None)
    assert set(result.tested(untested).test.losses) == set(heads)  # TensorFlow is in use here
    kept = json.loads(Store(result.folder).get(f"{best.checkpoint}/manifest.json"))
    assert kept["manifest"]["meta"]["signature"] == result.signature.to_dict()
    result.model().save(tmp_path / "model.keras")
    assert read_signature(tmp_path / "model.keras") == result.signature
    [alone] = Predictor.load(tmp_path / "model.keras").predict(rows[0]["image"])
    assert alone["animal"].values == pytest.approx(answers[0]["animal"].values, abs=1e-6)
    assert alone["xyxy_pixel"].box == pytest.approx(answers[0]["xyxy_pixel"].box, abs=1e-4)
