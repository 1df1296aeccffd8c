"""Whatever becomes of a file: the same answer, or an error of ours. `tests.damages` tries more."""

import pytest

from tests.damages import WANTED, Bench
from tests.support.damaged_answers import all_answers

EACH = 15


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    def ask(work, resumed):
        return all_answers(work, resumed=(resumed,) if resumed else ())

    return Bench(tmp_path_factory.mktemp("damages"), ask)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(4))
def test_no_damaged_file_changes_an_answer_in_silence(block, bench):
    for seed in range(block * EACH, (block + 1) * EACH):
        resumed = "" if seed % 5 else ("interrupted", "finished")[seed % 2]

        damage, word, shown = bench.try_one(seed, resumed=resumed)

        assert word in WANTED, f"{word}: {damage}\n{shown}"
