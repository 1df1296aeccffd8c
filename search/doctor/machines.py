"""Judgements about machines: their room, clocks, GPUs, storage, and whether they are there."""

from collections.abc import Iterator, Sequence

from search.doctor.access import BRING
from search.doctor.findings import (
    ClusterFacts,
    Disk,
    Finding,
    GpuFacts,
    NodeFacts,
    Place,
    Problem,
    Silence,
    finding,
    names,
)
from search.text import count, gibibytes

LEAST_DISK = 2**30
SCARCE_DISK = 5 * 2**30
FULLEST_DISK = 0.95
"""The part of a disk in use above which Ray spills no more objects (ray 2.60)."""
LEAST_SHM = 128 * 2**20
SCARCE_MEMORY = 2**30
LEAST_FILES = 4096
WORST_SKEW_SECONDS = 15.0
"""Half of the lease by which one machine knows of another that it still runs a study."""
NOTICED_SKEW_SECONDS = 2.0

FREE = "Free room there, or give the node a larger disk"
SYNC = (
    "Let every node take its time from one source: install and start chrony or systemd-timesyncd"
)
SHARED = (
    "Choose a storage that all nodes share, a URI such as s3://bucket/studies or a network "
    "file system mounted everywhere, and set TWOHEAD_STORAGE to it on all of them"
)
DRIVER = (
    "Install the NVIDIA driver there and `twohead-search[gpu]`; then "
    "`nvidia-smi` and TensorFlow must show the same"
)


def judge_nodes(facts: ClusterFacts) -> Finding:
    """Judge whether every node is alive and answers."""
    problems = [(p.title, _silent(p.silence)) for p in facts.places if p.silence is not None]
    if facts.dead:
        what = f"{count(len(facts.dead), 'node')} died: {names(facts.dead)}"
        cure = "Look why with `ray status` and into the node; its trials go on elsewhere"
        problems.append(("", Problem(what=what, cure=cure, state="warn")))
    titles = [place.title for place in facts.places]
    return finding("nodes", problems, f"{count(len(titles), 'node')}: {names(titles, 6)}")


def _silent(silence: Silence) -> Problem:
    if silence.has_other_token:
        what = f"{silence.reason}; its log tells of a token that was refused"
        return Problem(what=what, cure=BRING)
    if silence.is_gone:
        what = f"{silence.reason}, and its Ray does not answer either"
        cure = "Look whether the machine and its cable are there; restart Ray on it, or let it go"
        return Problem(what=what, cure=cure)
    what = f"{silence.reason}, though its raylet answers: no process of Ray starts there"
    cure = (
        "Compare its ~/.ray/auth_token with the head's, look into its log with "
        "`ray logs raylet.err`, and see whether it has memory and processes left"
    )
    return Problem(what=what, cure=cure)


def judge_head(places: Sequence[Place]) -> Finding:
    """Judge whether the head keeps itself free of trials; it holds what all nodes need."""
    problems = [
        (
            place.title,
            Problem(
                what=f"offers {place.cpus:g} CPUs for trials",
                cure="Start the head with `--num-cpus=0`: a trial that fills it takes all down",
                state="warn",
            ),
        )
        for place in places
        if place.is_head and place.cpus and len(places) > 1
    ]
    return finding("head", problems, "takes no trials" if len(places) > 1 else "the only node")


def judge_autoscaler(facts: ClusterFacts) -> Finding:
    """Judge whether the autoscaler can do what it is there for."""
    cure = "Read what `ray monitor cluster.yaml` says: mostly a right or a quota is missing"
    troubles = facts.autoscaler_troubles
    problems = []
    if facts.autoscaler_crash is not None:
        problems.append(("", Problem(what=f"it ended: {facts.autoscaler_crash}", cure=cure)))
    if troubles:
        problems.append(("", Problem(what=names(troubles), cure=cure, state="warn")))
    fine = "no error" if facts.has_autoscaler else "none: the nodes are those that there are"
    return finding("autoscaler", problems, fine)


