"""A study that begins with what earlier ones found, on a real Ray, without TensorFlow."""

import shutil

import pytest

from search.results.load import load
from search.results.points import best_log_skills
from search.running.run import run
from search.running.warm_start import read_earlier
from search.sampling.trials import RecordedTrial
from tests.support import stub_run
from tests.support.stub_study import SPACE, Listener, ray_in_short_folder, stub_study, trials_of
from tests.support.suggesting import suggest

pytestmark = pytest.mark.slow

FIRST = {"conv1_filters": 8, "learning_rate": 0.002}


@pytest.fixture(scope="module", autouse=True)
def one_ray():
    with ray_in_short_folder():
        yield


def test_earlier_trials_inform_the_sampler_and_count_for_nothing_else(tmp_path):
    old = stub_study(tmp_path, name="old", budget={"trials": 12, "epochs": 2})
    run(old, factory=stub_run.FACTORY)
    space = {**SPACE, "conv1_filters": {"choice": [8, 16]}}
    study = stub_study(
        tmp_path,
        name="new",
        space=space,
        scheduler="fifo",
        budget={"trials": 3, "epochs": 2},
        reference=True,
        start_with=[FIRST],
        warm_start=[old.folder],
        sampler="tpe",
        seed=5,
    )
    num_inside = sum(trial.config["conv1_filters"] != 4 for trial in trials_of(old))
    (earlier,) = read_earlier(study)
    listener = Listener()

    result = run(study, factory=stub_run.FACTORY, watcher=listener)

    assert 0 < num_inside < 12
    assert listener.lines == [
        f"warm start: {num_inside} of 12 trials of {old.folder} "
        f"({12 - num_inside} {'lies' if num_inside == 11 else 'lie'} outside the space)"
    ]
    assert [trial.origin for trial in result.trials] == ["reference", "start_with", "sampler"]
    assert {**result.trials[1].config, **FIRST} == dict(result.trials[1].config)
    assert len(result.trials) == len({row["number"] for row in result.table().to_pylist()}) == 3
    assert {point.number for point in result.pareto()} <= {0, 1, 2}
    assert dict(result.trials[2].config) == suggested(study, result, earlier, 2)

    shutil.rmtree(old.folder)
    more = study.with_budget(trials=4)
    result = run(more, factory=stub_run.FACTORY, watcher=listener)

    assert listener.lines[1:] == listener.lines[:1]
    assert dict(result.trials[3].config) == suggested(study, result, earlier, 3)
    assert [trial.state for trial in load(study.folder).trials] == ["complete"] * 4


def suggested(study, result, earlier, number):
    """Return what TPE says if it is shown the earlier trials as those of this study."""
    inside = [trial for trial in earlier.trials if trial.config["conv1_filters"] != 4]
    shown = [
        RecordedTrial(
            number=index - len(inside),
            config=trial.config,
            state="interrupted",
            log_skills=trial.log_skills,
            epoch=trial.epoch,
        )
        for index, trial in enumerate(inside)
    ]
    for trial in trials_of(study)[:number]:
        skills, epoch = best_log_skills(trial, result.baselines, result.chooser.objective)
        shown.append(
            RecordedTrial(
                number=trial.number,
                config=trial.config,
                state="complete",
                log_skills=skills,
                epoch=epoch,
            )
        )
    return suggest(
        name="tpe",
        space=result.prepared.space,
        seed=study.seed,
        number=number,
        recorded=shown,
        num_heads=2,
    ).config
