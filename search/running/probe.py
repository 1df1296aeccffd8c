"""Settles what a study's resources leave open: as it was measured before, or by measuring now."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from search.cluster.capacity import Capacity, TrialRoom, find_room, growth_of
from search.cluster.nodes import Failed, on_each_node
from search.cluster.session import Joined
from search.cluster.shares import MEMORY_SHARE
from search.errors import InputError, SearchError, UnfitNode
from search.record.ownership import Ownership
from search.results.progress import Watcher
from search.space.parameters import Choice, ends
from search.space.space import SearchSpace, depths_of
from search.study.configs import first_configs, parse
from search.study.prepared import Prepared, shared_settings
from search.study.settings import Resources
from search.study.shares import (
    MeasuredShares,
    Peak,
    Peaks,
    check_fits,
    class_for,
    read_shares,
    write_shares,
)
from search.study.study import Study
from search.text import count, gibibytes
from trainables.probing.measure import Probe, gpu_bytes_here
from trainables.spec.footprint import Footprint, footprint
from trainables.spec.parameters import DEPTH, REFERENCE_TRIAL
from trainables.storage.store import Store

ASK_SECONDS = 60.0
"""For all GPU nodes to say what memory their GPUs have."""
TRAIN_SECONDS = 2.0
"""How long trials are trained side by side for each number of threads."""
GAIN = 1.05
"""So many times as fast more threads must be to be taken."""

SHAPING = ("pool_size", "kernel_size", "batch_norm", "optimizer", "padding")
"""Parameters of which the largest value need not make the largest model: all are counted."""
MOST_COUNTED = 4000
MOST_FIRST = 6
"""Configs to start with that are measured of a user's own model, whose size is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryCandidate:
    """A training that may be the largest or the smallest of a study."""

    config: Mapping[str, Any]
    origin: str = "space"
    size: Footprint = field(default_factory=Footprint)
    """Of a user's own model it is not known."""

    @property
    def is_reference(self) -> bool:
        """Whether it is the reference trial."""
        return self.origin == "reference"

    @property
    def name(self) -> str:
        """Which it is, for people."""
        if self.is_reference:
            return REFERENCE_TRIAL
        named = ", ".join(f"{name}={value}" for name, value in self.config.items())
        return f"the config {named} of {'the space' if self.origin == 'space' else self.origin}"


Measured = tuple[MemoryCandidate, Mapping[str, Any]]
"""A training, and what was told of it."""


def settled_room(
    study: Study,
    prepared: Prepared,
    joined: Joined,
    watcher: Watcher,
    ownership: Ownership | None = None,
) -> TrialRoom:
    """Return where a study's trials run; what its resources leave open is measured.

    What was measured for it once holds for good, so that a trial is the same whenever it is
    trained; unless the GPUs are others now, or no node has so many CPUs. It is written down under
    an ``ownership`` of the study's folder, if there is one.
    """
    if not study.resources.is_open:
        return find_room(study.resources, joined, watcher.told)
    store, probe = Store(study.folder), _ShareProbe(study, prepared, joined, watcher)
    known = read_shares(store)
    why = "" if known is None else probe.why_not(known)
    if known is None or why:
        if why:
            watcher.told(f"the shares of trials are measured again: {why}")
        watcher.preparing("measuring what a trial needs")
        known = probe.measure()
        if ownership is not None:
            ownership.check()
            write_shares(store, known)
    for line in known.lines(study.resources):
        watcher.told(line)
    resources = study.resources.settled(cpu=known.cpu, gpu=known.gpu)
    return find_room(resources, joined, watcher.told, measured=known)