def judge_disks(places: Sequence[Place]) -> Finding:
    """Judge the room for Ray's session, for temporary files, and of a storage on a disk."""
    problems = []
    least: dict[str, int] = {}
    for place, facts in _known(places):
        storage = place.storage["disk"] if place.storage is not None else None
        for disk in [*facts["disks"], *([storage] if storage else [])]:
            problems += [(place.title, problem) for problem in disk_problems(disk)]
            if disk["problem"] is None:
                least[disk["use"]] = min(disk["free"], least.get(disk["use"], disk["free"]))
    told = ", ".join(f"{use} {gibibytes(free)}" for use, free in least.items())
    return finding("disk", problems, f"at least free: {told}")


def disk_problems(disk: Disk) -> list[Problem]:
    """Return what is wrong with the room of a folder."""
    what = f"{disk['path']} ({disk['use']})"
    if disk["problem"] is not None:
        return [Problem(what=f"{what} {disk['problem']}", cure=FREE)]
    free, total = disk["free"], disk["total"]
    shown = f"{what} has {gibibytes(free)} free of {gibibytes(total)}"
    if not disk["has_inodes"]:
        return [Problem(what=f"{what} has no inode left", cure="Delete files there: too many")]
    if free < LEAST_DISK:
        return [Problem(what=shown, cure=FREE)]
    if free < SCARCE_DISK or free < (1 - FULLEST_DISK) * total:
        return [Problem(what=shown, cure=FREE, state="warn")]
    return []


def judge_shm(places: Sequence[Place]) -> Finding:
    """Judge the shared memory, where Ray's objects live."""
    problems = []
    least = None
    for place, facts in _known(places):
        shm = facts["shm"]
        free = 0 if shm["problem"] else shm["free"]
        least = free if least is None else min(least, free)
        problems += [(place.title, problem) for problem in _shm_problems(shm)]
    return finding("shared memory", problems, f"at least {gibibytes(least or 0)} free")


def _shm_problems(shm: Disk) -> list[Problem]:
    cure = "Delete what was left in /dev/shm, or mount it larger (`--shm-size` in docker)"
    if shm["problem"] is not None:
        return [Problem(what=f"/dev/shm {shm['problem']}", cure=cure)]
    if shm["total"] < LEAST_SHM:  # then Ray keeps its objects on the disk
        what = f"/dev/shm is as small as {gibibytes(shm['total'])}: Ray takes the disk instead"
        return [Problem(what=what, cure=cure, state="warn")]
    if shm["free"] < LEAST_SHM:
        return [Problem(what=f"/dev/shm has {gibibytes(shm['free'])} free", cure=cure)]
    return []


def judge_memory(places: Sequence[Place]) -> Finding:
    """Judge the free memory; Ray ends processes where it runs out."""
    problems = []
    least = None
    for place, facts in _known(places):
        free = facts["memory"]["available"]
        least = free if least is None else min(least, free)
        if free < SCARCE_MEMORY:
            what = f"{gibibytes(free)} available of {gibibytes(facts['memory']['total'])}"
            cure = "End what else runs there, or take a larger machine"
            problems.append((place.title, Problem(what=what, cure=cure, state="warn")))
    return finding("memory", problems, f"at least {gibibytes(least or 0)} available")


def judge_open_files(places: Sequence[Place]) -> Finding:
    """Judge how many files Ray's processes may hold open."""
    problems = []
    least = None
    for place, facts in _known(places):
        limit = facts["open_files"]
        least = limit if least is None else min(least, limit)
        if limit < LEAST_FILES:
            cure = "Put `ulimit -n 65536;` before `ray start`"
            problem = Problem(what=f"at most {limit}", cure=cure, state="warn")
            problems.append((place.title, problem))
    return finding("open files", problems, f"{least or 0} or more allowed")


