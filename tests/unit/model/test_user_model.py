"""A user's own model function."""

import random
import sys

import numpy as np
import pytest

from trainables.errors import InputError
from trainables.model.backend import keras, tf
from trainables.model.build import build_model, build_user_model
from trainables.model.state import read_state
from trainables.model.user_model import REQUIRED, UserModelError, user_parameters
from trainables.probing.try_models import try_models
from trainables.spec.heads import HeadSpec
from trainables.spec.settings import StudySettings
from trainables.spec.trial import UserModelSpec
from trainables.training.forward import Plain

pytestmark = pytest.mark.slow

CLASSES = HeadSpec(name="c_output", kind="classification", units=3)
BOX = HeadSpec(name="r_output", kind="box", units=4)

USER = """
import keras
import numpy as np
from keras import layers

def build(*, image_shape, heads, filters: int, dropout: float = 0.1, fault: str = ""):
    inputs = keras.Input(image_shape)
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Conv2D(filters, 3, activation="relu")(x)
    x = layers.Dropout(dropout)(layers.GlobalAveragePooling2D()(x))
    c = layers.Dense(3, activation=None if fault == "logits" else "softmax", name="c_output")(x)
    r = layers.Dense(3 if fault == "units" else 4, name="r_output")(x)
    if fault == "name":
        return keras.Model(inputs, {"c_output": c, "box": r})
    if fault == "raise":
        raise KeyError("my own")
    if fault == "type":
        return "model"
    if fault == "input":
        return keras.Model([inputs, keras.Input((3,))], [c, r])
    if fault == "list":
        return keras.Model(inputs, [r, c])
    if fault == "subclass":
        inner = keras.Model(inputs, {"c_output": c, "r_output": r})
        class Own(keras.Model):
            def __init__(self):
                super().__init__()
                self.inner = inner
            def call(self, x, training=False):
                return self.inner(x, training=training)
        return Own()
    if fault == "odd":
        return keras.Model(keras.Input((5, 5, 1)), {"c_output": c, "r_output": r})
    return keras.Model(inputs, {"c_output": c, "r_output": r})

def positional(image_shape, heads, /):
    return None

def without(*, filters):
    return None

number = 3
"""


@pytest.fixture
def user(tmp_path, monkeypatch):
    (tmp_path / "my_models.py").write_text(USER)
    (tmp_path / "broken_module.py").write_text("import keras\n\n1 / 0\n")
    (tmp_path / "unparsable.py").write_text("x = 1\ndef (\n")
    (tmp_path / "lacking.py").write_text("\nimport surely_not_installed\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield lambda target="my_models:build", **arguments: UserModelSpec(
        target=target,
        image_shape=(9, 9, 1),
        heads=(CLASSES, BOX),
        arguments=tuple(sorted(({"filters": 2} | arguments).items())),
    )
    for name in ("my_models", "broken_module", "unparsable", "lacking"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("form", ["", "list", "subclass"])
def test_a_users_model_returns_a_dict_by_head_whatever_its_form(user, form):
    model = build_model(user(fault=form), seed=0)

    outputs = model.predict(np.zeros((2, 9, 9, 1), np.uint8), verbose=0)

    assert {name: array.shape for name, array in outputs.items()} == {
        "c_output": (2, 3),
        "r_output": (2, 4),
    }


@pytest.mark.parametrize("form", ["", "list", "subclass"])
def test_a_users_unseeded_layers_depend_on_the_seed_only(user, form):
    first = build_model(user(fault=form), seed=5)
    keras.utils.set_random_seed(3)
    keras.layers.Dense(3)

    again, other = (build_model(user(fault=form), seed=seed) for seed in (5, 6))

    values = [[v.numpy() for v in model.variables] for model in (first, again, other)]
    assert len(values[0]) == 7  # three kernels, three biases, the dropout's generator
    assert all(np.array_equal(a, b) for a, b in zip(values[0], values[1], strict=True))
    assert not np.array_equal(values[0][0], values[2][0])


def test_building_a_users_model_leaves_the_process_as_it_was(user):
    keras.utils.set_random_seed(11)
    expected = random.random(), np.random.random(), float(tf.random.uniform(()))
    keras.utils.set_random_seed(11)

    build_model(user(), seed=5, precision="bfloat16")

    assert (random.random(), np.random.random(), float(tf.random.uniform(()))) == expected
    assert keras.config.dtype_policy().name == "float32"


def test_a_users_layers_get_the_precision(user):
    model = build_model(user(), seed=0, precision="bfloat16")

    assert {layer.compute_dtype for layer in model.layers} == {"bfloat16"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"fault": "units"}, r"'r_output' needs shape \(None, 4\), got \(None, 3\)"),
        pytest.param(
            {"fault": "name"}, r"outputs named \['c_output', 'r_output'\], got \['box', 'c_out"
        ),
        pytest.param({"fault": "type"}, "needs to return a keras.Model, got str"),
        pytest.param({"fault": "logits"}, "'c_output' needs probabilities .* with a softmax"),
        pytest.param({"fault": "input"}, r"one input of shape \(None, 9, 9, 1\), got \[\(None, 9"),
        pytest.param({"typo": 1}, r"needs arguments among \['dropout', 'fault', 'filters'\]"),
        pytest.param({"target": "my_models:number"}, "got int of that name; its functions are"),
        pytest.param({"target": "my_models:nothing"}, r"\['build', 'positional', 'without'\]"),
        pytest.param({"target": "no_such_module:build"}, "no module named 'no_such_module'"),
        pytest.param({"target": "my_models.sub:build"}, "no module named 'my_models.sub'"),
        pytest.param({"target": "my_models:positional"}, r"needs the form 'def positional\(\*"),
        pytest.param({"target": "my_models:without"}, "needs the form 'def without"),
    ],
    ids=lambda value: "_".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_a_users_function_that_does_not_fit_is_refused(user, arguments, message):
    with pytest.raises(InputError, match=message):
        build_model(user(**arguments), seed=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"fault": "raise"}, r"KeyError: 'my own' \(.*my_models.py:16\)", id="call"),
        pytest.param({"fault": "odd"}, r"ValueError: .*my_models.py:33\)", id="graph"),
        pytest.param(
            {"target": "broken_module:build"},
            r"ZeroDivisionError.*broken_module.py:3\)",
            id="import",
        ),
        pytest.param(
            {"target": "unparsable:build"}, r"SyntaxError.*unparsable.py:2\)", id="syntax"
        ),
        pytest.param(
            {"target": "lacking:build"}, r"surely_not_installed.*lacking.py:2\)", id="dependency"
        ),
    ],
)
def test_an_error_in_a_users_code_keeps_its_file_and_line(user, arguments, message):
    with pytest.raises(UserModelError, match="(?s)" + message):
        build_model(user(**arguments), seed=0)


