"""Confirms a study: trains its leading points again where needed, and compares."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from search.cluster.nodes import check_reach
from search.errors import Interrupted, StudyLocked
from search.record.log import StudyLog
from search.record.ownership import claim, holder
from search.record.reader import StudyReader
from search.results.confirmation import Confirmation
from search.results.load import load
from search.results.policies import DEFAULT_POLICY
from search.results.progress import Watcher
from search.results.result import StudyResult
from search.results.retrained import (
    EXTENT,
    Training,
    fresh_seeds,
    is_done,
    leading_points,
    read_confirmation,
    recorded_trainings,
    to_train,
    trainings_of,
)
from search.running.resume import check_data
from search.study.study import Study
from trainables.spec.plain_values import plain


def confirm(
    folder: str | os.PathLike[str] | StudyResult | Study,
    *,
    seeds: int = 2,
    top: int = 3,
    data: str | os.PathLike[str] | None = None,
    watcher: Watcher | None = None,
    factory: str | None = None,
    **policy: Any,
) -> Confirmation:
    """Train a study's leading points again with fresh seeds, and compare.

    What was trained for an earlier call is taken as it is, also if that was interrupted.

    Args:
        folder: See `search.load`.
        seeds: How many.
        top: How many points, one of each trial; the reference's comes on top.
        data: Where the data set is now; None: where the study finds it.
        watcher: Who looks on.
        factory: ``module:function`` of what trains; None for Keras.
        **policy: Which points lead: what `StudyResult.best` takes.

    Raises:
        InputError: If a number, the policy or an option cannot be, or there is no study.
        NoCandidate: If no trial of the study has a point.
        StudyLocked: If a process runs or confirms the study.
        StudyDiffers: If its data set has changed since, or is not found.
        NoRoom: If no node had room for a training for ``resources.wait_minutes``.
        ClusterLost: If Ray has gone away.
        StorageError: If a record is damaged or cannot be written.
        Interrupted: On SIGINT, SIGTERM or SIGHUP.
    """
    seeds, top = EXTENT(seeds, what="seeds"), EXTENT(top, what="top")
    options = {name: plain(value) for name, value in policy.items() if value is not None}
    named = options.pop("policy", DEFAULT_POLICY)
    named = "head" if "head" in options else named
    result = load(folder)
    if result.is_running:
        who = holder(result.store) or "another process"
        raise StudyLocked(
            f"study {result.study.name!r} is being run by {who}; confirm it when that has ended"
        )
    result = result.under(result.study.with_data(data))
    points = leading_points(result, top=top, policy=named, options=options)
    chosen = fresh_seeds(result.study.seed, seeds)
    wanted = trainings_of(points, chosen)
    if not is_done(result.store.confirmation, wanted):
        _train(result, wanted, watcher, factory)
    return read_confirmation(result, points, seeds=chosen, policy=named, options=options)


def _train(
    result: StudyResult, wanted: Sequence[Training], watcher: Watcher | None, factory: str | None
) -> None:
    """Train what is wanted and was not trained before: a run of its own, in a folder below."""
    from search.running.plan import confirmation_plan  # loads Optuna, as what follows
    from search.running.probe import settled_room
    from search.running.run import KERAS, Run, Silent, driving

    prepared, store = result.prepared, result.store.confirmation
    try:
        with driving(result.study, watcher or Silent(), factory or KERAS) as driver:
            study, _ = check_data(driver.study, result, driver.watcher)
            driver = replace(driver, study=study)
            # The study, too, whose run would sweep away what is being written below.
            with claim(result.store), claim(store) as ownership:
                StudyLog.create(store, {"confirms": prepared.data.fingerprint})
                with driver.on_ray(prepared.data) as (joined, decoded):
                    history = StudyReader(store).read()
                    trainings = to_train(recorded_trainings(history), wanted)
                    budget = {"trainings": [training.to_list() for training in trainings]}
                    log = StudyLog.open_for_writing(store, ownership, budget=budget)
                    room = settled_room(study, prepared, joined, driver.watcher)
                    nodes = joined.watch.sight.nodes
                    check_reach(store, study.data, nodes, driver.watcher.told)
                    driver.watcher.preparing("decoding the images")
                    decoded()
                    plan = confirmation_plan(study, prepared, room.shares.gpu, trainings)
                    Run(driver=driver, plan=plan, prepared=prepared, log=log, room=room).go()
    except KeyboardInterrupt:
        raise Interrupted(
            f"the confirmation of {result.study.name!r} was interrupted; the same "
            "`twohead confirm` continues it"
        ) from None