def judge_clocks(places: Sequence[Place]) -> Finding:
    """Judge how far the clocks of the nodes are from the driver's, as surely as was measured."""
    problems = []
    widest = 0.0
    for place, facts in _known(places):
        if facts["skew"] is None:
            problems.append((place.title, _NOT_COMPARED))
            continue
        low, high = facts["skew"]
        surely = max(low, -high, 0.0)
        widest = max(widest, abs(low), abs(high))
        if surely > NOTICED_SKEW_SECONDS:
            way = "ahead" if low > 0 else "behind"
            is_bad = surely > WORST_SKEW_SECONDS
            what = f"its clock is {_seconds(surely)} {way} of the driver's"
            state = Problem(what=what, cure=SYNC, state="FAIL" if is_bad else "warn")
            problems.append((place.title, state))
    return finding("clocks", problems, f"within {max(widest, 0.001):.3g} s of the driver's")


def judge_gpus(places: Sequence[Place]) -> Finding:
    """Judge whether TensorFlow sees the GPUs that Ray promises."""
    promised = [place for place in places if place.gpus]
    problems = []
    simulated = []
    for place in promised:
        gpu = place.gpu
        if gpu is None:
            continue
        if gpu["is_simulated"]:
            simulated.append(place.title)
        else:
            problems += [(place.title, problem) for problem in _gpu_problems(place, gpu)]
    if not promised:
        return finding("GPUs", problems, "none promised: trials run on CPUs")
    total = sum(place.gpus for place in promised)
    fine = f"{total:g} promised and seen by TensorFlow on {count(len(promised), 'node')}"
    if simulated:
        fine = f"{total:g} promised; simulated on {names(simulated)}"
    return finding("GPUs", problems, fine)


def _gpu_problems(place: Place, gpu: GpuFacts) -> list[Problem]:
    if gpu["seen"] is None:
        what = f"TensorFlow could not be asked for its GPUs: {gpu['problem']}"
        return [Problem(what=what, cure=DRIVER)]
    if gpu["seen"] < place.gpus:
        what = f"Ray promises {place.gpus:g} GPUs, TensorFlow sees {gpu['seen']}"
        return [Problem(what=what, cure=DRIVER)]
    if gpu["seen"] > place.gpus:
        what = f"Ray promises {place.gpus:g} GPUs, TensorFlow sees {gpu['seen']}: some stay idle"
        cure = f"Start Ray there with `--num-gpus={gpu['seen']}`"
        return [Problem(what=what, cure=cure, state="warn")]
    return []


def judge_storage(places: Sequence[Place], uri: str) -> Finding:
    """Judge whether every machine can write, read, list and delete in one and the same storage.

    Args:
        places: The machines.
        uri: The storage without secrets; empty if there is none.
    """
    if not uri:
        return _NO_STORAGE
    problems = []
    for place in places:
        told = place.storage
        if told is None or place.silence is not None:
            continue
        steps = {step: told[step] for step in ("write", "read", "list", "delete")}
        failed = next(((step, error) for step, error in steps.items() if error), None)
        if failed:
            what = f"cannot {failed[0]} in {uri}: {failed[1]}"
            cure = (
                "Give the nodes the right to it (in AWS an instance profile for the workers "
                "too), and room"
            )
            problems.append((place.title, Problem(what=what, cure=cure)))
        elif told["unseen"]:
            what = f"does not see in {uri} what was written by {names(told['unseen'])}"
            problems.append((place.title, Problem(what=what, cure=SHARED)))
    num = sum(place.storage is not None for place in places)
    fine = f"{uri} is written, read, listed and cleared" + (f" by {num} nodes" if num > 1 else "")
    return finding("storage", problems, fine)


_NOT_COMPARED = Problem(
    what="its clock could not be compared",
    cure="Run this command again; if it stays so, look why tasks do not reach each other there",
    state="warn",
)
_NO_STORAGE = Finding(
    check="storage",
    state="warn",
    seen="none is set here: a study has to name its own",
    cures=(
        "Set TWOHEAD_STORAGE to a URI that all nodes reach, where `ray start` runs, or give "
        "`--storage`",
    ),
)


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.0f} min"


def _known(places: Sequence[Place]) -> Iterator[tuple[Place, NodeFacts]]:
    return ((place, place.facts) for place in places if place.facts is not None)
