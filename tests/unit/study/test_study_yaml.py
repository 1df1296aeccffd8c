import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search.errors import InputError
from search.study.study import Study
from search.study.yaml_file import LARGEST_BYTES, parse

ISSUE = """
name: digits
data: path-or-uri
heads:
  c_output: {kind: classification}   # units optional
  r_output: {kind: box}
image_size: [32, 32]
validation: {share: 0.2, seed: 0}
space:
  conv1_filters: {choice: [8, 16, 32, 64]}
  c_output_units: {int: [32, 256], log: true}
  c_output_loss_weight: 1.0
  r_output_loss_weight: {float: [0.1, 10.0], log: true}
  learning_rate: {float: [3.0e-4, 1.0e-2], log: true}
  batch_size: 64
budget: {trials: 24, epochs: 9}
start_with: []
sampler: ehvi
scheduler: pareto_asha
resources: {cpu: 1, gpu: 0, concurrent: auto}
precision: float32
seed: 0
reference: true
storage: studies
"""
START = "name: digits\ndata: digits.parquet\nheads:\n  r_output: {kind: box}\n"  # 4 lines


def write(tmp_path, text):
    path = tmp_path / "study.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(tmp_path, text, **changes):
    return Study.from_yaml(write(tmp_path, text), **changes)


def refused(tmp_path, text):
    with pytest.raises(InputError, match=r"study\.yaml") as caught:
        read(tmp_path, text)
    return str(caught.value).replace(f"{tmp_path}/", "")


