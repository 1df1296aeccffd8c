"""A study whose sampler is somebody else's class, on a real Ray, without TensorFlow."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from search.errors import InputError, StudyDiffers
from search.running.run import run
from search.view.study import print_show
from tests.support import stub_run
from tests.support.stub_study import Listener, ray_in_short_folder, stub_study

pytestmark = pytest.mark.slow

NAME = "tests.support.own_samplers:TellingSampler"
SAMPLER = {"name": NAME, "sign": "-"}
NOTE = f"sampler {NAME} keeps a state of its own: a resumed run may draw"


@pytest.fixture(scope="module", autouse=True)
def one_ray():
    with ray_in_short_folder():
        yield


def made(folder, **changes):
    values = {"sampler": SAMPLER, "budget": {"trials": 4, "epochs": 2}, "scheduler": "fifo"}
    return stub_study(folder, **{**values, **changes})


def test_it_runs_says_that_it_keeps_a_state_and_goes_on_with_the_same_options_only(tmp_path):
    listener = Listener()

    result = run(made(tmp_path), factory=stub_run.FACTORY, watcher=listener)

    assert [trial.state for trial in result.trials] == ["complete"] * 4
    assert any(line.startswith(NOTE) for line in listener.lines)
    page = StringIO()
    print_show(Console(width=200, file=page), result)
    text = page.getvalue()
    assert "sampler tests.support.own_samplers:TellingSampler (sign -), scheduler fifo" in text
    assert NOTE in text

    with pytest.raises(StudyDiffers, match=r"sampler.sign: '-' there, '\+' now"):
        run(made(tmp_path, sampler={**SAMPLER, "sign": "+"}), factory=stub_run.FACTORY)
    more = run(made(tmp_path, budget={"trials": 6, "epochs": 2}), factory=stub_run.FACTORY)
    assert len(more.trials) == 6


def test_a_sampler_that_cannot_be_used_is_refused_before_anything_is_written(tmp_path):
    study = made(tmp_path, sampler="tests.support.own_samplers:OneGoalSampler", name="refused")

    with pytest.raises(InputError, match="OneGoalSampler' cannot suggest a config: ValueError"):
        run(study, factory=stub_run.FACTORY)

    assert not Path(study.folder).exists()
