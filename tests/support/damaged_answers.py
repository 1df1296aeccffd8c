"""All that is read from a storage, as text that can be compared: answers, errors, warnings."""

import hashlib
import io
import json
import traceback
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from rich.console import Console

from search.cli import local as commands
from search.errors import SearchError, StudyWarning
from search.record.reader import StudyReader
from search.results.load import load
from search.results.retrained import confirmed_point
from search.view import json_form as as_json
from search.view.best import print_best
from search.view.study import print_show
from tests.support.damaged_tree import (
    CACHE,
    FINISHED,
    INTERRUPTED,
    STORAGE,
    copy_of,
    fingerprint_of,
    resume,
)
from trainables.data.dataset import Dataset, open_dataset
from trainables.storage.store import Store
from trainables.trial import checkpoint

STATISTICS = "runs"
"""First word of the answers that may be left out with a warning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one question gave."""

    status: str
    """``answered``, ``refused`` (an error of ours) or ``broken`` (any other)."""
    text: str
    warned: bool = False


def all_answers(work: Path, *, resumed: tuple[str, ...] = ()) -> dict[str, Answer]:
    """Ask everything of the tree in ``work``.

    Args:
        work: The tree.
        resumed: The studies that are run to their end after that.
    """
    asked: dict[str, Callable[[], str]] = {}
    for name in (FINISHED, INTERRUPTED):
        for kind, question in QUESTIONS.items():
            asked[f"{kind} {name}"] = lambda name=name, q=question: q(f"{work}/{STORAGE}/{name}")  # type: ignore[misc]
        asked[f"listed {name}"] = lambda name=name: _listed(work, name)  # type: ignore[misc]
    asked["data"] = lambda: _content(_stored(work))
    asked["data copied"] = lambda: _content(copy_of(work))
    for name in resumed:
        asked[f"resume {name}"] = lambda name=name: json.dumps(resumed_in(work)(work, name))  # type: ignore[misc]
    with mock.patch("os.fsync"):  # no power is cut here, and to wait for the disk takes longest
        return {question: _answer(ask) for question, ask in asked.items()}


def resumed_in(work: Path) -> Callable[[Path, str], list[tuple[Any, ...]]]:
    """Return what runs a study of this tree to its end."""
    if not (work.parent / "source" / "study.yaml").exists():
        return resume
    from tests.support import damaged_keras_tree

    return damaged_keras_tree.resume


def to_json(answers: dict[str, Answer]) -> str:
    return json.dumps({question: asdict(answer) for question, answer in answers.items()})


def from_json(text: str) -> dict[str, Answer]:
    return {question: Answer(**values) for question, values in json.loads(text).items()}


def _answer(ask: Callable[[], str]) -> Answer:
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        try:
            text, status = ask(), "answered"
        except SearchError as error:
            text, status = f"{type(error).__name__}: {error}", "refused"
        except Exception:
            text, status = traceback.format_exc(), "broken"
    warned = any(issubclass(one.category, StudyWarning) for one in given)
    return Answer(status=status, text=text, warned=warned)


def _best(folder: str) -> str:
    result = load(folder)
    point = result.best()
    print_best(_nowhere(), result, point)
    return _text({**as_json.best_to_dict(result, point), "confirmed": None})


def _confirmed(folder: str) -> str:
    result = load(folder)
    candidate = confirmed_point(result, result.best())
    return repr(candidate and candidate.repeats)


def _show(folder: str) -> str:
    result = load(folder)
    print_show(_nowhere(), result)
    shown = as_json.study_to_dict(result)
    if shown["best"]:
        shown["best"]["confirmed"] = None
    return _text({name: v for name, v in shown.items() if name not in {"runs", "ledger"}})


def _runs(folder: str) -> str:
    result = load(folder)
    shown = as_json.study_to_dict(result)
    return _text({"runs": shown["runs"], "ledger": shown["ledger"]})


def _trials(folder: str) -> str:
    result = load(folder)
    return repr((result.trials, result.points(), result.pareto()))


def _history(folder: str) -> str:
    """Return the decisions and the epochs, line by line: an earlier moment has fewer of both."""
    reader = StudyReader(Store(folder))
    history = reader.read()
    lines = [f"decided {g} {d!r}" for g, segment in reader.segments.read() for d in segment]
    lines += [f"measured {one!r}" for trial in history.trials for one in trial.measurements]
    return "\n".join(lines)


def _confirm_history(folder: str) -> str:
    store = Store(folder).child("confirm")
    return _history(store.uri) if store.exists("study.json") else ""


def _weights(folder: str) -> str:
    """Return the hash of the weights of each point, checked as `StudyResult.model` does it."""
    result = load(folder)
    found = {}
    for point in result.points():
        one = result.to_restore(point)
        state = checkpoint.load_weights(Store(folder), one["checkpoint"], sha256=one["sha256"])
        found[one["checkpoint"]] = {name: _hash(array) for name, array in state.items()}
    return _text(found)


QUESTIONS: dict[str, Callable[[str], str]] = {
    "best": _best,
    "confirmed": _confirmed,
    "show": _show,
    STATISTICS: _runs,
    "trials": _trials,
    "history": _history,
    "confirmation": _confirm_history,
    "weights": _weights,
}


def _listed(work: Path, name: str) -> str:
    """Return what `twohead list` knows of one study; the others must be in its table, too."""
    status = commands.list_(Namespace(storage=f"{work}/{STORAGE}"), _nowhere())
    found = commands._load(f"{work}/{STORAGE}/{name}")
    if isinstance(found, str):
        raise Unreadable(found)
    return f"{status} {found.state} {len(found.trials)} {found.best().number}"


class Unreadable(SearchError):
    """What `twohead list` says of a study that cannot be read."""


def _stored(work: Path) -> Dataset:
    return open_dataset(f"{work}/{STORAGE}", fingerprint_of(work), work / CACHE)


def _content(data: Dataset) -> str:
    return _text({split.name: dict(_hashes(split)) for split in data.splits})


def _hashes(split: Any) -> Iterator[tuple[str, str]]:
    yield "image", _hash(split.images)
    for name, values in split.labels.items():
        yield name, _hash(values)


def _hash(array: Any) -> str:
    return f"{array.dtype}{array.shape}{hashlib.sha256(array.tobytes()).hexdigest()}"


def _text(values: Any) -> str:
    return json.dumps(values, sort_keys=True, default=repr)


def _nowhere() -> Console:
    return Console(file=io.StringIO(), width=200)