def test_parameters_of_a_users_function_are_its_keywords(user):
    user()

    assert user_parameters("my_models:build") == {
        "filters": REQUIRED,
        "dropout": 0.1,
        "fault": "",
    }


def settings(**changes):
    own = {"model": "my_models:build", "reference_model": "my_models:build"}
    values = {"image_shape": (32, 32, 1), "heads": (CLASSES, BOX), **own, **changes}
    return StudySettings(study="", storage="", **values)


def test_the_reference_beside_a_users_model_is_of_the_model_that_the_record_says(user):
    recorded_before = settings(reference_model=None)

    now = settings().trial_spec({"filters": 4}, is_reference=True)
    then = recorded_before.trial_spec({"conv1_filters": 4}, is_reference=True)

    assert (now.model.target, now.model.arguments) == ("my_models:build", (("filters", 4),))
    assert then.model.conv_filters == (4, 64)
    assert recorded_before.trial_spec({"filters": 4}, is_reference=False).model == now.model


def test_a_reference_that_cannot_be_built_is_refused_and_other_configs_are_told(user):
    sound, never = {"filters": 4}, {"filters": 4, "fault": "raise"}

    tried = try_models([sound, never], settings(), reference=sound)
    assert (len(tried.reasons), tried.unused) == (1, ())
    assert len(tried.reasons) == 1
    assert tried.largest.training == 2 * tried.largest.weights > 0  # adam has two slots
    with pytest.raises(InputError, match=r"^the reference trial \(`reference: false` .*my own"):
        try_models([sound], settings(), reference=never)


