"""One attempt at a trial, without Ray: continue, train an epoch, keep, record, clean up."""

import json
import math
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pkgutil import resolve_name
from typing import Any

from trainables.errors import InputError, SearchError, StorageError, UnfitNode
from trainables.model.user_modules import add_import_folder, real_folder
from trainables.spec.settings import StudySettings
from trainables.storage.store import Store
from trainables.storage.study_folder import StudyFolder
from trainables.training.run import EpochResult, RunFactory, TrialRun
from trainables.trial import checkpoint
from trainables.trial.checkpoint import CheckpointError
from trainables.trial.measurement import Measurement
from trainables.trial.measurement import write as write_measurement

STUDY = "study.json"
"""What every study's folder has."""
SMALL_STATE_BYTES = 16 * 2**20
"""A state up to this size is kept after every epoch, whatever the clock says."""
SAVING_SHARE = 0.05
"""The share of the time since the last save that a save may cost."""
LONGEST_INTERVAL_SECONDS = 120.0
"""A trial is saved at least this often, at the next end of an epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What the driver hands to an actor: which trial, which attempt, and where it stands."""

    number: int
    attempt: int
    generation: int
    config: dict[str, Any]
    seed: int
    epochs: int
    """Epochs after which the trial is complete."""
    is_reference: bool = False
    """Whether this is the reference trial: the built-in architecture, whatever the study's."""
    kept: tuple[Measurement, ...] = ()
    """What the driver accepts of this trial and has a checkpoint, in any order."""
    gpu: float | None = None
    """The share of a GPU that this attempt has; None: that of all trials of the study."""

    def to_json(self) -> str:
        """Return the envelope as text."""
        kept = [one.to_dict() for one in self.kept]
        return json.dumps({**asdict(replace(self, kept=())), "kept": kept})

    @classmethod
    def from_json(cls, text: str) -> "Envelope":
        """Read what `to_json` gave."""
        values = json.loads(text)
        return cls(**{**values, "kept": tuple(map(Measurement.from_dict, values["kept"]))})


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that no memory was left, of the machine or of a GPU.

    TensorFlow raises ``ResourceExhaustedError``; what XLA raises may be of any class, with the
    status' name at the beginning of its text or after a colon. A user's model may have raised
    it while it was built, which is an error of ours with that as its cause.
    """
    if isinstance(error, InputError) and error.__cause__ is not None:
        return is_out_of_memory(error.__cause__)
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return True
    return "RESOURCE_EXHAUSTED" in str(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialFailure:
    """Why a trial cannot go on."""

    epoch: int
    """Where it failed."""
    reason: str
    is_out_of_memory: bool = False
    """Whether there was no memory left for it."""


class Attempt:
    """Trains one trial from its newest valid checkpoint on and records every epoch."""

    def __init__(
        self,
        envelope: Envelope,
        settings: StudySettings,
        *,
        clock: Callable[[], float] = time.perf_counter,
        is_leaving: Callable[[], bool] = lambda: False,
    ) -> None:
        self._envelope = envelope
        self._settings = settings
        self._clock = clock
        self._is_leaving = is_leaving
        self._store = Store(settings.study)
        self._run: TrialRun | None = None
        self._kept = sorted(envelope.kept, key=lambda kept: (kept.epoch, kept.attempt))
        self._newest: Measurement | None = None
        self._damaged: list[Measurement] = []
        self._whole = list(self._kept)
        """Those of them that may still have what only a further epoch needs."""
        self._last_save: tuple[float, float] | None = None
        self._state_bytes = 0
        self._opening_seconds: dict[str, float] = {}

    def step(self) -> Measurement | TrialFailure:
        """Train, keep and record one epoch more, and return what was recorded.

        What goes wrong in the training itself is returned, not raised: the process stays warm
        for the next trial. That the next epoch is asked for is the driver's answer to the last
        one: only then is deleted what that one supersedes.
        """
        epoch = 1
        began = time.perf_counter()
        self._drop_superseded()
        dropping = time.perf_counter() - began
        try:
            run = self._run = self._run or self._open()
            epoch = run.epoch + 1
            result = run.run_epoch()
            reason = _not_finite(result, epoch)
            if reason:
                return TrialFailure(epoch=epoch, reason=reason)
            return self._record(run, result, dropping)
        except CheckpointError as error:  # a state that cannot be kept is the model's fault
            return self._failed(epoch, error)
        except (StorageError, UnfitNode):
            raise
        except (Exception, SystemExit) as error:
            return self._failed(epoch, error)

    @property
    def is_saved(self) -> bool:
        """Whether another attempt would lose nothing if it went on from here."""
        epoch = 0 if self._run is None else self._run.epoch
        return epoch == max((kept.epoch for kept in self._kept), default=0)

    def _open(self) -> TrialRun:
        started = self._clock()
        self._check_storage()
        add_import_folder(self._settings.module_folder)
        factory: RunFactory = resolve_name(self._settings.factory)
        imported = self._clock()
        envelope, settings = self._envelope, self._settings
        if envelope.gpu is not None:
            settings = replace(settings, gpu=envelope.gpu)
        run = factory(
            settings, envelope.config, seed=envelope.seed, is_reference=envelope.is_reference
        )
        self._continue(run)
        self._opening_seconds = {"start": imported - started, "open": self._clock() - imported}
        return run

    def _check_storage(self) -> None:
        # A node that came after the study began was not asked before; on one without the shared
        # folder all would be written, and never seen by the driver.
        if not self._store.exists(STUDY):
            raise UnfitNode(
                f"node {socket.gethostname()} does not see the study {self._store.uri!r}: "
                "mount its storage there, at the same path, or use a URI"
            )

    def _continue(self, run: TrialRun) -> None:
        """Load the newest checkpoint that is whole; what is not is passed over."""
        for kept in reversed(self._kept):
            folder, sha256 = kept.weights
            try:
                state = checkpoint.load(self._store, folder, sha256=sha256)
            except CheckpointError:
                self._kept.remove(kept)
                self._damaged.append(kept)
                continue
            run.load_state(state, kept.epoch)
            return

    def _record(self, run: TrialRun, result: EpochResult, dropping: float) -> Measurement:
        started = self._clock()
        folder, sha256 = self._save(run) if self._is_due(run, started) else (None, None)
        saved = self._clock()
        if folder:
            self._last_save = (saved, saved - started)
        seconds = {
            **self._opening(result),
            **result.seconds,
            "save": saved - started + dropping,
        }
        measured = Measurement(
            number=self._envelope.number,
            attempt=self._envelope.attempt,
            epoch=run.epoch,
            generation=self._envelope.generation,
            losses=result.losses,
            metrics=result.metrics,
            loss=result.training_loss,
            seconds=seconds,
            checkpoint=folder,
            checkpoint_sha256=sha256,
            node=socket.gethostname(),
        )
        write_measurement(self._store, measured)
        if folder:
            self._kept.append(measured)
            self._whole.append(measured)
            self._newest = measured
        return measured

    def _opening(self, result: EpochResult) -> dict[str, float]:
        """Return, once, what came before the first epoch, building and tracing apart."""
        opening, self._opening_seconds = self._opening_seconds, {}
        if opening:
            built = result.seconds.get("build", 0.0) + result.seconds.get("trace", 0.0)
            opening["open"] = max(0.0, opening["open"] - built)
        return opening

    def _is_due(self, run: TrialRun, now: float) -> bool:
        """Tell whether the epoch just finished is to be kept (decision: at most 5 % of time)."""
        if self._last_save is None or run.epoch >= self._envelope.epochs:
            return True
        if run.epoch in self._settings.rungs:
            return True
        if self._state_bytes <= SMALL_STATE_BYTES or self._is_leaving():
            return True
        last, cost = self._last_save
        return now - last >= min(cost / SAVING_SHARE, LONGEST_INTERVAL_SECONDS)

    def _save(self, run: TrialRun) -> tuple[str, str]:
        """Keep the state, and return its folder and its hash."""
        envelope, state = self._envelope, run.state()
        self._state_bytes = sum(array.nbytes for array in state.values())
        folder = (
            f"{StudyFolder.CHECKPOINTS}/{envelope.number:06d}/"
            f"{envelope.generation:06d}-{envelope.attempt:03d}-{run.epoch:04d}"
        )
        meta = {"number": envelope.number, "epoch": run.epoch, "config": envelope.config}
        if self._settings.signature:
            meta["signature"] = self._settings.signature
        return folder, checkpoint.save(self._store, folder, state, meta)

    def _drop_superseded(self) -> None:
        """Keep the newest, the weights alone of this trial's own front, and nothing else.

        Only what a newer epoch supersedes that the driver has heard of. An actor that is cut
        off from it goes on writing to the study's folder, while another attempt continues
        from the last epoch that the driver knows. What is left after the trial's last epoch
        the driver deletes (``search.running.checkpoints``).
        """
        newest, self._newest = self._newest, None
        if newest is None:
            return
        repeated = [kept for kept in self._damaged if kept.epoch <= newest.epoch]
        beaten = [kept for kept in self._kept if kept is not newest and self._is_beaten(kept)]
        for kept in repeated + beaten:
            self._store.delete(kept.weights[0])
        self._damaged = [kept for kept in self._damaged if kept not in repeated]
        self._kept = [kept for kept in self._kept if kept not in beaten]
        for kept in self._whole:
            if kept is not newest and kept in self._kept:
                checkpoint.drop_training(self._store, kept.weights[0])
        self._whole = [newest]

    def _is_beaten(self, kept: Measurement) -> bool:
        """Tell whether another is better, or is a later attempt's of the same epoch."""
        return any(
            _beats(other.losses, kept.losses)
            or (other.epoch == kept.epoch and other.attempt > kept.attempt)
            for other in self._kept
        )

    def _failed(self, epoch: int, error: BaseException) -> TrialFailure:
        envelope = self._envelope
        name = f"{envelope.generation:06d}-{envelope.number:06d}-{envelope.attempt:03d}.txt"
        trace = "".join(traceback.format_exception(error))
        self._store.put(f"{StudyFolder.FAILURES}/{name}", trace.encode())
        folder = real_folder(self._settings.module_folder)
        reason, is_memory = reason_of(error, folder), is_out_of_memory(error)
        return TrialFailure(epoch=epoch, reason=reason, is_out_of_memory=is_memory)


