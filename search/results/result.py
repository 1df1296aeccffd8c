"""What a study found: trials, points, the best config and its model."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace as replace_trial

from search.errors import InputError, NoCandidate
from search.record.decisions import DONE, Tested
from search.record.history import History, TrialRecord
from search.record.metrics import point_words
from search.results.chooser import Chooser
from search.results.points import Point, kept_points, point_of
from search.results.policies import DEFAULT_POLICY, HEAD
from search.study.configs import data_request
from search.study.moved_data import find_data
from search.study.objective import objective_of
from search.study.prepared import Prepared, shared_settings, signature_of
from search.study.shares import MeasuredShares, read_shares, threads_of
from search.study.study import Study
from search.text import count, one_line
from trainables.spec.plain_values import plain
from trainables.storage.store import Store
from trainables.storage.study_folder import StudyFolder
from trainables.trial.measurement import Measurement

if TYPE_CHECKING:
    import os

    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from trainables.model.prediction import Prediction
    from trainables.model.preprocessing import Images
    from trainables.model.signature import ModelSignature
    from trainables.training.predictor import Predictor


class StudyResult:
    """A study at one moment, read from its folder; made by `search.load` or `search.run`."""

    def __init__(
        self,
        folder: str,
        study: Study,
        history: History,
        *,
        is_running: bool = False,
        runs: tuple[Mapping[str, Any], ...] = (),
    ) -> None:
        self.folder = folder
        """Where the study lies."""
        self.store = StudyFolder(folder)
        self.study = study
        """What was searched, with the budget in force."""
        self.is_running = is_running
        """Whether a process on this machine is at work on it."""
        self._history = history
        self.runs = runs
        """Of each time that it was run: ``wall_seconds``, ``slots``, ``startup_seconds``,
        ``idle_seconds`` (at the end, when no trial was left for a slot) and ``trials``."""
        known = history.prepared
        self._prepared = None if known is None else Prepared.from_dict(known)
        self.trials = tuple(
            trial if is_running or trial.has_ended else replace_trial(trial, state="interrupted")
            for trial in history.trials
        )
        """Every trial, by number; what runs for nobody was interrupted."""

    def __repr__(self) -> str:
        return self._described

    @cached_property
    def _described(self) -> str:
        """What `repr` gives: of a moment, so it is made once; it reads no file."""
        return one_line(self, self._words)

    def _words(self) -> str:
        trials = count(len(self.trials), "trial")
        said = f"{self.study.name!r}: {self.state}, {trials} of {self.study.budget.trials}"
        points = self.points() if self.has_begun else ()
        if not points:
            return said
        best = self.chooser.pick(self.chooser.front(points))
        return f"{said}, best {best.name}: {point_words(best)}"

    @property
    def state(self) -> str:
        """Where it stands: running, finished, interrupted or not begun."""
        if self.is_running:
            return "running"
        if self.is_finished:
            return "finished"
        return "interrupted" if self.trials else "not begun"

    @property
    def newest_run(self) -> int:
        """The generation of the run that came last, counted from 1; its attempts carry it."""
        return self._history.generation

    def under(self, study: Study) -> "StudyResult":
        """Return the same with another budget, and lying where ``study`` says."""
        return StudyResult(
            self.folder, study, self._history, is_running=self.is_running, runs=self.runs
        )

    @property
    def recorded(self) -> Mapping[str, Any]:
        """What was written down when the study began, in the form of `Study.to_dict`."""
        return self._history.study

    def find_data(self, study: Study) -> Study:
        """Return a study with the data that this one began with where they lie now.

        Raises:
            StudyDiffers: If they are nowhere.
        """
        return find_data(study, self.recorded, self.prepared.data)

    @property
    def has_begun(self) -> bool:
        """Whether its data were looked at."""
        return self._prepared is not None

    @property
    def is_finished(self) -> bool:
        """Whether every trial of the budget has ended (or its hours are over).

        And whether the figures on the test split are there, unless a run ended in order without
        them: one that was interrupted while they were measured has left something to do.
        """
        ended = sum(trial.has_ended for trial in self._history.trials)
        grown = any(
            trial.state == "complete" and trial.num_epochs < self.study.budget.epochs
            for trial in self.trials
        )
        over = self._history.is_closed and self._history.close_reason == DONE
        is_whole = ended >= self.study.budget.trials
        return not grown and (over or (is_whole and not self._lacks_test_figures()))

    @property
    def prepared(self) -> Prepared:
        """What was found out before the first trial.

        Raises:
            NoCandidate: If the study never got that far.
        """
        if self._prepared is None:
            raise NoCandidate(f"study {self.study.name!r} has not begun: it has no trials yet")
        return self._prepared

    def points(self) -> tuple[Point, ...]:
        """Return every point that could be chosen: finite, kept, and of no failed trial."""
        return self._points

    @cached_property
    def _points(self) -> tuple[Point, ...]:
        return tuple(point_of(trial, one) for trial in self.trials for one in kept_points(trial))

    def pareto(self) -> tuple[Point, ...]:
        """Return the front: what no other point beats on all of the study's objective.

        Ordered by the first value of it.
        """
        return self.chooser.front(self.points())

    def best(
        self,
        policy: str = DEFAULT_POLICY,
        *,
        exponents: Mapping[str, float] | None = None,
        head: str | None = None,
        **options: Any,
    ) -> Point:
        """Return the point of the front that a policy picks.

        It says why (``why``) and what the other policies would have chosen (``others``). The
        reference trial is returned only if no other point is better by the policy.

        Args:
            policy: One of ``search.results.policies.POLICIES``; ``head`` alone implies ``"head"``.
            exponents: Of each head's skill, for ``geometric_mean``; 1 where not named.
            head: The head to look at, for ``head``: any of the study, whatever its objective.
            **options: Further options of the policy.

        Raises:
            NoCandidate: If no trial has a point; the message counts what became of them.
            InputError: If the policy or an option is unknown.
        """
        policy = plain(policy) if head is None else HEAD
        told = {"exponents": exponents, "head": head}
        said = {name: value for name, value in told.items() if value is not None}
        given = plain({**options, **said})
        points = self.points()
        if not points:
            raise NoCandidate(self._why_none())
        return self.chooser.explained(points, policy, given)

    def reference(self) -> Point | None:
        """Return the reference trial's best point by the default policy, None without one."""
        points = [point for point in self.points() if point.is_reference]
        return self.chooser.pick(points) if points else None

    def points_to_test(self) -> tuple[Point, ...]:
        """Return the points whose figures on the test split are worth having.

        What each policy chooses, the default first, and the reference: once each.
        """
        if not self.points():
            return ()
        best, reference = self.best(), self.reference()
        wanted = [best, *best.others.values(), *([reference] if reference else [])]
        return tuple({(point.number, point.epoch): point for point in wanted}.values())

    def tested(self, point: Point, *, data: "str | os.PathLike[str] | None" = None) -> Point:
        """Return a point with its figures on the test split, measured now if they are not known.

        What is measured here is not recorded. Imports TensorFlow.

        Args:
            point: Which.
            data: Where the data set is now; None: where the study finds it, if its decoded images
                are no longer in the storage.

        Raises:
            InputError: If the data have no test split, or are not found, or ``point`` is none.
            CheckpointError: If the weights are missing or damaged.
        """
        if not self.has_test_split:
            raise InputError(f"test figures need rows of split 'test', got {self.study.data}")
        own = [self.to_restore(point)]
        if point.test is not None:
            return point
        self._decode(data)
        from trainables.trial.keras_factory import evaluate_points

        settings = replace(shared_settings(self.study, self.prepared), cpu=threads_of(self.study))
        [(losses, metrics)] = evaluate_points(self.folder, settings, own, "test")
        tested = Tested(number=point.number, epoch=point.epoch, losses=losses, metrics=metrics)
        return replace(point, test=tested)

    def _decode(self, data: "str | os.PathLike[str] | None") -> None:
        """Decode the data set where a study was moved without its decoded images."""
        from trainables.data.decode import decode_dataset, is_decoded

        info, storage = self.prepared.data, Store(self.study.storage).uri
        if data is None and is_decoded(info, storage):
            return
        found = self.find_data(self.study.with_data(data))
        decode_dataset(data_request(found, info.rules), info.fingerprint, storage)

    @property
    def has_test_split(self) -> bool:
        """Whether the data have rows that were neither trained on nor chosen by."""
        return bool(self.prepared.data.rows.get("test"))

    def table(self) -> "pa.Table":
        """Return a row per trial and epoch.

        Columns: ``number``, ``epoch``, ``state``, ``is_reference``, one per parameter,
        ``val_<head>_loss``, the metrics, ``loss`` (weighted, training), ``seconds`` and its
        parts ``seconds_<part>``. What a trial does not have is null.
        """
        return _study_table(self.trials, self.heads)

    def predict(self, images: "Images", point: Point | None = None) -> "list[Prediction]":
        """Return what a point's model says of each image, in the terms of the training labels.

        Class names with probabilities, numbers in the labels' unit, boxes in the declared format
        and scale of each original image. Imports TensorFlow, and loads the weights: for many
        calls keep a `predictor`.

        Args:
            images: Paths, bytes (PNG, JPEG, WebP, GIF, TIFF, BMP), arrays of any size (one or
                many), PIL images, a list of these, or a Parquet file or folder with a column
                ``image``. A grey image is taken where the data have colour, a colour image
                where they are grey is not.
            point: Which; None: `best`.

        Returns:
            One `Prediction` per image, in order; always a list.

        Raises:
            InputError: At the first image that cannot be used, naming it.
            CheckpointError: If the weights are missing or damaged.

        Example:
            >>> said = result.predict("photo.jpg")[0]  # doctest: +SKIP
            >>> said["c_output"].name, said["r_output"].box  # doctest: +SKIP
            ('WBC', (260.0, 177.0, 491.0, 376.0))
        """
        return self.predictor(point).predict(images)

    def predictor(self, point: Point | None = None) -> "Predictor":
        """Return what predicts with a point's model, loaded once; without one, `best`'s.

        ``predict`` returns a list, ``predict_each`` yields, in bounded memory.

        Raises:
            CheckpointError: If the weights are missing or damaged.
        """
        from trainables.training.predictor import Predictor

        return Predictor(self.model(point), self.signature)

    def preprocess(self, images: "Images") -> "NDArray[np.uint8]":
        """Return images as a model takes them, ``(rows, height, width, channels)``, 0..255.

        The resizing is part of what was measured: other ways give other losses. It is done by
        ``trainables.model.preprocessing.preprocess``, which says how.

        Raises:
            InputError: At the first image that cannot be used, naming it.
        """
        from trainables.model.preprocessing import preprocess

        signature = self.signature
        return preprocess(
            images,
            image_shape=signature.image_shape,
            depth=signature.depth,
            makes_grey=signature.is_made_grey,
        )

    @property
    def signature(self) -> "ModelSignature":
        """What every model of this study takes and gives, and how its labels are written."""
        return signature_of(self.study, self.prepared.data)

    def model(self, point: Point | None = None) -> Any:
        """Return the plain Keras model of exactly this trial and epoch; without one, `best`'s.

        It takes images ``(rows, height, width, channels)`` of 0..255, uint8 or float, **as
        `preprocess` makes them**: resized another way they give other losses. It predicts a dict
        by head name: probabilities ``(rows, classes)`` in the order of ``signature``'s classes,
        numbers ``(rows, units)``, boxes ``(rows, 4)`` as ``[y_min, x_min, y_max, x_max]`` in
        fractions, whatever form was declared; `predict` answers in the declared one.

        ``model.save("model.keras")`` keeps all that in the file, where
        ``trainables.model.signature.read_signature`` reads it, and
        ``trainables.training.predictor.Predictor.load`` predicts with it.

        Raises:
            InputError: If ``point`` is none.
            CheckpointError: If the weights are missing or damaged.
        """
        from trainables.model.signature import attach_signature
        from trainables.trial.keras_factory import restore_model

        settings = shared_settings(self.study, self.prepared)
        chosen = self.best() if point is None else point
        model = restore_model(self.store, settings, self.to_restore(chosen))
        attach_signature(model, self.signature)
        return model

    def to_restore(self, point: Point) -> dict[str, Any]:
        """Return what it takes to rebuild a point's model, as plain values.

        Raises:
            InputError: If it is no point.
        """
        if not isinstance(point, Point):
            raise InputError(
                f"a model needs a point, such as result.best(), got {type(point).__name__}"
            )
        return point.to_restore(self.study.seed)

    @property
    def heads(self) -> tuple[str, ...]:
        """The names of the heads, in the study's order."""
        return tuple(head.name for head in self.study.heads)

    @property
    def searched(self) -> tuple[str, ...]:
        """The names of the parameters that vary."""
        return tuple(name for name, _ in self.prepared.space.searched)

    def checkpoint_uri(self, point: Point) -> str:
        """Return where a point's weights lie: an absolute path or a URI."""
        return self.store.child(point.checkpoint).uri

    @property
    def chooser(self) -> Chooser:
        """What chooses among points, by the study's objective."""
        return Chooser(objective=objective_of(self.study), baselines=self.baselines)

    @property
    def shares(self) -> MeasuredShares | None:
        """What was measured for the trials; None where their shares are fixed, or not yet."""
        return read_shares(self.store) if self.study.resources.is_open else None

    @property
    def baselines(self) -> dict[str, float]:
        """The loss of the best constant prediction, by head."""
        baselines = self.prepared.data.baselines
        return {head: baselines[head] for head in self.heads}

    def _lacks_test_figures(self) -> bool:
        is_known = self.has_begun and self.has_test_split
        return is_known and any(point.test is None for point in self.points_to_test())

    def _why_none(self) -> str:
        counts = Counter(trial.state for trial in self.trials)
        failed = next((t for t in self.trials if t.state == "failed"), None)
        first = f" (first: trial {failed.number}, {failed.reason})" if failed else ""
        states = [
            f"{n} {state}{first if state == 'failed' else ''}" for state, n in counts.items()
        ]
        found = ", ".join(states) or "no trials yet"
        return f"study {self.study.name!r} has no point to choose: {found}"