class _ShareProbe:
    """Finds out what each trial is to get, by training a study's models where they will run."""

    def __init__(self, study: Study, prepared: Prepared, joined: Joined, watcher: Watcher) -> None:
        self._study = study
        self._asked = study.resources
        self._prepared = prepared
        self._watch = joined.watch
        self._growth = growth_of(joined)
        self._watcher = watcher

    def why_not(self, known: MeasuredShares) -> str:
        """Say why what was measured before does not hold on this Ray; empty if it does."""
        if self._asked.gpu == "auto":
            found, has_gpu = self._gpu_bytes(), self._has("GPU")
            if found is not None and known.gpu_bytes not in (found, 0):
                then, now = gibibytes(known.gpu_bytes), gibibytes(found)
                return f"there are GPUs of {now} now, of {then} then"
            if has_gpu != bool(known.gpu):
                return "there are GPUs now" if has_gpu else "there are no GPUs any more"
        if self._asked.cpu == "auto" and not self._has("CPU", known.cpu):
            return f"no node has {count(known.cpu, 'CPU')}"
        return ""

    def measure(self) -> MeasuredShares:
        """Return what each trial is to get."""
        asked = self._asked
        on_gpu = self._has("GPU") if asked.gpu == "auto" else asked.gpu > 0
        if not on_gpu:
            return self._threads() if asked.cpu == "auto" else MeasuredShares(cpu=1, gpu=0)
        if asked.gpu != "auto":
            return MeasuredShares(cpu=self._cpus_beside(asked.gpu), gpu=asked.gpu)
        return self._share()

    def _share(self) -> MeasuredShares:
        """Measure the smallest share of a GPU that has room for each trial."""
        threads = 1 if self._asked.cpu == "auto" else self._asked.cpu
        with self._placed(cpu=threads, gpu=1) as probe:
            known = self._gpu_bytes()
            if known is None:
                raise SearchError("the node to measure on has gone: run the study again")
            sound = self._peaks(probe, threads=threads, gpu_bytes=known)
        peaks, largest = _peaks_of(sound), _largest_of(sound)
        check_fits(largest.name, peaks.most_bytes, known)
        gpu = class_for(peaks.most_bytes, known) or 1.0
        return MeasuredShares(
            cpu=self._cpus_beside(gpu),
            gpu=gpu,
            gpu_bytes=known,
            outside_bytes=max(int(told["outside_bytes"]) for _, told in sound),
            peaks=peaks,
        )

    def _threads(self) -> MeasuredShares:
        """Try how many threads of a trial are best where nothing but trials runs on a node."""
        cores, memory = self._common_node()
        with self._placed(cpu=cores, gpu=0) as probe:
            sound = self._peaks(probe, threads=1, gpu_bytes=0)
            peaks, largest = _peaks_of(sound), _largest_of(sound)
            tried = _possible_threads(cores, memory, peaks.largest_bytes)
            race = {"what": "speed", "seconds": TRAIN_SECONDS}
            jobs = [
                {**self._job(largest, threads, 0), **race, "processes": cores // threads}
                for threads in tried
            ]
            raced = self._ask(probe, jobs)
        speeds = {
            threads: float(answer["rows_per_second"])
            for threads, answer in zip(tried, raced, strict=True)
            if "failed" not in answer
        }
        return MeasuredShares(cpu=_best_threads(speeds), gpu=0, peaks=peaks, speeds=speeds)

    def _gpu_bytes(self) -> int | None:
        """Return the memory of the smallest GPU there is; None while no node has one."""
        nodes = [node for node in self._watch.sight.staying if node.resources.get("GPU")]
        answers = on_each_node(gpu_bytes_here, seconds=ASK_SECONDS, nodes=nodes)
        for answer in answers.values():
            if isinstance(answer, Failed) and isinstance(answer.error, UnfitNode):
                raise answer.error
        return min((one for one in answers.values() if isinstance(one, int)), default=None)

    def _places(self) -> list[tuple[Mapping[str, float], int]]:
        """Return what each node has, and what those have that may come, with how many may."""
        sight = self._watch.sight
        coming = [(one.resources, one.most) for one in self._growth.beyond(sight.nodes)]
        places = [*((node.resources, 1) for node in sight.staying), *coming]
        return [(place, many) for place, many in places if place is not None]

    def _has(self, what: str, least: float = 1) -> bool:
        """Tell whether a node has so much of a resource, or one may come that has or may have."""
        nodes = self._watch.sight.nodes
        coming = self._growth.beyond(nodes)
        places = [*(node.resources for node in nodes), *(one.resources for one in coming)]
        return any(place is None or place.get(what, 0) >= least for place in places)

    def _cpus_beside(self, gpu: float) -> int:
        """Return how many CPUs each trial has if the GPUs of every node are full of trials."""
        places = [place for place, _ in self._places() if place.get("GPU", 0) >= gpu]
        each = [int(place.get("CPU", 0) / (place["GPU"] / gpu)) for place in places]
        return max(1, min(each, default=1))

    def _common_node(self) -> tuple[int, int]:
        """Return CPUs and memory of the kind of node that has most of all CPUs."""
        total: Counter[int] = Counter()
        memory: dict[int, int] = {}
        for place, many in self._places():
            cores = int(place.get("CPU", 0))
            total[cores] += many * cores
            known = int(place.get("memory", 0))
            memory[cores] = min(memory.get(cores) or known, known or memory.get(cores, 0))
        cores = max(total, key=lambda kind: (total[kind], kind), default=1)
        return max(1, cores), memory.get(cores, 0)

    @contextmanager
    def _placed(self, *, cpu: int, gpu: float) -> Iterator[Any]:
        """Hold a share of some node, waited for as a trial's."""
        import ray

        share = Resources(cpu=cpu, gpu=gpu, wait_minutes=self._asked.wait_minutes)
        asked = ray.remote(num_cpus=share.cpu, num_gpus=share.gpu, max_restarts=0)(Probe)
        probe = asked.remote()
        capacity = Capacity(share, self._growth, self._watch, self._watcher.told)
        placed = probe.__ray_ready__.remote()
        try:
            while not ray.wait([placed], timeout=1.0)[0]:
                self._watch.check()
                capacity.look(0)
            yield probe
        finally:
            ray.kill(probe)

    def _peaks(self, probe: Any, *, threads: int, gpu_bytes: int) -> list[Measured]:
        """Return what the trainings took that could be measured."""
        found = candidates(self._study, self._prepared)
        jobs = [self._job(one, threads, gpu_bytes) for one in found]
        return _sound_of(list(zip(found, self._ask(probe, jobs), strict=True)))

    def _ask(self, probe: Any, jobs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        import ray

        settings = shared_settings(self._study, self._prepared)
        task = probe.measure.remote(settings, list(jobs))
        while not ray.wait([task], timeout=1.0)[0]:
            self._watch.check()
        try:
            answers: list[Mapping[str, Any]] = ray.get(task)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            self._watch.settle()
            raise SearchError(
                f"the process that measured was lost ({type(error).__name__}): run it again"
            ) from error
        return answers

    def _job(self, one: MemoryCandidate, threads: int, gpu_bytes: int) -> dict[str, Any]:
        rows = self._prepared.data.rows
        return {
            "what": "peak",
            "config": dict(one.config),
            "is_reference": one.is_reference,
            "threads": threads,
            "gpu_bytes": gpu_bytes,
            "rows": [rows["train"], rows["validation"]],
        }


def _possible_threads(cores: int, memory: int, peak_bytes: int) -> list[int]:
    """Return the numbers of threads to try: doubling, as far as a node has memory for its trials.

    Example:
        >>> _possible_threads(6, 0, 2**30), _possible_threads(8, 4 * 2**30, 2**30)
        ([1, 2, 4, 6], [4, 8])
    """
    doubled = [2**power for power in range(cores.bit_length()) if 2**power < cores]
    fitting = memory * MEMORY_SHARE
    return [
        threads
        for threads in (*doubled, cores)
        if threads == cores or not memory or cores // threads * peak_bytes <= fitting
    ]


def _best_threads(speeds: Mapping[int, float]) -> int:
    """Return the threads that train most; fewer where more gain little.

    Example:
        >>> _best_threads({1: 100.0, 2: 103.0, 4: 60.0})
        1
    """
    if not speeds:
        raise SearchError("resources.cpu 'auto' needs trainings that can be timed, got none")
    best = min(speeds)
    for threads in sorted(speeds):
        if speeds[threads] > GAIN * speeds[best]:
            best = threads
    return best


def _sound_of(pairs: Sequence[Measured]) -> list[Measured]:
    """Return what could be measured; a config of a user's function may not be possible."""
    for one, told in pairs:
        if told.get("is_memory"):
            raise InputError(
                f"resources 'auto' needs memory for every trial, but {one.name} could not be "
                f"trained on a whole node alone: {told['failed']}"
            )
    sound = [(one, told) for one, told in pairs if "failed" not in told]
    if not sound:
        one, told = pairs[0]
        raise InputError(f"{one.name} could not be trained: {told['failed']}")
    return sound


def _peaks_of(sound: Sequence[Measured]) -> Peaks:
    """Return what trainings took; with what a process takes besides, the most of all of them."""
    return Peaks(
        measured=tuple(
            Peak(**one.size._asdict(), num_bytes=told["peak_bytes"]) for one, told in sound
        ),
        beside_bytes=max(told["kept_bytes"] + told["outside_bytes"] for _, told in sound),
    )


def _largest_of(sound: Sequence[Measured]) -> MemoryCandidate:
    """Return the training that took most."""
    return max(sound, key=lambda pair: int(pair[1]["peak_bytes"]))[0]


def candidates(study: Study, prepared: Prepared) -> list[MemoryCandidate]:
    """Return the trainings to measure: the smallest, and those one of which is the largest.

    Of the built-in model these are the smallest and the largest of the space, the one with most
    activations and few weights, all with the space's largest batch, and whichever config to try
    first is larger still. Of a user's own model, where nothing is known before it is built, they
    are the two corners of the space and its configs to try first.
    """
    space = prepared.space
    first = [
        MemoryCandidate(config=config, origin=origin)
        for config, origin in first_configs(study, prepared)
    ]
    if study.model is not None:
        found = [MemoryCandidate(config=config) for config in space.corners]
        own = [one for one in first if not one.is_reference][:MOST_FIRST]
        return [*found, *own, *(one for one in first if one.is_reference)]

    def sized_one(one: MemoryCandidate) -> MemoryCandidate:
        spec = parse(replace(study, model=None), one.config, prepared.data)
        return replace(one, size=footprint(spec))

    sized = [sized_one(MemoryCandidate(config=config)) for config in extremes(space)]
    smallest = min(sized, key=lambda one: one.size.total)
    widest = max(sized, key=lambda one: one.size.activations - one.size.weights)
    largest = max(sized, key=lambda one: one.size.total)
    # The first of equals.
    most = max((largest, *map(sized_one, first)), key=lambda one: one.size.total)
    # One of each config, in this order.
    return list({str(one.config): one for one in (smallest, widest, largest, most)}.values())


def extremes(space: SearchSpace) -> Iterator[dict[str, Any]]:
    """Yield configs among which are the smallest and the largest of a space."""
    known = dict(space.parameters)
    shaping = {
        name: kind.values if isinstance(kind, Choice) else tuple(dict.fromkeys(ends(kind)))
        for name in SHAPING
        if (kind := known.get(name)) is not None
    }
    if depths := depths_of(known.get(DEPTH)):
        shaping[DEPTH] = depths
    for is_small, is_narrow in ((True, True), (False, True), (False, False)):
        fixed = {
            name: ends(kind)[0 if is_small or (is_narrow and name.endswith("_units")) else 1]
            for name, kind in known.items()
        }
        fixed["batch_size"] = ends(known["batch_size"])[1]
        yield from islice(space.crossed(fixed, shaping), MOST_COUNTED)