def test_a_file_says_what_python_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert read(tmp_path, ISSUE) == Study(
        name="digits",
        data="path-or-uri",
        heads={"c_output": {"kind": "classification"}, "r_output": {"kind": "box"}},
        image_size=(32, 32),
        space={
            "conv1_filters": {"choice": [8, 16, 32, 64]},
            "c_output_units": {"int": [32, 256], "log": True},
            "c_output_loss_weight": 1.0,
            "r_output_loss_weight": {"float": [0.1, 10.0], "log": True},
            "learning_rate": {"float": [3e-4, 1e-2], "log": True},
            "batch_size": 64,
        },
        module_folder=str(tmp_path),
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("1e-3", 0.001, id="no_point"),
        pytest.param("1E+2", 100.0, id="capital"),
        pytest.param("3.0e-4", 0.0003, id="point"),
        pytest.param(".5", 0.5, id="no_zero"),
        pytest.param("-2.", -2.0, id="no_fraction"),
        pytest.param("+7", 7, id="sign"),
        pytest.param("010", "010", id="neither_8_nor_10"),
        pytest.param("-0", 0, id="zero"),
        pytest.param("1:30", "1:30", id="no_base_60"),
        pytest.param("1_000", "1_000", id="no_underscore"),
        pytest.param("0x10", "0x10", id="no_hexadecimal"),
        pytest.param("2020-01-01", "2020-01-01", id="no_date"),
        pytest.param("yes", "yes", id="no_yes"),
        pytest.param("off", "off", id="no_off"),
        pytest.param("True", True, id="true"),
        pytest.param("~", None, id="null"),
        pytest.param("", None, id="nothing"),
        pytest.param("'1e-3'", "1e-3", id="quoted"),
        pytest.param("-.inf", float("-inf"), id="infinite"),
        pytest.param("1e3x", "1e3x", id="text"),
    ],
)
def test_plain_values_are_those_of_yaml_1_2(text, value):
    values, _ = parse(f"key: {text}\n", "x")

    assert (type(values["key"]), values["key"]) == (type(value), value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "study.yaml is empty; a study needs 'name'", id="empty"),
        pytest.param("# nothing\n", "study.yaml is empty", id="comment"),
        pytest.param("- a\n", "study.yaml: a study needs keys and values", id="list"),
        pytest.param("hello", "study.yaml: a study needs keys and values", id="text"),
        pytest.param("a: 1\n---\nb: 1\n", "study.yaml:2 is not YAML", id="two_documents"),
        pytest.param("a: 1\n\tb: 2\n", "study.yaml:2 is not YAML: found character", id="tab"),
        pytest.param("a: [1, 2\nb: 3\n", "is not YAML: expected ',' or ']'", id="unclosed"),
        pytest.param("a: 1\nb: \0\n", "study.yaml:2 is not YAML: special characters", id="nul"),
        pytest.param(b"a: 1\nb: \xe9\n", "study.yaml:2 needs UTF-8 text", id="latin_1"),
        pytest.param("a: 1".encode("utf-16"), "study.yaml:1 needs UTF-8 text", id="utf_16"),
        pytest.param("a: 1\nb: 2\na: 3\n", "study.yaml:3 has the key 'a' twice", id="twice"),
        pytest.param(
            "a:\n  b: 1\n  b: 2\n", "study.yaml:3 has the key 'b' twice", id="twice_deep"
        ),
        pytest.param("a: 1\n2: 3\n", "study.yaml:2 needs text as a key, got '2'", id="number_key"),
        pytest.param("? [a]\n: 1\n", "study.yaml:1 needs text as a key", id="list_as_key"),
        pytest.param("a: 1\nb: !x 2\n", "study.yaml:2 has the tag '!x'", id="tag"),
        pytest.param(
            "a: !!python/object/apply:os.system [x]\n", "has the tag '!!python/object", id="python"
        ),
        pytest.param("a: !!timestamp x\n", "has the tag '!!timestamp'", id="timestamp"),
        pytest.param("a: !!bool x\n", "has the tag '!!bool'", id="bool_tag"),
        pytest.param("a: !!str 1\n", "has the tag '!!str'", id="even_a_harmless_tag"),
        pytest.param(
            "a: &x 1\nb: *x\n", "study.yaml:1 has &x: write the value again", id="anchor"
        ),
        pytest.param("b: *x\n", "study.yaml:1 has *x: write the value again", id="alias"),
        pytest.param("a: " + "[" * 50 + "]" * 50, "nested more than 20 deep", id="deep"),
        pytest.param("a: " + "{b: " * 5000, "nested more than 20 deep", id="very_deep"),
        pytest.param('a: "\\UFFFFFFFF"', "escape of no character", id="escape"),
        pytest.param("a: " + "9" * 5000, "has a number of 5000 digits", id="long_number"),
        pytest.param("a: " + "b" * LARGEST_BYTES, f"at most {LARGEST_BYTES} bytes", id="large"),
    ],
)
def test_what_is_no_plain_yaml_is_refused_with_its_line(tmp_path, text, message):
    assert message in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("sede: 1\n", "study.yaml:5: study has no key 'sede'; did you", id="key"),
        pytest.param("seed: -1\n", "study.yaml:5: seed needs a whole number", id="field"),
        pytest.param(
            "budget:\n  trials: 3\n  epcohs: 2\n", "study.yaml:7: budget has no key", id="key_deep"
        ),
        pytest.param("budget:\n  epochs: 0\n", "study.yaml:6: budget.epochs needs", id="deep"),
        pytest.param(
            "space:\n  l2: 0\n  learning_rate: {float: [1, 0.1]}\n",
            "study.yaml:7: space.learning_rate: float needs low <= high",
            id="range",
        ),
        pytest.param(
            "space:\n  l2: 0\n  lr: 0.1\n", "study.yaml:7: space.lr shapes nothing", id="shapes"
        ),
        pytest.param("space: {l2: -1}\n", "study.yaml:5: space.l2 needs numbers", id="value"),
        pytest.param(
            "start_with:\n- {l2: 0.1}\n- l2: 0.1\n  dropout: 3\n",
            "study.yaml:8: start_with[1].dropout needs numbers",
            id="start_with",
        ),
        pytest.param(
            "start_with:\n- {l2: 0.1}\n- l2: 0.1\n  lr: 3\n",
            "study.yaml:8: start_with[1].lr shapes nothing",
            id="start_with_key",
        ),
        pytest.param("image_size: [8]\n", "study.yaml:5: image_size needs", id="image_size"),
    ],
)
def test_problems_of_the_study_come_with_file_and_line(tmp_path, text, expected):
    assert expected in refused(tmp_path, START + text)


