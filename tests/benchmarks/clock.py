"""A study on a virtual clock: workers train by looking into a table."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.benchmarks.contender import Contender, EndState
from tests.benchmarks.scores import Covered, Scale
from tests.benchmarks.table import Table


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trace:
    """What a run had covered after each finished epoch, in the order of time."""

    shares: np.ndarray
    """Shape ``(epochs finished,)``: share of the table's hypervolume, 0 to 1."""
    seconds: np.ndarray
    """Shape ``(epochs finished,)``: the clock."""
    trials: int
    """How many ended."""


@dataclass(slots=True, kw_only=True)
class _Running:
    """What a worker is at."""

    number: int
    place: int
    losses: np.ndarray
    seconds: np.ndarray
    epoch: int = 1


def play(
    table: Table, scale: Scale, contender: Contender, *, workers: int, budget: int, seed: int
) -> Trace:
    """Run one study without training.

    A free worker asks for a config; with the number of a stopped trial that one goes on. An
    epoch ends after the seconds that the table has for it; results are taken in by time, those
    of the same moment by worker. The run ends when the epochs of the budget are finished, when
    the contender has nothing to train, or when the share is 1.
    A trial whose loss is not finite has failed, whoever runs it.

    Args:
        table: What was measured.
        scale: Its scale.
        contender: Fresh.
        workers: How many train side by side.
        budget: Epochs that may be begun.
        seed: Place of the recorded seed whose curves are looked up.
    """
    return _Play(table, scale, contender, workers=workers, budget=budget, seed=seed).run()


class _Play:
    def __init__(
        self,
        table: Table,
        scale: Scale,
        contender: Contender,
        *,
        workers: int,
        budget: int,
        seed: int,
    ) -> None:
        self._table = table
        self._contender = contender
        self._budget = budget
        self._seed = seed
        self._covered = Covered(scale)
        self._idle = list(range(workers))
        self._running: dict[int, _Running] = {}
        self._finished: dict[int, int] = {}
        self._due: list[tuple[float, int]] = []
        self._started = 0

    def run(self) -> Trace:
        shares, seconds = [], []
        self._hand_out(0.0)
        while self._due and self._covered.share < 1:
            now, worker = heapq.heappop(self._due)
            shares.append(self._take_in(now, worker))
            seconds.append(now)
            self._hand_out(now)
        return Trace(
            shares=np.array(shares), seconds=np.array(seconds), trials=len(self._finished)
        )

    def _hand_out(self, now: float) -> None:
        """Give idle workers something to train, the first ones first."""
        while self._idle and self._started < self._budget:
            asked = self._contender.ask()
            if asked is None:
                return
            number, config = asked
            losses, seconds = self._table.curve(config, self._seed)
            worker = heapq.heappop(self._idle)
            self._running[worker] = _Running(
                number=number,
                place=self._table.place(config),
                losses=losses,
                seconds=seconds,
                epoch=self._finished.get(number, 0) + 1,
            )
            self._start(worker, now)

    def _start(self, worker: int, now: float) -> None:
        running = self._running[worker]
        self._started += 1
        heapq.heappush(self._due, (now + float(running.seconds[running.epoch - 1]), worker))

    def _take_in(self, now: float, worker: int) -> float:
        """Take in the epoch that a worker has finished; return the share."""
        running = self._running[worker]
        share = self._covered.add(running.place, running.epoch)
        state = self._state(running)
        if state is None:
            running.epoch += 1
            if self._started < self._budget:
                self._start(worker, now)
            return share
        self._contender.ended(running.number, state)
        self._finished[running.number] = running.epoch
        del self._running[worker]
        heapq.heappush(self._idle, worker)
        return share

    def _state(self, running: _Running) -> EndState | None:
        """Return how the trial ended with this epoch, None if it goes on."""
        row = running.losses[running.epoch - 1]
        if not np.isfinite(row).all():
            return "failed"
        stops = self._contender.report(running.number, running.epoch, self._named(row))
        if running.epoch == self._table.epochs:
            return "complete"
        return "stopped" if stops else None

    def _named(self, row: np.ndarray) -> Mapping[str, Any]:
        return dict(zip(self._table.heads, row.tolist(), strict=True))
