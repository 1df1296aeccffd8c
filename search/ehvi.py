"""The default sampler: what is expected to enlarge the front's volume most per epoch.

A Gaussian process for each head learns from where every learning curve is expected to end, so
that a trial which was stopped early teaches what it can, and one that runs what it has shown.
Untried configs and stopped trials compete: a stopped one is taken up again when that promises
more (freezing and thawing, Swersky et al. 2014, arXiv:1406.3896). The figure of merit is the
expected hypervolume improvement (Emmerich et al. 2006, doi:10.1109/TEVC.2005.851275).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.asking import Continue, RecordedTrial, Request
from search.coding import Key
from search.cube import any_key, at_share, listed, listed_places, near, places_of
from search.curves import at_end, steps
from search.gaussian import Observations, Process, fit
from search.improvement import expected_improvement
from search.shown import shown

Array = NDArray[np.float64]

STARTUP_TRIALS = 8
"""Trials that are spread over the space before anything is modelled."""
FEWEST_POINTS = 3
"""Trials with a point that it takes to model anything."""
EXPLORED = 0.1
"""Share of the later trials that is drawn at random, lest a wrong model go on for ever."""
MOST_MODELLED = 200
"""Trials that the model is shown."""
NUM_RANDOM, NUM_NEAR, NUM_ROOTS = 500, 300, 10
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
_MODEL, _EXPLORE, _LATIN = 0, 1, 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Evidence:
    """What is known of the trials that have shown anything, and which have not."""

    trials: tuple[RecordedTrial, ...]
    keys: tuple[Key, ...]
    values: Array
    """Shape ``(trials, heads)``: log skills at the end."""
    variances: Array
    waiting: tuple[Key, ...]
    """Of running trials that have shown nothing yet."""


def draw(request: Request) -> tuple[Key, dict[str, Any]] | Continue:
    """Return a config that is new, or the stopped trial to take up again."""
    evidence = _evidence(request)
    rng = request.rng(_EXPLORE)
    if len(request.known) < STARTUP_TRIALS or len(evidence.keys) < FEWEST_POINTS:
        spread = _spread(request)
        return spread if spread not in request.tried else _untried(request, rng), {}
    if rng.random() < EXPLORED:
        return _untried(request, rng), {}
    return _best(request, evidence, request.rng(_MODEL))


def _spread(request: Request) -> Key:
    """Return this trial's config of a Latin hypercube (McKay et al. 1979, doi:10.2307/1268522).

    Any ``STARTUP_TRIALS`` trials in a row, from a multiple of it on, have of every parameter one
    value from each of as many equal parts of its range.
    """
    block, place = divmod(request.number, STARTUP_TRIALS)
    rng = np.random.default_rng(np.random.SeedSequence(request.seed, spawn_key=(block, _LATIN)))
    key = []
    for kind in request.kinds.values():
        part = rng.permutation(STARTUP_TRIALS)[place]
        key.append(
            at_share(kind, float(part + rng.random(STARTUP_TRIALS)[place]) / STARTUP_TRIALS)
        )
    return request.prune(tuple(key))


def _untried(request: Request, rng: np.random.Generator) -> Key:
    every = listed(tuple(request.kinds.items()), tuple(request.gates.items()))
    left = [key for key in every if key not in request.tried]
    if left:
        return left[int(rng.integers(len(left)))]
    return request.prune(any_key(request.kinds, rng))


def _evidence(request: Request) -> _Evidence:
    """Judge by the curves of the trials where each of them will end."""
    known = shown(request.known, most=MOST_MODELLED)
    places = places_of(request.kinds, [key for _, key in known])
    with_curve = [row for row, (trial, _) in enumerate(known) if trial.curve]
    curves = [np.array(known[row][0].curve) for row in with_curve]
    learned = steps(curves, places[with_curve], request.epochs, request.num_heads)
    trials, keys, values, variances, waiting = [], [], [], [], []
    for (trial, key), place in zip(known, places, strict=True):
        if trial.curve:
            value, variance = at_end(np.array(trial.curve), place, learned)
        elif trial.point is not None:
            value, variance = np.array(trial.point), np.full(request.num_heads, AS_IT_IS)
        else:
            waiting.append(key)
            continue
        trials.append(trial)
        keys.append(key)
        values.append(value)
        variances.append(variance)
    return _Evidence(
        trials=tuple(trials),
        keys=tuple(keys),
        values=np.array(values).reshape(-1, request.num_heads),
        variances=np.array(variances).reshape(-1, request.num_heads),
        waiting=tuple(waiting),
    )


def _best(
    request: Request, evidence: _Evidence, rng: np.random.Generator
) -> tuple[Key, dict[str, Any]] | Continue:
    """Return the candidate with the largest expected improvement."""
    fresh, places = _candidates(request, evidence, rng)
    stopped = _promising(evidence)
    if not fresh and not stopped:
        return _untried(request, rng), {}
    seen = places_of(request.kinds, evidence.keys)
    gain = _gain(request, evidence, seen, np.vstack([places, seen[stopped]]), rng)
    best = int(np.argmax(gain))
    if best < len(fresh):
        return fresh[best], {}
    return Continue(number=evidence.trials[stopped[best - len(fresh)]].number)


def _candidates(
    request: Request, evidence: _Evidence, rng: np.random.Generator
) -> tuple[list[Key], Array]:
    """Return untried keys with their places: all, or random ones and some near the best."""
    space = tuple(request.kinds.items()), tuple(request.gates.items())
    every = listed(*space)
    if every:
        rows = [row for row, key in enumerate(every) if key not in request.tried]
        return [every[row] for row in rows], np.asarray(listed_places(*space)[rows])
    drawn = [any_key(request.kinds, rng) for _ in range(NUM_RANDOM)]
    order = np.argsort(evidence.values.mean(axis=1), kind="stable")[:NUM_ROOTS]
    for place in range(NUM_NEAR):
        root = evidence.keys[order[place % len(order)]]
        drawn.append(near(request.kinds, root, SPREAD, rng))
    new = dict.fromkeys(request.prune(key) for key in drawn)
    keys = [key for key in new if key not in request.tried]
    return keys, places_of(request.kinds, keys)


def _promising(evidence: _Evidence) -> list[int]:
    """Return the rows of the stopped trials that are expected to end best."""
    order = np.argsort(evidence.values.mean(axis=1), kind="stable")
    rows = [int(row) for row in order if evidence.trials[row].may_continue]
    return rows[:MOST_STOPPED]


def _gain(
    request: Request,
    evidence: _Evidence,
    seen: Array,
    places: Array,
    rng: np.random.Generator,
) -> Array:
    """Return the expected improvement of the volume by each candidate place."""
    waiting = places_of(request.kinds, evidence.waiting) if evidence.waiting else seen[:0]
    processes = [
        _believed(seen, evidence.values[:, head], evidence.variances[:, head], waiting, rng)
        for head in range(request.num_heads)
    ]
    # A stopped trial adds nothing to the front unless it is taken up again.
    counts = [not trial.may_continue for trial in evidence.trials]
    standing = np.vstack([seen[counts], waiting])
    predicted = [process.predict(places) for process in processes]
    sampled = _sample(request, rng)
    return expected_improvement(
        np.column_stack([mean for mean, _ in predicted]),
        np.column_stack([variance for _, variance in predicted]),
        front=np.column_stack([process.mean(standing) for process in processes]),
        reference=np.quantile(
            np.column_stack([process.mean(sampled) for process in processes]), REFERENCE, axis=0
        ),
        rng=rng,
    )


def _sample(request: Request, rng: np.random.Generator) -> Array:
    """Return places all over the space."""
    space = tuple(request.kinds.items()), tuple(request.gates.items())
    if every := listed(*space):
        rows = rng.permutation(len(every))[:NUM_SAMPLED]
        return np.asarray(listed_places(*space)[rows])
    drawn = [request.prune(any_key(request.kinds, rng)) for _ in range(NUM_SAMPLED)]
    return places_of(request.kinds, drawn)


def _believed(
    seen: Array, values: Array, variances: Array, waiting: Array, rng: np.random.Generator
) -> Process:
    """Return what is believed of one head, in units of the spread of its values.

    Of trials that have shown nothing yet it believes what it expects of them, so that the next
    suggestions look elsewhere (the kriging believer of Ginsbourger et al. 2010,
    doi:10.1007/978-3-642-10701-6_6).
    """
    spread = float(values.std()) + 1e-9
    shared = Observations(
        places=seen, values=(values - values.mean()) / spread, variances=variances / spread**2
    )
    kernel = fit(shared, rng)
    process = Process(kernel, shared)
    if not len(waiting):
        return process
    believed = Observations(
        places=np.vstack([seen, waiting]),
        values=np.append(shared.values, process.mean(waiting)),
        variances=np.append(shared.variances, np.zeros(len(waiting))),
    )
    return Process(kernel, believed)