def test_each_of_several_problems_has_its_line(tmp_path):
    told = refused(tmp_path, "name: ../x\nseed: -1\nheads:\n  a: {kind: boxx}\n")

    assert told.splitlines()[0] == "study.yaml: 4 problems"
    assert [line.split(" ")[3] for line in told.splitlines()[1:]] == [
        "study.yaml:",
        "study.yaml:1:",
        "study.yaml:4:",
        "study.yaml:2:",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("space:\n", "study.yaml:5: space needs parameters", id="no_parameters"),
        pytest.param("budget:\n", "study.yaml:5: budget needs a mapping", id="no_budget"),
        pytest.param("seed: 010\n", "got '010'", id="octal"),
        pytest.param("seed: 1_000\n", "got '1_000'", id="underscore"),
        pytest.param("budget: {hours: 1:30}\n", "got '1:30'", id="base_60"),
        pytest.param("reference: no\n", "true or false, got 'no'", id="no"),
        pytest.param('storage: "a\\0b"\n', "study.yaml:5: storage needs a path", id="nul"),
        pytest.param('storage: "\\ud800"\n', "study.yaml:5: storage needs", id="half"),
        pytest.param("space: {<<: {l2: 0.1}}\n", "space.'<<' needs one of", id="merge"),
    ],
)
def test_what_yaml_lets_through_is_refused_by_the_study(tmp_path, text, message):
    assert message in refused(tmp_path, START + text)


PIECES = (
    ["space:\n", "  l2: ", "1e-3\n", "&a", "*a", "!!int ", "- ", "? ", ": ", "{", "}", "[", "]"],
    ["|\n", ">-\n", '"', "'", "\\x", '"\\U', "#", "%TAG ! !\n", "---\n", "...\n", "\t", "\0"],
    ["<<: ", "~", "\ufeff", "\u2028", "9" * 50, "a" * 300, "@", "`"],
    START.splitlines(keepends=True),
    ISSUE.splitlines(keepends=True),
)
SNIPPETS = st.sampled_from([piece for pieces in PIECES for piece in pieces])
FILES = st.binary(max_size=200) | st.lists(SNIPPETS | st.text(max_size=3), max_size=20).map(
    lambda parts: "".join(parts).encode("utf-8", "surrogatepass")
)


@settings(
    deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=FILES)
def test_any_file_gives_a_study_or_an_input_error(tmp_path, content):
    path = write(tmp_path, content)
    try:
        study = Study.from_yaml(path)
    except InputError as error:
        named = str(path) in str(error)
    else:
        named = bool(study.name)

    assert named


def test_what_was_given_besides_the_file_has_no_line_of_it(tmp_path):
    with pytest.raises(InputError, match=r"^seed needs a whole number"):
        read(tmp_path, START + "seed: 1\n", seed=-1)


def test_given_values_replace_those_of_the_file_and_none_does_not(tmp_path):
    study = read(tmp_path, START + "seed: 1\n", seed=2, storage=None)

    assert (study.seed, Path(study.storage).name) == (2, "studies")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    assert read(tmp_path, b"\xef\xbb\xbf" + START.encode()).name == "digits"


def test_data_beside_the_file_is_found_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "digits.parquet").touch()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    study = read(tmp_path, START)

    assert study.data == str(tmp_path / "digits.parquet")
    assert study.storage == str(tmp_path / "elsewhere" / "studies")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param("other.parquet", "{here}/other.parquet", id="not_beside_the_file"),
        pytest.param("/a/b.parquet", "/a/b.parquet", id="absolute"),
        pytest.param("s3://bucket/set", "s3://bucket/set", id="uri"),
    ],
)
def test_other_data_is_taken_from_the_current_folder(tmp_path, monkeypatch, data, expected):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    study = read(tmp_path, START.replace("digits.parquet", data))

    assert study.data == expected.format(here=tmp_path / "here")


def test_modules_are_found_from_the_folder_of_the_file(tmp_path):
    assert read(tmp_path, START).module_folder == str(tmp_path)
    assert read(tmp_path, START + "module_folder: /m\n").module_folder == "/m"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("none.yaml", "does not exist; give the path of a study file", id="missing"),
        pytest.param(".", "is a folder; give a study file", id="folder"),
        pytest.param("a\0b", "cannot be read", id="nul"),
        pytest.param("/dev/zero", "cannot be read: it is a device", id="device"),
        pytest.param("study.yaml/x", "cannot be read: Not a directory", id="below_a_file"),
        pytest.param("x" * 300, "cannot be read: File name too long", id="long_name"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, message):
    write(tmp_path, START)

    with pytest.raises(InputError, match=re.escape(message)):
        Study.from_yaml(tmp_path / name)


def test_a_file_that_is_far_too_long_is_not_read_to_its_end(tmp_path):
    with (tmp_path / "long.yaml").open("wb") as file:
        file.truncate(2**40)

    with pytest.raises(InputError, match=rf"long\.yaml needs at most {LARGEST_BYTES} bytes"):
        Study.from_yaml(tmp_path / "long.yaml")
