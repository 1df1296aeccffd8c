"""Who competes: every contender by name, and how it is started and read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.benchmarks.wall import twohead
from tests.benchmarks.wall.parts import Losses, last_result, losses_of, parts_of
from tests.benchmarks.wall.stamps import read_stamps
from tests.benchmarks.wall.task import Task

Kind = Literal["ours", "limit", "peer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one run reached."""

    ended: float | None
    """When the last result was there, in seconds since the epoch; None without any."""

    losses: Losses
    parts: Mapping[str, float]
    """Seconds by part; they add up to the time to the last result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One contender."""

    about: str
    kind: Kind
    module: str = ""
    """Of this package, run as a program; empty for ours."""

    arguments: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    """What it needs beyond the project's own dependencies."""

    environment: Mapping[str, str] = field(default_factory=dict)
    is_alone: bool = False
    """Whether one process trains, on all cores."""

    def command(self, task: Task, python: str) -> list[str]:
        """Return its command line."""
        if self.kind == "ours":
            return twohead.command(task, python)
        return [python, "-m", f"tests.benchmarks.wall.{self.module}", *self.arguments]

    def outcome(self, task: Task, python: str, started: float) -> Outcome:
        """Read what a run has left behind; ``started`` is when, in seconds since the epoch."""
        if self.kind == "ours":
            ended, losses, parts = twohead.read(task, python, started)
            return Outcome(ended=ended, losses=losses, parts=parts)
        stamps = read_stamps(task.stamps)
        slots = 1 if self.is_alone else task.concurrent
        return Outcome(
            ended=last_result(stamps),
            losses=losses_of(stamps),
            parts=parts_of(stamps, started=started, slots=slots),
        )


OURS = "twohead"
LIMIT = "bare-epoch"
"""The limit that all are measured by, and whose losses are the reference."""

_RAY: dict[str, Any] = {"environment": {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}}

ENTRIES: Mapping[str, Entry] = {
    LIMIT: Entry(about="warm processes, compiled epoch", kind="limit", module="bare_epoch"),
    "bare-fit": Entry(about="warm processes, fit", kind="limit", module="bare_fit"),
    OURS: Entry(about="this project, twohead run", kind="ours"),
    "ray-class": Entry(
        about="Ray Tune, class with reuse_actors", kind="peer", module="ray_class", **_RAY
    ),
    "ray-function": Entry(
        about="Ray Tune, function and callback", kind="peer", module="ray_function", **_RAY
    ),
    "optuna": Entry(
        about="Optuna, one process", kind="peer", module="optuna_alone", is_alone=True
    ),
    "optuna-processes": Entry(
        about="Optuna, processes with a journal",
        kind="peer",
        module="optuna_alone",
        arguments=("processes",),
    ),
    "keras-tuner": Entry(
        about="KerasTuner, one process",
        kind="peer",
        module="keras_tuner_alone",
        packages=("keras_tuner", "tensorboard"),
        is_alone=True,
    ),
    "keras-tuner-workers": Entry(
        about="KerasTuner, chief and workers",
        kind="peer",
        module="keras_tuner_alone",
        arguments=("workers",),
        packages=("keras_tuner", "tensorboard"),
    ),
    "syne-tune": Entry(
        about="Syne Tune, local back end",
        kind="peer",
        module="syne_tune_local",
        packages=("syne_tune",),
    ),
}
