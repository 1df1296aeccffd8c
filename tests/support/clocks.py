"""Clocks that tests set, for leases and retries."""

import time
from typing import Any

from search.record.heartbeat import Pace


class FakeClock:
    """Stands still but for `sleep`; begins now, or some seconds from now."""

    def __init__(self, ahead: float = 0.0) -> None:
        self.wall_now = time.time() + ahead
        self.up = 1000.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.up += seconds
        self.wall_now += seconds

    def uptime(self) -> float:
        return self.up

    def wall(self) -> float:
        return self.wall_now

    def pace(self, **changes: Any) -> Pace:
        return Pace(wall=self.wall, uptime=self.uptime, sleep=self.sleep, **changes)


def an_hour_later() -> Pace:
    """Return a pace by which every lease of today has run out."""
    return FakeClock(ahead=3600.0).pace()
