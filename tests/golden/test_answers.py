"""What samplers suggest and schedulers decide for recorded histories, to the digit."""

import json

import pytest

from tests.golden import histories
from tests.golden.files import ANSWERS


def read(name):
    return json.loads((ANSWERS / name).read_text())


HISTORIES = read("histories.json")
SUGGESTIONS = read("suggestions.json")
DECISIONS = read("decisions.json")


@pytest.mark.parametrize("case", SUGGESTIONS)
def test_samplers_suggest_for_a_history_what_they_did(case):
    space, _, heads = case.partition(" of ")

    found = histories.suggestions({space: {heads: HISTORIES[space][heads]}})

    assert found[case] == SUGGESTIONS[case]


@pytest.mark.parametrize("case", DECISIONS)
def test_schedulers_stop_the_trials_that_they_did(case):
    assert histories.stops(DECISIONS[case]) == DECISIONS[case]["stops"]
