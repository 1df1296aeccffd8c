"""The default sampler: what is expected to enlarge the front's volume most.

A Gaussian process for each head learns from where every learning curve is expected to end, so
that a trial which was stopped early teaches what it can, and one that runs what it has shown.
Untried configs and stopped trials compete: a stopped one is taken up again when that promises
more (freezing and thawing, Swersky et al. 2014, arXiv:1406.3896). The figure of merit is the
expected hypervolume improvement (Emmerich et al. 2006, doi:10.1109/TEVC.2005.851275).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from search.sampling.cube import Cube, cube_of
from search.sampling.gaussian import Observations, Process, at_end, fit
from search.sampling.trials import Continue, RecordedTrial, Request, shown
from search.space.encoding import Key

Array = NDArray[np.float64]

STARTUP_TRIALS = 6
"""Trials that are spread over the space before anything is modelled."""
FEWEST_POINTS = 3
"""Trials with a point that it takes to model anything."""
EXPLORED = 0.1
"""Share of the later trials that is drawn at random, lest a wrong model go on for ever."""
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
MOST_STOPPED = 60
"""Stopped trials that may be taken up again: the most promising."""
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

    trials: tuple[RecordedTrial, ...]
    keys: tuple[Key, ...]
    places: Array
    """Shape ``(trials, coordinates)``."""
    values: Array
    """Shape ``(trials, heads)``: log skills at the end."""
    variances: Array
    """The same shape."""
    waiting: Array
    """Shape ``(more trials, coordinates)``: where those run that have shown nothing yet."""


def draw(request: Request) -> tuple[Key, dict[str, Any]] | Continue:
    """Return a config that is new, or the stopped trial to take up again.

    On one thread: several change the last digits, and so the answer, with the machine; and for
    matrices this small they gain nothing and on a busy machine wait for each other.
    """
    with _blas().limit(limits=1, user_api="blas"):
        return _draw(request)


@cache
def _blas() -> ThreadpoolController:
    """Find the libraries that have threads, once: it takes milliseconds."""
    return ThreadpoolController()


def _draw(request: Request) -> tuple[Key, dict[str, Any]] | Continue:
    cube = cube_of(request.kinds, request.gates)
    evidence = _evidence(request, cube)
    rng = request.rng(_EXPLORE)
    num_points = sum(not _has_failed(trial) for trial in evidence.trials)
    if len(request.known) < STARTUP_TRIALS or num_points < FEWEST_POINTS:
        spread = _spread(request, cube)
        return spread if spread not in request.tried else _untried(request, cube, rng), {}
    if rng.random() < EXPLORED:
        return _untried(request, cube, rng), {}
    return _best(request, cube, evidence)


def _spread(request: Request, cube: Cube) -> Key:
    """Return this trial's config of a Latin hypercube (McKay et al. 1979, doi:10.2307/1268522).

    Any ``STARTUP_TRIALS`` trials in a row, from a multiple of it on, have of every parameter one
    value from each of as many equal parts of its range.
    """
    block, place = divmod(request.number, STARTUP_TRIALS)
    rng = np.random.default_rng(np.random.SeedSequence(request.seed, spawn_key=(block, _LATIN)))
    parts = np.array([rng.permutation(STARTUP_TRIALS)[place] for _ in request.kinds])
    within = rng.random((STARTUP_TRIALS, len(parts)))[place]
    return cube.key(((parts + within) / STARTUP_TRIALS).tolist())


def _untried(request: Request, cube: Cube, rng: np.random.Generator) -> Key:
    left = [key for key in cube.every_key if key not in request.tried]
    return (
        left[int(rng.integers(len(left)))]
        if left
        else cube.key(rng.random(len(request.kinds)).tolist())
    )


def _evidence(request: Request, cube: Cube) -> _Evidence:
    """Judge by the curves of the trials where each of them will end."""
    known = shown(request.known, most=MOST_MODELLED)
    with_curve = [(trial, key) for trial, key in known if trial.curve]
    as_it_is = [pair for pair in known if not pair[0].curve and pair[0].point is not None]
    waiting = [key for trial, key in known if not trial.curve and trial.point is None]
    places = cube.places([key for _, key in with_curve])
    values = variances = np.empty((0, request.num_heads))
    if with_curve:
        curves = [np.array(trial.curve) for trial, _ in with_curve]
        values, variances = at_end(curves, places, request.epochs)
    failed = [pair for pair in request.known if _has_failed(pair[0])][-MOST_FAILED:]
    points = np.array([trial.point for trial, _ in as_it_is]).reshape(-1, request.num_heads)
    values = np.vstack([values, points])
    variances = np.vstack([variances, np.full_like(points, AS_IT_IS)])
    if not len(values):
        failed = []
    told = [*with_curve, *as_it_is, *failed]
    worst = values.max(axis=0, initial=-np.inf)
    return _Evidence(
        trials=tuple(trial for trial, _ in told),
        keys=tuple(key for _, key in told),
        places=cube.places([key for _, key in told]),
        values=np.vstack([values, np.tile(worst, (len(failed), 1))]),
        variances=np.vstack([variances, np.full((len(failed), request.num_heads), FAILED)]),
        waiting=cube.places(waiting),
    )


def _has_failed(trial: RecordedTrial) -> bool:
    """Tell whether a trial has no finite point and never will."""
    return trial.point is None and not trial.is_pending


def _best(
    request: Request, cube: Cube, evidence: _Evidence
) -> tuple[Key, dict[str, Any]] | Continue:
    """Return the candidate with the largest expected improvement."""
    rng = request.rng(_MODEL)
    key_of, places = _candidates(request, cube, evidence, rng)
    stopped = _promising(evidence)
    sampled = _sample(cube, len(request.kinds), rng)
    everywhere = np.vstack([places, evidence.places[stopped]])
    gain = _gain(evidence, everywhere, sampled, rng)
    for best in np.argsort(-gain, kind="stable").tolist():
        if best >= len(places):
            return Continue(number=evidence.trials[stopped[best - len(places)]].number)
        key = key_of(best)
        if key not in request.tried:
            return key, {}
    return _untried(request, cube, rng), {}


def _candidates(
    request: Request, cube: Cube, evidence: _Evidence, rng: np.random.Generator
) -> tuple[Callable[[int], Key], Array]:
    """Return where new configs could lie, and how to get the key of each.

    Of a small space all that are untried, or many of them; of a large one random ones, and some
    near the best.
    """
    if every := cube.every_key:
        rows = [row for row, key in enumerate(every) if key not in request.tried]
        if len(rows) > MOST_CANDIDATES:
            rows = np.sort(rng.choice(rows, MOST_CANDIDATES, replace=False)).tolist()
        return lambda row: every[rows[row]], cube.every_place[rows]
    order = np.argsort(evidence.values.mean(axis=1), kind="stable")[:NUM_ROOTS]
    roots = [evidence.keys[row] for row in order]
    random = rng.random((NUM_RANDOM, len(request.kinds)))
    shares = np.vstack([random, cube.near(roots, NUM_NEAR, SPREAD, rng)])

    def key_of(row: int) -> Key:
        root = roots[(row - NUM_RANDOM) % len(roots)] if row >= NUM_RANDOM else None
        return cube.key(shares[row].tolist(), root)

    return key_of, cube.at(shares)


def _promising(evidence: _Evidence) -> list[int]:
    """Return the rows of the stopped trials that are expected to end best."""
    order = np.argsort(evidence.values.mean(axis=1), kind="stable")
    may = [trial.may_continue and not _has_failed(trial) for trial in evidence.trials]
    return [int(row) for row in order if may[row]][:MOST_STOPPED]


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
    # A stopped trial adds nothing to the front unless it is taken up again.
    counts = [not trial.may_continue and not _has_failed(trial) for trial in evidence.trials]
    standing = np.vstack([evidence.places[counts], evidence.waiting])
    predicted = [process.predict(places) for process in processes]
    expected = np.column_stack([process.mean(sampled) for process in processes])
    return expected_improvement(
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


def expected_improvement(
    mean: Array, variance: Array, front: Array, reference: Array, rng: np.random.Generator
) -> Array:
    """Return the expected hypervolume improvement of each candidate, up to one constant.

    The volume between points and a reference is the mean, over random directions, of a power of
    how far the points reach along each (Golovin and Zhang 2020, arXiv:2006.04655): any number
    of heads costs the same. The expectation is over draws that all candidates share.

    Args:
        mean: Shape ``(candidates, heads)``: expected losses, smaller is better.
        variance: The same shape: how uncertain they are.
        front: Shape ``(points, heads)``: what there is already; may be empty.
        reference: Shape ``(heads,)``: only what is better on every head counts.
        rng: Draws directions and samples.

    Returns:
        Shape ``(candidates,)``, each >= 0.
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
    """Return the volume that each point covers together with what is covered already.

    Args:
        points: Shape ``(..., heads)``: by how much each is better than the reference.
        rays: See `_reach`.
        there: Shape ``(directions,)``: what is reached already along each direction.

    Returns:
        Shape ``(...,)``.
    """
    reached = np.maximum(_reach(points, rays), there)
    return np.asarray((reached ** rays.shape[1]).mean(axis=-1))


def _reach(points: Array, rays: Array) -> Array:
    """Return how far points reach along each direction.

    Args:
        points: Shape ``(..., heads)``; what is not above 0 everywhere reaches nowhere.
        rays: Shape ``(directions, heads)``: what a unit of each head is worth along each.

    Returns:
        Shape ``(..., directions)``.
    """
    least = points[..., 0, None] * rays[:, 0]
    for head in range(1, len(rays[0])):
        np.minimum(least, points[..., head, None] * rays[:, head], out=least)
    return np.asarray(np.maximum(least, 0.0, out=least))