OWN_TRAINING = """
import keras
from keras import layers

class Stepping(keras.Model):
    def train_step(self, data):
        raise RuntimeError("never called")
    def test_step(self, data):
        raise RuntimeError("never called")

class Fitting(Stepping):
    def fit(self, *given, **named):
        raise RuntimeError("never called")

class Subclassed(keras.Model):
    def __init__(self, pairs):
        super().__init__()
        self.flat = layers.Flatten()
        self.branches = {name: layers.Dense(units, act) for name, units, act in pairs}
        self.kind = dict
    def call(self, images):
        found = {name: branch(self.flat(images)) for name, branch in self.branches.items()}
        self.add_loss(7.0 + 0.0 * keras.ops.sum(images))
        return found if self.kind is dict else self.kind(found.values())
    def compute_loss(self, *given, **named):
        raise RuntimeError("never called")

def build(*, image_shape, heads, form: str = ""):
    inputs = keras.Input(image_shape)
    x = layers.Flatten()(inputs)
    regular = {"activity_regularizer": keras.regularizers.L1(0.5)} if form == "activity" else {}
    c = layers.Dense(3, "softmax", name="c_output")(x)
    r = layers.Dense(4, name="r_output", **regular)(x)
    named = {"c_output": c, "r_output": r}
    inner = keras.Model(inputs, [c, r], name="inner")
    if form == "compiled":
        model = keras.Model(inputs, named)
        model.compile("sgd", loss={"c_output": "mse", "r_output": "mae"}, metrics=["mse"])
        return model
    if form == "stepping":
        return Stepping(inputs, named)
    if form == "fitting":
        model = Fitting(inputs, named)
        model.compile("adam")
        return model
    if form == "replaced":
        model = keras.Model(inputs, named)
        model.train_step = lambda data: {}
        return model
    if form == "nested":
        again = keras.Input(image_shape)
        return keras.Model(again, inner(again))
    if form == "deeper":
        return keras.Model(inputs, [[c], layers.Activation("linear", name="last")(r)])
    if form == "sequential":
        return keras.Sequential([keras.Input(image_shape), inner])
    if form == "lists":
        return keras.Model(inputs, {"c_output": [c, c], "r_output": r})
    if form.startswith("subclassed"):
        model = Subclassed([("c_output", 3, "softmax"), ("r_output", 4, None)])
        model.kind = {"tuple": tuple, "list": list}.get(form.partition("_")[2], dict)
        return model
    return keras.Model(inputs, named)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_training.py").write_text(OWN_TRAINING)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield lambda form="": UserModelSpec(
        target="own_training:build",
        image_shape=(9, 9, 1),
        heads=(CLASSES, BOX),
        arguments=(("form", form),),
    )
    sys.modules.pop("own_training", None)


@pytest.mark.parametrize(
    ("form", "unused"),
    [
        pytest.param("", (), id="plain"),
        pytest.param("compiled", ("compile",), id="compiled"),
        pytest.param("stepping", ("train_step", "test_step"), id="steps"),
        pytest.param("fitting", ("compile", "train_step", "test_step", "fit"), id="all"),
        pytest.param("replaced", ("train_step",), id="replaced"),
        pytest.param("subclassed", ("compute_loss",), id="subclassed"),
    ],
)
def test_what_a_users_model_says_of_its_training_is_found(own, form, unused):
    assert build_user_model(own(form), seed=0)[1] == unused


def test_it_is_told_of_all_configs_at_once(own):
    configs = [{"form": form} for form in ("", "stepping", "compiled", "stepping")]

    tried = try_models(configs, settings(model="own_training:build", image_shape=(9, 9, 1)))

    assert (tried.reasons, tried.unused) == ((), ("train_step", "test_step", "compile"))


@pytest.mark.parametrize(
    ("form", "got", "way"),
    [
        pytest.param("nested", "['inner', 'inner']", "keras.Model(inputs, {", id="nested"),
        pytest.param("sequential", "['inner', 'inner']", "keras.Model(inputs, {", id="sequential"),
        pytest.param("deeper", "['c_output', 'last']", "keras.Model(inputs, {", id="deeper"),
        pytest.param("subclassed_tuple", "['output 0', 'output 1']", "{", id="tuple"),
        pytest.param("subclassed_list", "['output 0', 'output 1']", "{", id="list"),
    ],
)
def test_outputs_that_are_no_heads_are_refused_with_the_way_to_name_them(own, form, got, way):
    with pytest.raises(InputError) as told:
        build_model(own(form), seed=0)

    said = str(told.value)
    assert (
        f"needs outputs named ['c_output', 'r_output'], got {got}: return a dict by head" in said
    )
    assert f", {way}'c_output': ..., 'r_output': ...}}" in said


def test_several_tensors_for_one_head_are_refused(own):
    with pytest.raises(InputError, match="output 'c_output' needs to be one tensor, got list"):
        build_model(own("lists"), seed=0)


@pytest.mark.parametrize(("form", "added"), [("", 0.0), ("activity", 2.0), ("subclassed", 7.0)])
def test_what_layers_add_to_the_loss_counts_in_training(own, form, added):
    model = build_model(own(form), seed=0)
    for variable in model.trainable_variables:
        variable.assign(tf.ones_like(variable) * (1.0 if variable.path.endswith("bias") else 0.0))
    step = tf.function(lambda images: Plain(model).gradients(images, lambda _: tf.constant(0.0)))

    loss, _ = step(tf.zeros((2, 9, 9, 1)))

    assert float(loss) == pytest.approx(added)  # four outputs of 1, at 0.5 each


def test_a_model_that_was_compiled_has_the_state_of_one_that_was_not(own):
    states = [read_state(build_model(own(form), seed=3)) for form in ("", "compiled")]

    assert states[0].keys() == states[1].keys()
    assert all(np.array_equal(states[0][name], states[1][name]) for name in states[0])
