"""Waits for room while no trial can be placed: says so, and not for ever."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from search.cluster.autoscaler import Growth, growth_of_cluster
from search.cluster.session import Joined
from search.cluster.shares import Shares, at_once, shares, slots_on, to_come
from search.cluster.watch import ClusterWatch, Sight
from search.errors import NoRoom
from search.study.settings import Resources
from search.study.shares import MeasuredShares
from search.text import count

SAY_AFTER_SECONDS = 10.0
"""Of waiting; starting a process takes some of it."""


class Room:
    """How many trials of a study there is room for, on the nodes there are and may be.

    Args:
        resources: What each takes, and how many there may be at once.
        growth: What the cluster may become.
        watch: Knows the nodes.
    """

    def __init__(self, resources: Resources, growth: Growth, watch: ClusterWatch) -> None:
        self._resources = resources
        self._growth = growth
        self._watch = watch
        self._known: tuple[Sight, int] | None = None

    def trials(self) -> int:
        """Return how many may be under way now, at least 1; follows the nodes come and gone."""
        sight = self._watch.sight
        if self._known is None or self._known[0] is not sight:
            coming = self._growth.beyond(sight.nodes)
            places = [node.resources for node in sight.staying]
            self._known = sight, at_once(self._resources, places, coming)
        return self._known[1]

    def is_kept_by_others(self) -> bool:
        """Tell whether a trial would fit on a node if nobody else used it.

        Asked while no trial of this study has a place.
        """
        sight, resources = self._watch.sight, self._resources
        could = [node for node in sight.staying if slots_on(resources, node.resources)]
        return bool(could) and not any(
            slots_on(resources, sight.free.get(node.id, {})) for node in could
        )

    def still_to_come(self) -> str:
        """Say what the cluster may still become, as far as it helps."""
        sight = self._watch.sight
        coming = self._growth.beyond(sight.nodes)
        useful = [
            one for one in coming if one.resources is None or to_come(self._resources, [one])
        ]
        most = min(sum(one.most for one in useful), self._growth.most_workers)
        if not most:
            return "the cluster cannot grow by itself"
        return f"the cluster can grow by {count(most, 'node')}"


class Waiting:
    """Sees to it that a study neither waits in silence nor for ever.

    Args:
        resources: Of the study.
        room: Knows what there is room for.
        say: Hears what is waited for, once each time.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        resources: Resources,
        room: Room,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resources = resources
        self._room = room
        self._say = say
        self._clock = clock
        self._since: float | None = None
        self._said = ""

    def look(self, num_placed: int) -> None:
        """Take note of how many trials have a place now.

        Raises:
            NoRoom: If there has been none for ``resources.wait_minutes``, while nothing but the
                lack of nodes was in the way.
        """
        if num_placed:
            self._since, self._said = None, ""
            return
        now = self._clock()
        self._since = now if self._since is None else self._since
        if now - self._since < SAY_AFTER_SECONDS:
            return
        if self._room.is_kept_by_others():
            self._tell(f"waiting for {self._needs}: others of this cluster use what there is")
            self._since = now - SAY_AFTER_SECONDS  # they may take as long as they like
            return
        self._tell(f"waiting for a node with {self._needs}; {self._room.still_to_come()}")
        minutes = self._resources.wait_minutes
        if now - self._since >= max(minutes * 60, SAY_AFTER_SECONDS):
            raise NoRoom(
                f"no node with {self._needs} has come within {minutes:g} minutes "
                f"(resources.wait_minutes), and no trial runs; {self._room.still_to_come()}. "
                "Nothing is lost: `twohead resume` continues the study"
            )

    @property
    def _needs(self) -> str:
        return needs(self._resources)

    def _tell(self, line: str) -> None:
        if line != self._said:
            self._said = line
            self._say(line)


def needs(resources: Resources) -> str:
    """Say what a trial needs, for people."""
    cpus, share = count(int(resources.cpu), "CPU"), float(resources.gpu)
    if not share:
        return cpus
    gpus = count(int(share), "GPU") if share >= 1 else f"{share:g} GPU"
    return f"{cpus} and {gpus}"


FIRST_LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A joined Ray, as a study sees it."""

    shares: Shares
    """Of each trial."""
    is_spread: bool
    """Whether there are several nodes, or may be: then each has its own copy of the data."""
    watch: ClusterWatch
    """Knows its nodes, and whether it still answers."""
    room: Room
    """Knows how many trials may be under way."""
    waiting: Waiting
    """Hears how many have a place."""
    folder: Path
    """A private one on this machine, for what Ray Tune writes meanwhile."""
    measured: MeasuredShares | None = None
    """What the shares follow from, where the study left them to be measured."""
    is_ours: bool = False
    """Whether it was started for the study: its processes have this one's environment."""


def find_place(
    resources: Resources,
    joined: Joined,
    say: Callable[[str], None],
    *,
    measured: MeasuredShares | None = None,
) -> Place:
    """Find out what a study's trials get of the joined Ray, and what it may still become.

    Where only the machines themselves can tell what they have, the first of them is waited for.

    Args:
        resources: What the study asks for, in numbers.
        joined: The Ray where they run.
        say: Hears what is waited for, now and during the run.
        measured: What the numbers follow from, if they were measured.

    Raises:
        InputError: If no node could ever place one trial.
        NoRoom: If the first node did not come in time.
        ClusterLost: If Ray goes away meanwhile.
    """
    watch = joined.watch
    growth = Growth() if joined.is_ours else growth_of_cluster(watch)
    room = Room(resources, growth, watch)
    waiting = Waiting(resources, room, say)
    while True:
        nodes = watch.sight.nodes
        coming = growth.beyond(nodes)
        share = shares(resources, [node.resources for node in nodes], coming)
        if share is not None:
            is_spread = len(nodes) > 1 or bool(coming)
            return Place(
                shares=share,
                is_spread=is_spread,
                watch=watch,
                room=room,
                waiting=waiting,
                folder=joined.folder.root,
                measured=measured,
                is_ours=joined.is_ours,
            )
        watch.check()
        waiting.look(0)
        time.sleep(FIRST_LOOK_SECONDS)
