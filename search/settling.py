"""Settles what a study's resources leave open: as it was measured before, or by measuring now."""

from collections.abc import Callable

from search.cluster import Joined
from search.ownership import Ownership
from search.place import Place, find_place
from search.prepared import Prepared
from search.probe import Prober
from search.shares import read_shares, write_shares
from search.study import Study
from trainables.store import Store

Say = Callable[[str], None]


def settled_place(
    study: Study,
    prepared: Prepared,
    joined: Joined,
    ownership: Ownership | None,
    notify: Say,
    say: Say,
) -> Place:
    """Return the place of a study whose resources say ``auto``.

    What was measured for it once holds for good, so that a trial is the same whenever it is
    trained; unless the GPUs are others now, or no node has so many CPUs.

    Args:
        study: With resources that are open.
        prepared: With its whole space.
        joined: The Ray.
        ownership: The claim on the study's folder, where it is written down; None if it is not.
        notify: Hears what is being done.
        say: Hears what was found, and what is waited for.

    Raises:
        InputError: If a trial needs more than a whole GPU has.
        NoRoom: If no node to measure on came in time.
        ClusterLost: If Ray goes away meanwhile.
        UnfitNode: If a node's GPU does not say what memory it has.
        StorageError: If the study's folder cannot be read or written.
    """
    store = Store(study.folder)
    known = read_shares(store)
    prober = Prober(study, prepared, joined, say)
    why = "" if known is None else prober.why_not(known)
    if known is None or why:
        if why:
            say(f"the shares of trials are measured again: {why}")
        notify("measuring what a trial needs")
        known = prober.measure()
        if ownership is not None:
            ownership.check()
            write_shares(store, known)
    for line in known.lines(study.resources):
        say(line)
    resources = study.resources.settled(cpu=known.cpu, gpu=known.gpu)
    return find_place(resources, joined, say, measured=known)
