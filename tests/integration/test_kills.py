"""What takes part in a real study is killed: it ends in words, leaves nothing, and goes on."""

import pytest

from tests.kills import kills

pytestmark = pytest.mark.slow


def test_whatever_is_killed_the_command_ends_in_words_and_a_resumed_study_is_the_same_to_the_bit():
    kinds = ["gcs", "raylet", "runtime-agent", "beforehand", "driver", "command"]

    ledger = kills(6, seed=1, kinds=kinds, say=print)

    assert [line for line in ledger if line.wrong] == []
    assert sum("missed" not in line.phase for line in ledger if line.target != "none") >= 5
