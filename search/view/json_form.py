"""Results as plain JSON values, for other programs."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from search.errors import NoCandidate
from search.record.history import TrialRecord
from search.record.metrics import HasFigures
from search.results.confirmation import Candidate, Confirmation, Spread
from search.results.ledger import make_ledger
from search.results.points import Point
from search.results.result import StudyResult
from search.results.retrained import confirmed_point
from search.study.objective import study_warnings


def to_text(values: Mapping[str, Any]) -> str:
    """Return one JSON object; a number that JSON does not know becomes null.

    Example:
        >>> print(to_text({"loss": float("nan")}))
        {
          "loss": null
        }
    """
    return json.dumps(_finite(values), indent=2, allow_nan=False)


def best_to_dict(result: StudyResult, point: Point) -> dict[str, Any]:
    """Return a chosen point with all that stands beside it."""
    reference = result.reference()
    confirmed = confirmed_point(result, point)
    return {
        **_point(result, point),
        "policy": point.policy,
        "why": point.why,
        "objective": list(result.chooser.objective.names),
        "others": {policy: _other(result, other) for policy, other in point.others.items()},
        "reference": None if reference is None else _point(result, reference),
        "confirmed": None if confirmed is None else _again(confirmed),
        "signature": result.signature.to_dict(),
    }


def study_to_dict(result: StudyResult) -> dict[str, Any]:
    """Return a whole study: what it is, its trials, its front and its seconds."""
    try:
        best: dict[str, Any] | None = best_to_dict(result, result.best())
    except NoCandidate:
        best = None
    return {
        "name": result.study.name,
        "folder": result.folder,
        "state": result.state,
        "study": result.study.to_dict(),
        "warnings": list(study_warnings(result.study)),
        "prepared": result.prepared.to_dict() if result.has_begun else None,
        "shares": None if (shares := result.shares) is None else shares.to_dict(),
        "trials": [_trial(trial) for trial in result.trials],
        "front": [_point(result, point) for point in result.pareto()],
        "best": best,
        "ledger": make_ledger(result.trials, result.runs).to_dict(),
        # A run's figures of each trial are left out: there may be thousands.
        "runs": [
            {key: value for key, value in run.items() if key != "trial_seconds"}
            for run in result.runs
        ],
    }


def confirmation_to_dict(confirmed: Confirmation) -> dict[str, Any]:
    """Return a whole confirmation."""
    return {
        **_taken(confirmed, "name", "folder", "policy", "options"),
        "objective": list(confirmed.chooser.objective.names),
        "seeds": list(confirmed.seeds),
        **_taken(confirmed, "verdict", "gain"),
        "first_in_study": confirmed.first.point.number,
        "leader": confirmed.leader.point.number,
        "candidates": [
            {
                "rank": rank,
                "was": candidate.was,
                **_taken(candidate.point, "number", "epoch", "is_reference", "config"),
                "study": {
                    **_taken(candidate.point, "losses", "metrics"),
                    "test": _figures(candidate.point.test),
                },
                **_again(candidate),
                "skill": _skill(confirmed.skill(candidate)),
            }
            for rank, candidate in enumerate(confirmed.candidates, start=1)
        ],
    }


def _point(result: StudyResult, point: Point) -> dict[str, Any]:
    """Return one point; ``checkpoint`` is an absolute path or a URI."""
    return {
        **_taken(point, "number", "epoch", "state", "is_reference", "config", "losses"),
        "skills": {head: point.losses[head] / result.baselines[head] for head in result.heads},
        "metrics": point.metrics,
        "test": _figures(point.test),
        "checkpoint": result.checkpoint_uri(point),
        "checkpoint_sha256": point.checkpoint_sha256,
    }


def _other(result: StudyResult, point: Point) -> dict[str, Any]:
    """Return what another policy would have chosen; the rest of it is among the trials."""
    whole = _point(result, point)
    return {key: whole[key] for key in ("number", "epoch", "losses", "skills", "metrics", "test")}


def _trial(trial: TrialRecord) -> dict[str, Any]:
    return {
        **_taken(trial, "number", "state", "reason", "is_reference", "origin", "num_attempts"),
        "lost": [
            {"attempt": r.attempt, "cause": r.cause, "is_charged": r.charged, "epoch": r.epoch}
            for r in trial.releases
        ],
        "nodes": list(trial.nodes),
        **_taken(trial, "taken_up_after", "config"),
        "epochs": [
            _taken(m, "epoch", "losses", "metrics", "loss", "seconds", "node")
            for m in trial.measurements
        ],
    }


def _again(candidate: Candidate) -> dict[str, Any]:
    """Return what fresh seeds gave for a point."""
    return {
        "losses": _spreads(candidate.losses),
        "metrics": _spreads(candidate.metrics),
        "test": _spreads(candidate.test) or None,
        "test_metrics": _spreads(candidate.test_metrics) or None,
        "trainings": [
            {
                "seed": seed,
                "failure": candidate.failed.get(seed),
                "validation": _figures(candidate.trained.get(seed)),
                "test": _figures(candidate.tested.get(seed)),
            }
            for seed in candidate.repeats
        ],
    }


def _spreads(spreads: Mapping[str, Spread]) -> dict[str, Any]:
    return {name: asdict(spread) for name, spread in spreads.items()}


def _skill(spread: Spread | None) -> dict[str, Any] | None:
    """Return the spread of a skill, whose deviation is a share of it and is named so."""
    if spread is None:
        return None
    values = asdict(spread)
    share = values.pop("deviation")
    return {**values, "deviation_share": share}


def _figures(figures: HasFigures | None) -> dict[str, Any] | None:
    return None if figures is None else _taken(figures, "losses", "metrics")


def _taken(value: object, *names: str) -> dict[str, Any]:
    """Return some attributes of a value by their names."""
    return {name: getattr(value, name) for name in names}


def _finite(value: Any) -> Any:
    """Return a copy in which every number is one that JSON knows."""
    if isinstance(value, Mapping):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