def _beats(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    pairs = [(one[head], other[head]) for head in one]
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def _not_finite(result: EpochResult, epoch: int) -> str | None:
    """Say which loss stopped being a number, if one did."""
    named = {f"val_{head}_loss": loss for head, loss in result.losses.items()}
    named["training loss"] = result.training_loss
    for name, value in named.items():
        if not math.isfinite(value):
            word = "NaN" if math.isnan(value) else "infinite"
            return f"{name} became {word} in epoch {epoch}"
    return None


def reason_of(error: BaseException, user_folder: str | None) -> str:
    """Put an error into one line: what it is and, outside our own errors, where it arose.

    The place is the innermost line of the user's own code, if any of it was running.
    """
    text = " ".join(str(error).split())[:400]
    if is_out_of_memory(error):
        return f"out of memory: {text or 'an allocation failed'}"
    if isinstance(error, SearchError):
        return text
    frames = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__)]
    users = [place for place in frames if user_folder and _lies_in(place[0], user_folder)]
    place = " ({}:{})".format(*(users or frames)[-1]) if frames else ""
    return f"{type(error).__name__}: {text}{place}"


def _lies_in(path: str, folder: str) -> bool:
    return path.startswith(f"{folder.rstrip('/')}/") and "/site-packages/" not in path
