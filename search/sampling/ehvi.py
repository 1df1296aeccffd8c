"""The default sampler: what is expected to enlarge the front's volume most.

A Gaussian process for each head learns from where every learning curve is expected to end, so
that a trial which was stopped early teaches what it can, and one that runs what it has shown.
Untried configs and stopped trials compete: a stopped one is taken up again when that promises
more (freezing and thawing, Swersky et al. 2014, arXiv:1406.3896). The figure of merit is the
expected hypervolume improvement (Emmerich et al. 2006, doi:10.1109/TEVC.2005.851275).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import final

import numpy as np
from numpy.typing import NDArray
from optuna.study import Study, StudyDirection
from optuna.trial import TrialState
from threadpoolctl import ThreadpoolController

from search.sampling.distributions import distributions_of
from search.sampling.gaussian import Array, Observations, Process, at_end, fit
from search.sampling.space_sampler import SpaceSampler, Told
from search.sampling.trials import (
    CURVE,
    MAY_CONTINUE,
    MOST_STOPPED,
    NUMBER,
    DrawContext,
    Point,
    Seen,
    shown,
)
from search.sampling.unit_cube import Cube, cube_of
from search.space.encoding import Key

FEWEST_POINTS = 3
"""Trials with a point that it takes to model anything."""
MOST_MODELLED = 100
"""Trials that the model is shown."""
MOST_CANDIDATES = 1000
"""Candidates in a space that can be listed."""
NUM_RANDOM, NUM_NEAR, NUM_ROOTS = 300, 200, 10
"""Candidates in a space too large to list: random ones, and some near the best trials."""
NUM_SAMPLED = 200
"""Places all over the space by which the reference point is set."""
SPREAD = 0.1
"""How far from a root, as a share of a parameter's range."""
REFERENCE = 0.75
"""Quantile, over the space, of the expected losses: the front is to grow below it."""
AS_IT_IS = 0.1**2
"""Variance of a point of which there is no curve, in log skill."""
MOST_FAILED = 30
"""Failed trials that the model is shown, the newest: as bad as the worst that did not fail."""
FAILED = 0.5**2
"""Variance of how bad that is, in log skill."""
_MODEL, _EXPLORE, _LATIN = 0, 1, 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evidence:
    """What is known of the trials that have shown anything, and which have not."""

    numbers: tuple[int, ...]
    """As the study counts them."""
    keys: tuple[Key, ...]
    places: Array
    """Shape ``(trials, coordinates)``."""
    values: Array
    """Shape ``(trials, heads)``: log skills at the end."""
    variances: Array
    """The same shape."""
    is_stopped: NDArray[np.bool_]
    """Shape ``(trials,)``: what may be taken up again, and adds nothing to the front unless it
    is."""
    has_failed: NDArray[np.bool_]
    """The same shape: what has no finite point and never will."""
    waiting: Array
    """Shape ``(more trials, coordinates)``: where those run that have shown nothing yet."""

    @property
    def by_value(self) -> list[int]:
        """The rows, what is expected to end best first."""
        return list(np.argsort(self.values.mean(axis=1), kind="stable").tolist())


