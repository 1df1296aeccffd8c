"""A conductor lets no trial go on once its lease is in doubt."""

import pytest

from search.errors import StudyLocked
from search.record.ownership import claim
from tests.support.clocks import an_hour_later
from tests.support.conducted_study import Bench


@pytest.fixture
def bench(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch)
    yield bench
    bench.close()


def test_no_trial_goes_on_by_the_word_of_an_owner_that_was_succeeded(bench):
    bench.conduct()
    envelope = bench.ask()
    actor = bench.actor(envelope)
    assert not bench.report(envelope, actor.step())
    step = actor.step()

    with claim(bench.store, pace=an_hour_later()):
        bench.ownership._renewed = (0.0, 0.0)  # stopped since then
        with pytest.raises(StudyLocked, match="was taken over by process"):
            bench.report(envelope, step)

    trial = next(iter(bench.trials))
    assert trial.has_ended is False


def test_while_the_lease_is_recent_nothing_is_asked_of_the_storage(bench):
    bench.conduct()
    envelope = bench.ask()
    step = bench.actor(envelope).step()
    calls = []
    bench.files.before_scan = lambda: calls.append("scan")
    bench.files.watch = calls.append

    assert not bench.report(envelope, step)

    assert calls == []
