"""Where a study's trials run: their share of it, how many there is room for, and for how long."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from search.cluster.autoscaler import Growth, growth_of_cluster
from search.cluster.health import ClusterWatch, Sight
from search.cluster.session import Joined
from search.cluster.shares import Shares, at_once, shares, slots_on, to_come
from search.errors import NoRoom
from search.study.settings import Resources
from search.study.shares import MeasuredShares
from search.text import count

SAY_AFTER_SECONDS = 10.0
"""Of waiting; starting a process takes some of it."""
FIRST_LOOK_SECONDS = 0.5


class Capacity:
    """How many trials there is room for; none is waited for in silence, nor for ever."""

    def __init__(
        self,
        resources: Resources,
        growth: Growth,
        watch: ClusterWatch,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resources = resources
        self._growth = growth
        self._watch = watch
        self._say = say
        self._clock = clock
        self._known: tuple[Sight, int] | None = None
        self._since: float | None = None
        self._said = ""

    def num_trials(self) -> int:
        """Return how many may be under way now, at least 1; follows the nodes come and gone."""
        sight = self._watch.sight
        if self._known is None or self._known[0] is not sight:
            coming = self._growth.beyond(sight.nodes)
            places = [node.resources for node in sight.staying]
            self._known = sight, at_once(self._resources, places, coming)
        return self._known[1]

    def look(self, num_placed: int) -> None:
        """Take note of how many trials have a place now.

        `NoRoom` if there has been none for ``resources.wait_minutes``, while nothing but the lack
        of nodes was in the way.
        """
        if num_placed:
            self._since, self._said = None, ""
            return
        now = self._clock()
        self._since = now if self._since is None else self._since
        if now - self._since < SAY_AFTER_SECONDS:
            return
        wanted = _needs(self._resources)
        if self.is_kept_by_others():
            self._tell(f"waiting for {wanted}: others of this cluster use what there is")
            self._since = now - SAY_AFTER_SECONDS  # they may take as long as they like
            return
        self._tell(f"waiting for a node with {wanted}; {self._still_to_come()}")
        minutes = self._resources.wait_minutes
        if now - self._since >= max(minutes * 60, SAY_AFTER_SECONDS):
            raise NoRoom(
                f"no node with {wanted} has come within {minutes:g} minutes "
                f"(resources.wait_minutes), and no trial runs; {self._still_to_come()}. "
                "Nothing is lost: `twohead resume` continues the study"
            )

    def is_kept_by_others(self) -> bool:
        """Tell whether a trial would fit on a node if nobody else used it.

        Asked while no trial of this study has a place.
        """
        sight, resources = self._watch.sight, self._resources
        could = [node for node in sight.staying if slots_on(resources, node.resources)]
        return bool(could) and not any(
            slots_on(resources, sight.free.get(node.id, {})) for node in could
        )

    def _still_to_come(self) -> str:
        """Say what the cluster may still become, as far as it helps."""
        coming = self._growth.beyond(self._watch.sight.nodes)
        useful = [
            one for one in coming if one.resources is None or to_come(self._resources, [one])
        ]
        most = min(sum(one.most for one in useful), self._growth.most_workers)
        if not most:
            return "the cluster cannot grow by itself"
        return f"the cluster can grow by {count(most, 'node')}"

    def _tell(self, line: str) -> None:
        if line != self._said:
            self._said = line
            self._say(line)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRoom:
    """A joined Ray, as the trials of a study see it."""

    shares: Shares
    """Of each trial."""
    is_spread: bool
    """Whether there are several nodes, or may be: then each has its own copy of the data."""
    joined: Joined
    capacity: Capacity
    measured: MeasuredShares | None = None
    """What the shares follow from, where the study left them to be measured."""

    @property
    def watch(self) -> ClusterWatch:
        """What knows the nodes, and whether Ray still answers."""
        return self.joined.watch


def find_room(
    resources: Resources,
    joined: Joined,
    say: Callable[[str], None],
    *,
    measured: MeasuredShares | None = None,
) -> TrialRoom:
    """Find out what a study's trials get of the joined Ray, and what it may still become.

    Where only the machines themselves can tell what they have, the first of them is waited for:
    `NoRoom` if it did not come in time, `ClusterLost` if Ray goes away meanwhile. `InputError` if
    no node could ever place one trial.
    """
    watch, growth = joined.watch, growth_of(joined)
    capacity = Capacity(resources, growth, watch, say)
    while True:
        nodes = watch.sight.nodes
        coming = growth.beyond(nodes)
        share = shares(resources, [node.resources for node in nodes], coming)
        if share is not None:
            return TrialRoom(
                shares=share,
                is_spread=len(nodes) > 1 or bool(coming),
                joined=joined,
                capacity=capacity,
                measured=measured,
            )
        watch.check()
        capacity.look(0)
        time.sleep(FIRST_LOOK_SECONDS)


def growth_of(joined: Joined) -> Growth:
    """Return what a joined Ray may become."""
    return Growth() if joined.is_ours else growth_of_cluster(joined.watch)


def _needs(resources: Resources) -> str:
    """Say what a trial needs, for people."""
    cpus, share = count(int(resources.cpu), "CPU"), float(resources.gpu)
    if not share:
        return cpus
    gpus = count(int(share), "GPU") if share >= 1 else f"{share:g} GPU"
    return f"{cpus} and {gpus}"