@final
class EHVISampler(SpaceSampler):
    """Draws what is expected to enlarge the front's volume most, for any number of objectives.

    In plain Optuna the values of the trials are replaced by the normal scores of their ranks, so
    that no unit and no outlier matters; in a study of this project they are log skills, with the
    learning curves by which it also takes stopped trials up again.

    Args:
        seed: Of all draws; by default another one for each sampler.
        n_startup_trials: Trials that are spread over the space before anything is modelled.
        explore: Share of the later trials that is drawn at random, lest a wrong model go on for
            ever.
        context: What a study of this project knows besides; left out in plain Optuna.

    Raises:
        ValueError: If an argument cannot be.

    Example:
        >>> import optuna
        >>> study = optuna.create_study(directions=["minimize"] * 2, sampler=EHVISampler(seed=0))
        >>> def objective(trial):
        ...     x = trial.suggest_float("x", 0, 1)
        ...     return x**2, (x - 1) ** 2
        >>> study.optimize(objective, n_trials=10)
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        n_startup_trials: int = 6,
        explore: float = 0.1,
        context: DrawContext | None = None,
    ) -> None:
        if n_startup_trials < 1 or not 0 <= explore <= 1:
            rule = "needs n_startup_trials >= 1 and explore from 0 to 1"
            raise ValueError(f"EHVISampler {rule}, got {n_startup_trials} and {explore}")
        super().__init__(seed=seed, context=context)
        self._num_startup = n_startup_trials
        self._explored = explore

    @classmethod
    def shown(cls, trials: Sequence[Seen]) -> list[Seen]:
        """Return the trials that the model is shown, and the newest failed ones."""
        points = [trial.point for trial, _ in trials]
        pending = [trial.is_pending for trial, _ in trials]
        failed = [p for p, point in enumerate(points) if point is None and not pending[p]]
        places = shown(points, pending, most=MOST_MODELLED) + failed[-MOST_FAILED:]
        return [trials[place] for place in sorted(places)]

    def take_up(self, study: Study) -> int | None:
        """Return the stopped trial that promises more than any new config; else prepare that."""
        assert self._context is not None
        told = self._told(study, distributions_of(self._context.kinds))
        answer = self._best_of_all(self._context, told, study)
        self._prepared = None if isinstance(answer, int) else answer
        return answer if isinstance(answer, int) else None

    def draw(self, context: DrawContext, told: Told, study: Study) -> Key:
        """Return a config that is new, as long as there is one."""
        answer = self._best_of_all(context, told, study)
        assert not isinstance(answer, int), "only a study of ours has stopped trials"
        return answer

    def _best_of_all(self, context: DrawContext, told: Told, study: Study) -> Key | int:
        """Return a config, or the number of a stopped trial.

        On one thread: several change the last digits, and so the answer, with the machine; and for
        matrices this small they gain nothing and on a busy machine wait for each other.
        """
        with _blas().limit(limits=1, user_api="blas"):
            cube = cube_of(context.kinds, context.gates)
            points: Sequence[Point | None] = [trial.values for trial, _ in told]
            if self._context is None:
                points = _scores(told, study.directions)
            evidence = _evidence(told, points, cube, context.epochs, len(study.directions))
            rng = context.rng(_EXPLORE)
            num_points = int((~evidence.has_failed).sum())
            if len(told) < self._num_startup or num_points < FEWEST_POINTS:
                spread = _spread(context, cube, self._num_startup)
                return spread if spread not in context.tried else _untried(context, cube, rng)
            if rng.random() < self._explored:
                return _untried(context, cube, rng)
            return _best(context, cube, evidence)


@cache
def _blas() -> ThreadpoolController:
    """Find the libraries that have threads, once: it takes milliseconds."""
    return ThreadpoolController()


def _scores(told: Told, directions: Sequence[StudyDirection]) -> list[Point | None]:
    """Return normal scores of the values' ranks, smaller is better, of all that are finite."""
    has_point = [
        trial.values is not None and all(map(math.isfinite, trial.values)) for trial, _ in told
    ]
    rows = [trial.values for (trial, _), has in zip(told, has_point, strict=True) if has]
    values = np.array(rows, dtype=np.float64).reshape(len(rows), len(directions))
    values *= [-1.0 if one == StudyDirection.MAXIMIZE else 1.0 for one in directions]
    scores = iter(np.apply_along_axis(_normal_scores, 0, values).tolist() if rows else ())
    return [tuple(next(scores)) if has else None for has in has_point]


