"""The place where a study's trials run: their share of it, its room, and what may become of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from search.cluster import Joined
from search.growth import Growth, growth_of_cluster
from search.resources import Shares, shares
from search.settings import Resources
from search.shares import MeasuredShares
from search.waiting import Room, Waiting
from search.watching import ClusterWatch

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
