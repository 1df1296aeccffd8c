"""Results as plain JSON values, for other programs."""

import json
import math
from collections.abc import Mapping
from typing import Any

from search.errors import NoCandidate
from search.results.ledger import make_ledger
from search.results.points import Figures, Point, TrialRecord
from search.results.result import StudyResult
from search.study.objective import study_warnings
from search.study.shares import read_shares
from search.view.best import checkpoint_of, skills_of
from search.view.confirmation import confirmed_to_dict
from trainables.storage.store import Store


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
    return {
        **point_to_dict(result, point),
        "policy": point.policy,
        "why": point.why,
        "objective": list(result.chooser.objective.names),
        "others": {policy: _other(result, other) for policy, other in point.others.items()},
        "reference": None if reference is None else point_to_dict(result, reference),
        "confirmed": confirmed_to_dict(result, point),
        "signature": result.signature.to_dict(),
    }


def point_to_dict(result: StudyResult, point: Point) -> dict[str, Any]:
    """Return one point; ``checkpoint`` is an absolute path or a URI."""
    return {
        "number": point.number,
        "epoch": point.epoch,
        "state": point.state,
        "is_reference": point.is_reference,
        "config": dict(point.config),
        "losses": dict(point.losses),
        "skills": skills_of(result, point.losses),
        "metrics": dict(point.metrics),
        "test": None if point.test is None else _figures(point.test),
        "checkpoint": checkpoint_of(result, point),
        "checkpoint_sha256": point.checkpoint_sha256,
    }


def _other(result: StudyResult, point: Point) -> dict[str, Any]:
    """Return what another policy would have chosen; the rest of it is among the trials."""
    whole = point_to_dict(result, point)
    return {key: whole[key] for key in ("number", "epoch", "losses", "skills", "metrics", "test")}


def study_to_dict(result: StudyResult, state: str) -> dict[str, Any]:
    """Return a whole study: what it is, its trials, its front and its seconds."""
    try:
        best: dict[str, Any] | None = best_to_dict(result, result.best())
    except NoCandidate:
        best = None
    return {
        "name": result.study.name,
        "folder": result.folder,
        "state": state,
        "study": result.study.to_dict(),
        "warnings": list(study_warnings(result.study)),
        "prepared": result.prepared.to_dict() if result.has_begun else None,
        "shares": _shares(result),
        "trials": [_trial(trial) for trial in result.trials],
        "front": [point_to_dict(result, point) for point in result.pareto()],
        "best": best,
        "ledger": make_ledger(result.trials, result.runs).to_dict(),
        "runs": [_run_to_dict(run) for run in result.runs],
    }


def _shares(result: StudyResult) -> dict[str, Any] | None:
    """Return what was measured for the trials; None where their shares are fixed."""
    shares = read_shares(Store(result.folder)) if result.study.resources.is_open else None
    return None if shares is None else shares.to_dict()


def _run_to_dict(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's figures, without those of each trial, of which there may be thousands."""
    return {key: value for key, value in run.items() if key != "trial_seconds"}


def _trial(trial: TrialRecord) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state,
        "reason": trial.reason,
        "is_reference": trial.is_reference,
        "origin": trial.origin,
        "num_attempts": trial.num_attempts,
        "lost": [
            {"attempt": r.attempt, "cause": r.cause, "is_charged": r.charged, "epoch": r.epoch}
            for r in trial.releases
        ],
        "nodes": list(trial.nodes),
        "taken_up_after": trial.taken_up_after,
        "config": dict(trial.config),
        "epochs": [
            {
                "epoch": m.epoch,
                "losses": dict(m.losses),
                "metrics": dict(m.metrics),
                "loss": m.loss,
                "seconds": dict(m.seconds),
                "node": m.node,
            }
            for m in trial.measurements
        ],
    }


def _figures(figures: Figures) -> dict[str, Any]:
    return {"losses": dict(figures.losses), "metrics": dict(figures.metrics)}


def _finite(value: Any) -> Any:
    """Return a copy in which every number is one that JSON knows."""
    if isinstance(value, Mapping):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
