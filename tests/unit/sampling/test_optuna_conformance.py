"""Our samplers in plain Optuna pass what Optuna asks of its own."""

import pytest
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)

from search.sampling.ehvi import EHVISampler
from search.sampling.exhaustive import ShuffledGridSampler, SobolSampler

OURS = [EHVISampler, SobolSampler, ShuffledGridSampler]


class Seeded:
    @pytest.fixture(params=OURS, name="sampler")
    def sampler_of_ours(self, request):
        return lambda: request.param(seed=0)


@pytest.mark.slow
class TestBasic(Seeded, BasicSamplerTestCase):
    pass


@pytest.mark.slow
class TestRelative(Seeded, RelativeSamplerTestCase):
    pass


class TestSeveralObjectives(Seeded, MultiObjectiveSamplerTestCase):
    pass