NUM_LEADING = 4
"""Columns before the parameters."""


def _study_table(trials: Sequence[TrialRecord], heads: Sequence[str]) -> "pa.Table":
    import pyarrow as pa

    rows = [_row(trial, m, heads) for trial in trials for m in trial.measurements]
    # Of all configs: the first may have fewer blocks than others, whose filters are null there.
    configs = [name for trial in trials for name in trial.config if rows]
    first = [*rows[0]][:NUM_LEADING] if rows else []
    names = list(dict.fromkeys([*first, *configs, *(name for row in rows for name in row)]))
    names.sort(key=lambda name: name.startswith("seconds"))
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _row(trial: TrialRecord, m: Measurement, heads: Sequence[str]) -> dict[str, Any]:
    return {
        "number": trial.number,
        "epoch": m.epoch,
        "state": trial.state,
        "is_reference": trial.is_reference,
        **trial.config,
        **{f"val_{head}_loss": m.losses[head] for head in heads},
        **m.metrics,
        "loss": m.loss,
        "seconds": sum(m.seconds.values()),
        **{f"seconds_{part}": seconds for part, seconds in m.seconds.items()},
    }


def _column(values: list[Any]) -> "pa.Array":
    """Return values as one column; a parameter whose values differ in type becomes text."""
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return pa.array([None if value is None else float(value) for value in values])
    if len(kinds) > 1:
        return pa.array([None if value is None else str(value) for value in values])
    return pa.array(values)
