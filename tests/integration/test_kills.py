"""What takes part in a real study is killed: it ends in words, leaves nothing, and goes on."""

import pytest

from tests.kills import kills

pytestmark = pytest.mark.slow


def test_whatever_is_killed_the_command_ends_in_words_and_a_resumed_study_is_the_same_to_the_bit():
    ledger = kills(2, 2, print, kinds=["raylet", "driver"], phases=["training"])

    assert [line for line in ledger if line.wrong] == []
    assert all("missed" not in line.phase for line in ledger)
