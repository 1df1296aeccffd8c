import pickle

import pytest

from trainables.errors import joined
from trainables.spec.problems import PlacedError, dotted, shown, unknown_keys


def test_problems_travel_between_processes():
    error = PlacedError(unknown_keys(["trails"], ["trials"], at=("budget",)))

    again = pickle.loads(pickle.dumps(error))

    assert (str(again), again.problems) == (str(error), error.problems)
    assert error.problems[0].path == ("budget", "trails")


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        pytest.param("lr", "learning_rate", id="short"),
        pytest.param("LR", "learning_rate", id="short_in_capitals"),
        pytest.param("Batch_Size", "batch_size", id="capitals"),
        pytest.param("leaning_rate", "learning_rate", id="misspelt"),
    ],
)
def test_a_key_is_answered_with_what_was_probably_meant(key, meant):
    (problem,) = unknown_keys([key], ["batch_size", "learning_rate"], at=("space",))

    assert f"did you mean {meant!r}?" in problem.message


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("a" * 1000, f"'{'a' * 199}...", id="long_text"),
        pytest.param([10**5000], "a list too large to show", id="unprintable"),
        pytest.param(2**63, "a whole number of 64 bits", id="large_int"),
        pytest.param({"a": 1}, "{'a': 1}", id="mapping"),
    ],
)
def test_received_values_are_shown_in_bounded_length(value, text):
    assert shown(value) == text


def test_a_single_problem_is_told_without_a_list():
    assert joined(["a needs b"], where="f.yaml") == "f.yaml: a needs b"
    assert joined(["a", "b"], where="f.yaml") == "f.yaml: 2 problems\n  - a\n  - b"


def test_a_path_is_written_as_in_python():
    assert dotted(("heads", "x" * 300)) == f"heads.'{'x' * 199}..."