def _normal_scores(values: Array) -> Array:
    """Return what values of these ranks would be if they were normal; equal ones are equal."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    shares = (np.cumsum(counts) - counts / 2) / len(values)
    return np.array([NormalDist().inv_cdf(share) for share in shares.tolist()])[places]


def _spread(context: DrawContext, cube: Cube, num: int) -> Key:
    """Return this trial's config of a Latin hypercube (McKay et al. 1979, doi:10.2307/1268522).

    Every ``num`` trials have of each parameter one value from each of as many parts of its range.
    """
    block, place = divmod(context.number, num)
    rng = np.random.default_rng(np.random.SeedSequence(context.seed, spawn_key=(block, _LATIN)))
    parts = np.array([rng.permutation(num)[place] for _ in context.kinds])
    within = rng.random((num, len(parts)))[place]
    return cube.key(((parts + within) / num).tolist())


def _untried(context: DrawContext, cube: Cube, rng: np.random.Generator) -> Key:
    left = [key for key in cube.every_key if key not in context.tried]
    if left:
        return left[int(rng.integers(len(left)))]
    return cube.key(rng.random(len(context.kinds)).tolist())


def _evidence(
    told: Told, points: Sequence[Point | None], cube: Cube, epochs: int, num: int
) -> _Evidence:
    """Judge by the curves of the trials where each of them will end, for ``num`` heads."""
    pending = [trial.state == TrialState.RUNNING for trial, _ in told]
    known = shown(points, pending, most=MOST_MODELLED)
    failed = [p for p, point in enumerate(points) if point is None and not pending[p]]
    curves = {p: np.array(curve) for p in known if (curve := told[p][0].user_attrs.get(CURVE))}
    as_it_is = {p: point for p in known if p not in curves and (point := points[p]) is not None}
    waiting = [told[p][1] for p in known if p not in curves and p not in as_it_is]
    values, variances = np.empty((2, 0, num))
    if curves:
        places = cube.places([told[p][1] for p in curves])
        values, variances = at_end(list(curves.values()), places, epochs)
    values = np.vstack([values, *as_it_is.values()])
    failed = failed[-MOST_FAILED:] if len(values) else []
    worst = values.max(axis=0, initial=-np.inf)
    measured, failing = np.full(num, AS_IT_IS), np.full(num, FAILED)
    rows = [told[p] for p in (*curves, *as_it_is, *failed)]
    has_failed = np.arange(len(rows)) >= len(values)
    may = [bool(trial.user_attrs.get(MAY_CONTINUE)) for trial, _ in rows]
    return _Evidence(
        numbers=tuple(int(trial.user_attrs.get(NUMBER, trial.number)) for trial, _ in rows),
        keys=tuple(key for _, key in rows),
        places=cube.places([key for _, key in rows]),
        values=np.vstack([values, *[worst] * len(failed)]),
        variances=np.vstack([variances, *[measured] * len(as_it_is), *[failing] * len(failed)]),
        is_stopped=np.array(may, dtype=bool) & ~has_failed,
        has_failed=has_failed,
        waiting=cube.places(waiting),
    )


def _best(context: DrawContext, cube: Cube, evidence: _Evidence) -> Key | int:
    """Return the candidate with the largest expected improvement."""
    rng = context.rng(_MODEL)
    key_of, places = _candidates(context, cube, evidence, rng)
    stopped = [row for row in evidence.by_value if evidence.is_stopped[row]][:MOST_STOPPED]
    sampled = _sample(cube, len(context.kinds), rng)
    everywhere = np.vstack([places, evidence.places[stopped]])
    gain = _gain(evidence, everywhere, sampled, rng)
    order: list[int] = np.argsort(-gain, kind="stable").tolist()
    for best in order:
        if best >= len(places):
            return evidence.numbers[stopped[best - len(places)]]
        key = key_of(best)
        if key not in context.tried:
            return key
    return _untried(context, cube, rng)


def _candidates(
    context: DrawContext, cube: Cube, evidence: _Evidence, rng: np.random.Generator
) -> tuple[Callable[[int], Key], Array]:
    """Return where new configs could lie, and how to get the key of each.

    Of a small space those that are untried; of a large one random ones, and some near the best.
    """
    if every := cube.every_key:
        rows = [row for row, key in enumerate(every) if key not in context.tried]
        if len(rows) > MOST_CANDIDATES:
            rows = np.sort(rng.choice(rows, MOST_CANDIDATES, replace=False)).tolist()
        return lambda row: every[rows[row]], cube.every_place[rows]
    roots = [evidence.keys[row] for row in evidence.by_value[:NUM_ROOTS]]
    random = rng.random((NUM_RANDOM, len(context.kinds)))
    shares = np.vstack([random, cube.near(roots, NUM_NEAR, SPREAD, rng)])

    def key_of(row: int) -> Key:
        root = roots[(row - NUM_RANDOM) % len(roots)] if row >= NUM_RANDOM else None
        return cube.key(shares[row].tolist(), root)

    return key_of, cube.at(shares)


def _sample(cube: Cube, num_parameters: int, rng: np.random.Generator) -> Array:
    """Return places all over the space."""
    if cube.every_key:
        return np.asarray(cube.every_place[rng.permutation(len(cube.every_key))[:NUM_SAMPLED]])
    return cube.at(rng.random((NUM_SAMPLED, num_parameters)))


def _gain(evidence: _Evidence, places: Array, sampled: Array, rng: np.random.Generator) -> Array:
    """Return the expected improvement of the volume by each candidate place."""
    processes = [
        _believed(evidence, value, variance, rng)
        for value, variance in zip(evidence.values.T, evidence.variances.T, strict=True)
    ]
    counts = ~evidence.is_stopped & ~evidence.has_failed
    standing = np.vstack([evidence.places[counts], evidence.waiting])
    predicted = [process.predict(places) for process in processes]
    expected = np.column_stack([process.mean(sampled) for process in processes])
    return _expected_improvement(
        np.column_stack([mean for mean, _ in predicted]),
        np.column_stack([variance for _, variance in predicted]),
        front=np.column_stack([process.mean(standing) for process in processes]),
        reference=np.quantile(expected, REFERENCE, axis=0),
        rng=rng,
    )


def _believed(
    evidence: _Evidence, values: Array, variances: Array, rng: np.random.Generator
) -> Process:
    """Return what is believed of one head, in units of the spread of its values.

    Of trials that have shown nothing yet it believes what it expects of them, so that the next
    suggestions look elsewhere (the kriging believer of Ginsbourger et al. 2010,
    doi:10.1007/978-3-642-10701-6_6).
    """
    spread = float(values.std()) + 1e-9
    shared = Observations(
        places=evidence.places,
        values=(values - values.mean()) / spread,
        variances=variances / spread**2,
    )
    kernel = fit(shared, rng)
    process = Process(kernel, shared)
    waiting = evidence.waiting
    if not len(waiting):
        return process
    believed = Observations(
        places=np.vstack([evidence.places, waiting]),
        values=np.append(shared.values, process.mean(waiting)),
        variances=np.append(shared.variances, np.zeros(len(waiting))),
    )
    return Process(kernel, believed)


DIRECTIONS = 32
"""Rays along which the volume is measured."""
SAMPLES = 24
"""Draws from what is believed of a config, half of them mirrored."""
TOGETHER = 32
"""Candidates at once: what they need then stays in the cache, at a third of the time."""
STRETCH = 1.8
"""How much farther than what is believed the draws go; each counts for less the less it is
believed. Late in a study only what is unlikely improves, and 24 plain draws would see nothing."""


def _expected_improvement(
    mean: Array, variance: Array, front: Array, reference: Array, rng: np.random.Generator
) -> Array:
    """Return the expected hypervolume improvement of each candidate, ``(candidates,)``, >= 0.

    Up to one constant, which all have in common.

    The volume between points and a reference is the mean, over random directions, of a power of
    how far the points reach along each (Golovin and Zhang 2020, arXiv:2006.04655): any number
    of heads costs the same. The expectation is over draws that all candidates share.
    """
    num_heads = len(reference)
    best = np.minimum(np.vstack([front, mean]).min(axis=0), reference - 1e-6)
    directions = np.abs(rng.standard_normal((DIRECTIONS, num_heads)))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    half = rng.standard_normal((SAMPLES // 2, num_heads))
    draws = np.vstack([half, -half]) * STRETCH
    odds = STRETCH**num_heads * np.exp(((draws / STRETCH) ** 2 - draws**2).sum(axis=1) / 2)
    rays = 1 / (directions * (reference - best))
    there = _reach(reference - front, rays).max(axis=0, initial=0.0)
    room, width = reference - mean, np.sqrt(variance)
    volumes = np.empty((len(mean), len(draws)))
    for start in range(0, len(mean), TOGETHER):
        part = slice(start, start + TOGETHER)
        drawn = room[part, None, :] - width[part, None, :] * draws
        volumes[part] = _volume(drawn, rays, there)
    return np.asarray((volumes - (there**num_heads).mean()) @ odds / len(odds))


def _volume(points: Array, rays: Array, there: Array) -> Array:
    """Return the volume that each point covers together with what is reached already."""
    reached = np.maximum(_reach(points, rays), there)
    return np.asarray((reached ** rays.shape[1]).mean(axis=-1))


def _reach(points: Array, rays: Array) -> Array:
    """Return how far points reach along each direction, shape ``(..., directions)``.

    Points, ``(..., heads)``, are how much better than the reference: what is not above 0
    everywhere reaches nowhere. Rays say what a unit of each head is worth along each direction.
    """
    least = points[..., 0, None] * rays[:, 0]
    for head in range(1, len(rays[0])):
        np.minimum(least, points[..., head, None] * rays[:, head], out=least)
    return np.asarray(np.maximum(least, 0.0, out=least))
