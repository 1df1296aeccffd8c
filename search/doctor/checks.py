"""The checks of `twohead doctor`: three tables at the end, above them the rules of their rows.

To add one: a fact in `facts.py` (found out by `node.py` or `cluster.py`), a rule that yields each
fault with its cure, and a row. A rule is over all facts, or by `on_each` over one machine.
"""

from collections.abc import Callable, Iterator

from search.doctor.facts import (
    STEPS,
    ClusterFacts,
    DiskRoom,
    Listener,
    Machine,
    TokenFacts,
    WayFacts,
)
from search.doctor.findings import Check, Fault, fail, names, on_each, warn
from search.doctor.ports import is_loopback
from search.doctor.versions import version_faults, versions_told
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
SSH = 22

EXPORT = (
    "Export RAY_AUTH_MODE=token where `ray start` runs on every node, with the same token file "
    "there, and restart Ray (`twohead cluster-yaml` writes a file that does)"
)
BRING = (
    "Bring one token to every node: name ~/.ray/auth_token in `file_mounts` of cluster.yaml, "
    "then `ray up` again"
)
CLOSE = "Open no port but 22 to the outside: this is what the security group or firewall is for"
FREE = "Free room there, or give the node a larger disk"
DRIVER = (
    "Install the NVIDIA driver there and `twohead-search[gpu]`; then "
    "`nvidia-smi` and TensorFlow must show the same"
)

Faults = Iterator[Fault]


# Nodes: are they there, and do they what they are for?


def _silent(machine: Machine, _: ClusterFacts) -> Faults:
    silence = machine.silence
    if silence is None:
        return
    if silence.has_other_token:
        yield fail(f"{silence.reason}; its log tells of a token that was refused", BRING)
    elif silence.is_gone:
        yield fail(
            f"{silence.reason}, and its Ray does not answer either",
            "Look whether the machine and its cable are there; restart Ray on it, or let it go",
        )
    else:
        yield fail(
            f"{silence.reason}, though its raylet answers: no process of Ray starts there",
            "Compare its ~/.ray/auth_token with the head's, look into its log with "
            "`ray logs raylet.err`, and see whether it has memory and processes left",
        )


def _lost_nodes(cluster: ClusterFacts) -> Faults:
    yield from on_each(_silent, of_silent=True)(cluster)
    if cluster.dead:
        yield warn(
            f"{count(len(cluster.dead), 'node')} died: {names(cluster.dead)}",
            "Look why with `ray status` and into the node; its trials go on elsewhere",
        )


def _nodes(cluster: ClusterFacts) -> str:
    titles = [machine.title for machine in cluster.machines]
    return f"{count(len(titles), 'node')}: {names(titles, 6)}"


def _busy_head(machine: Machine, cluster: ClusterFacts) -> Faults:
    if machine.is_head and machine.cpus and len(cluster.machines) > 1:
        yield warn(
            f"offers {machine.cpus:g} CPUs for trials",
            "Start the head with `--num-cpus=0`: a trial that fills it takes all down",
        )


def _autoscaler_troubles(cluster: ClusterFacts) -> Faults:
    cure = "Read what `ray monitor cluster.yaml` says: mostly a right or a quota is missing"
    if cluster.autoscaler_crash is not None:
        yield fail(f"it ended: {cluster.autoscaler_crash}", cure)
    if cluster.autoscaler_troubles:
        yield warn(names(cluster.autoscaler_troubles), cure)


# Access: who gets in?


def _open_modes(machine: Machine, _: ClusterFacts) -> Faults:
    modes = machine.facts.modes
    wrong = sorted(role for role, mode in modes.items() if (mode or "").lower() != "token")
    if wrong:
        yield fail(f"started without RAY_AUTH_MODE=token: {', '.join(wrong)}", EXPORT)
    elif not modes:
        what = "no process of Ray lets its environment be seen"
        yield warn(what, "Run this command as the user who started Ray")


def _token_of_node(machine: Machine, cluster: ClusterFacts) -> Faults:
    token = machine.facts.token
    yield from _bad_token(token, BRING)
    if token.digest and cluster.own_digest and token.digest != cluster.own_digest:
        where = token.path if token.source == "file" else token.source
        yield fail(f"another token than the driver's in {where}", BRING)


def _own_token(machine: Machine, cluster: ClusterFacts) -> Faults:
    token = machine.facts.token
    if token.problem != "is not there" or cluster.needs_token:
        cure = "Make one with `ray get-auth-token --generate`, or copy the cluster's; chmod 600"
        yield from _bad_token(token, cure)


def _bad_token(token: TokenFacts, cure: str) -> Faults:
    if token.problem:
        yield fail(f"{token.path} {token.problem}", cure)
        return
    if token.mode is not None and token.mode & 0o077:
        what = f"{token.path} has mode {token.mode:04o}: others than its owner get at it"
        yield fail(what, f"Run `chmod 600 {token.path}` there")
    if token.folder_mode is not None and token.folder_mode & 0o077:
        folder = token.path.rpartition("/")[0]
        told = fail if token.folder_mode & 0o022 else warn
        what = f"{folder} has mode {token.folder_mode:04o}"
        yield told(what, f"Run `chmod 700 {folder}` there")


def _where_token_is(cluster: ClusterFacts) -> str:
    token = cluster.machines[0].facts.token
    return "none yet: a cluster needs one" if token.problem else f"{token.path}, mode 0600"


def _strangers(machine: Machine, cluster: ClusterFacts) -> Faults:
    """Yield who answered a stranger, or was not seen to refuse one."""
    told = set()
    for listener in _asked(machine):
        faults = list(_let_in(listener))
        yield from faults
        if faults or _is_guarded(listener):
            told.add(listener.holder)
    must = ["control service", *(["dashboard"] if cluster.dashboard else [])]
    missing = [role for role in must if role not in told]
    if machine.is_head and missing:
        yield warn(
            f"it could not be seen whether a stranger is refused by: {', '.join(missing)}",
            "Run this command as the user who started Ray, on its head",
        )


def _let_in(listener: Listener) -> Faults:
    answers, where = listener.answers, f"{listener.holder} on port {listener.port}"
    assert answers is not None
    told = (("no token", answers.none), ("a wrong token", answers.wrong))
    strangers = [shown for shown, answer in told if answer == "answered"]
    if strangers:
        yield fail(f"{where} answers to {' and '.join(strangers)}", EXPORT)
    elif answers.right == "refused":
        yield fail(f"{where} refuses our own token", BRING)


def _asked(machine: Machine) -> list[Listener]:
    """Return the ports that were asked for the token; an exporter of metrics has none."""
    return [one for one in machine.facts.listeners if one.answers and one.answers.by != "metrics"]


def _is_guarded(listener: Listener) -> bool:
    answers = listener.answers
    return answers is not None and answers.none == answers.wrong == "refused"


def _refusals(cluster: ClusterFacts) -> str:
    asked = [listener for machine in cluster.answered for listener in _asked(machine)]
    refused = [listener.holder for listener in asked if _is_guarded(listener)]
    shown = ", ".join(f"{holder} ({refused.count(holder)})" for holder in dict.fromkeys(refused))
    return f"without a token and with a wrong one, by {shown}"


def _open_dashboard(machine: Machine, cluster: ClusterFacts) -> Faults:
    port = cluster.dashboard.rpartition(":")[2]
    for listener in machine.facts.listeners:
        is_it = listener.is_this_rays and str(listener.port) == port
        if is_it and not is_loopback(listener.address):
            yield fail(
                f"dashboard and jobs listen on {listener.address}:{port}",
                "Start the head with `--dashboard-host=127.0.0.1`, and reach it through "
                "`ray dashboard cluster.yaml`",
            )


def _open_ports(machine: Machine, cluster: ClusterFacts) -> Faults:
    """Yield what else is reached from outside; others' ports once for all nodes of a machine."""
    world = _reached(machine)
    if any(one.answers is not None and one.answers.by == "metrics" for one in world):
        yield warn("metrics are told without a token", CLOSE)
    here = machine.facts.machine
    others = [f"{one.port} ({one.holder})" for one in world if not one.is_rays and one.port != SSH]
    if others and machine is next(one for one in cluster.answered if one.facts.machine == here):
        what = f"reached from other machines besides Ray and SSH: {names(others, 5)}"
        yield warn(what, f"End what is not wanted. {CLOSE}")


def _reached(machine: Machine) -> list[Listener]:
    """Return the ports that other machines reach."""
    return [one for one in machine.facts.listeners if not is_loopback(one.address)]


def _ports(cluster: ClusterFacts) -> str:
    told: dict[str, list[str]] = {}
    for machine in cluster.answered:
        told.setdefault(_ports_of(machine), []).append(machine.title)
    lines = [f"{names(titles)}: {ports}" for ports, titles in told.items()]
    more = f"; and {len(lines) - 3} more nodes" if len(lines) > 3 else ""
    return "; ".join(lines[:3]) + more


def _ports_of(machine: Machine) -> str:
    """Return who of this Ray listens on a machine; most of its ports are drawn at its start."""
    by_holder: dict[str, set[int]] = {}
    for listener in machine.facts.listeners:
        if listener.is_this_rays:
            by_holder.setdefault(listener.holder, set()).add(listener.port)
    told = []
    for holder, ports in sorted(by_holder.items()):
        shown = ", ".join(map(str, sorted(ports))) if len(ports) <= 4 else f"{len(ports)} ports"
        told.append(f"{holder} {shown}" if machine.is_head else holder)
    return ", ".join(told)


def _own_ports(machine: Machine, cluster: ClusterFacts) -> Faults:
    """Yield who reaches a Ray here: one that a study would start, and any that runs."""
    if cluster.auth_mode.strip().lower() == "disabled":
        yield warn(
            "RAY_AUTH_MODE is disabled: any user of this machine runs code as you in a study",
            "Unset RAY_AUTH_MODE: the Ray of a study then asks for a token",
        )
    outside = [
        f"{one.holder} on {one.address}:{one.port}" for one in _reached(machine) if one.is_rays
    ]
    if outside:
        yield warn(
            f"other machines reach a Ray that runs here: {names(outside)}",
            "No study starts such a Ray: end it, or look again with RAY_ADDRESS naming it",
        )


def _no_private_folder(cluster: ClusterFacts) -> Faults:
    against = "; ".join(f"{base} {why}" for base, why in cluster.ray_folders if why is not None)
    cure = "Let RAY_TMPDIR name a folder of your own with a short path"
    if all(why is not None for _, why in cluster.ray_folders):
        yield fail(f"no place for a study's Ray: {against}", cure)
    elif cluster.ray_folders[0][1] is not None:
        yield warn(f"{_private_folder(cluster)}, as {against}", cure)


def _private_folder(cluster: ClusterFacts) -> str:
    taken = next(base for base, why in cluster.ray_folders if why is None)
    return f"a study's Ray lives in {taken}, where no other user enters it"


def _hidden_packages(cluster: ClusterFacts) -> Faults:
    if file := cluster.hiding_file:
        yield warn(
            f"{file} is what a script or `python -m` that is started here imports in our place",
            f"Rename {file}, or start Python with -P",
        )


# Machines: is what they have enough?


def _full_disks(machine: Machine, _: ClusterFacts) -> Faults:
    for disk in _disks(machine):
        what = f"{disk.path} ({disk.use})"
        shown = f"{what} has {gibibytes(disk.free)} free of {gibibytes(disk.total)}"
        if disk.problem is not None:
            yield fail(f"{what} {disk.problem}", FREE)
        elif not disk.has_inodes:
            yield fail(f"{what} has no inode left", "Delete files there: too many")
        elif disk.free < LEAST_DISK:
            yield fail(shown, FREE)
        elif disk.free < SCARCE_DISK or disk.free < (1 - FULLEST_DISK) * disk.total:
            yield warn(shown, FREE)


def _room(cluster: ClusterFacts) -> str:
    least: dict[str, int] = {}
    for disk in (disk for machine in cluster.answered for disk in _disks(machine)):
        if disk.problem is None:
            least[disk.use] = min(disk.free, least.get(disk.use, disk.free))
    return "at least free: " + ", ".join(f"{use} {gibibytes(n)}" for use, n in least.items())


def _disks(machine: Machine) -> list[DiskRoom]:
    storage = machine.storage.disk if machine.storage is not None else None
    return [*machine.facts.disks, *([storage] if storage else [])]


def _small_shm(machine: Machine, _: ClusterFacts) -> Faults:
    shm = machine.facts.shm
    cure = "Delete what was left in /dev/shm, or mount it larger (`--shm-size` in docker)"
    if shm.problem is not None:
        yield fail(f"/dev/shm {shm.problem}", cure)
    elif shm.total < LEAST_SHM:  # then Ray keeps its objects on the disk
        small = gibibytes(shm.total)
        yield warn(f"/dev/shm is as small as {small}: Ray takes the disk instead", cure)
    elif shm.free < LEAST_SHM:
        yield fail(f"/dev/shm has {gibibytes(shm.free)} free", cure)


def _scarce_memory(machine: Machine, _: ClusterFacts) -> Faults:
    free, total = machine.facts.memory_available, machine.facts.memory_total
    if free < SCARCE_MEMORY:  # Ray ends processes where it runs out
        what = f"{gibibytes(free)} available of {gibibytes(total)}"
        yield warn(what, "End what else runs there, or take a larger machine")


def _few_files(machine: Machine, _: ClusterFacts) -> Faults:
    if machine.facts.open_files < LEAST_FILES:
        what = f"at most {machine.facts.open_files}"
        yield warn(what, "Put `ulimit -n 65536;` before `ray start`")


def _wrong_clock(machine: Machine, _: ClusterFacts) -> Faults:
    if machine.facts.skew is None:
        yield warn(
            "its clock could not be compared",
            "Run this command again; if it stays so, look why tasks do not reach each other there",
        )
        return
    low, high = machine.facts.skew
    surely = max(low, -high, 0.0)
    if surely > NOTICED_SKEW_SECONDS:
        far = f"{surely:.1f} s" if surely < 120 else f"{surely / 60:.0f} min"
        told = fail if surely > WORST_SKEW_SECONDS else warn
        yield told(
            f"its clock is {far} {'ahead' if low > 0 else 'behind'} of the driver's",
            "Let every node take its time from one source: install and start chrony or "
            "systemd-timesyncd",
        )


def _widest_skew(cluster: ClusterFacts) -> str:
    bounds = [abs(bound) for one in cluster.answered for bound in one.facts.skew or ()]
    return f"within {max([0.001, *bounds]):.3g} s of the driver's"


def _missing_gpus(machine: Machine, _: ClusterFacts) -> Faults:
    gpu = machine.gpu
    if gpu is None or not machine.gpus or gpu.is_simulated:
        return
    what = f"Ray promises {machine.gpus:g} GPUs, TensorFlow sees {gpu.seen}"
    if gpu.seen is None:
        yield fail(f"TensorFlow could not be asked for its GPUs: {gpu.problem}", DRIVER)
    elif gpu.seen < machine.gpus:
        yield fail(what, DRIVER)
    elif gpu.seen > machine.gpus:
        yield warn(f"{what}: some stay idle", f"Start Ray there with `--num-gpus={gpu.seen}`")


def _gpus(cluster: ClusterFacts) -> str:
    promised = [machine for machine in cluster.machines if machine.gpus]
    simulated = [one.title for one in promised if one.gpu is not None and one.gpu.is_simulated]
    total = sum(machine.gpus for machine in promised)
    if not promised:
        return "none promised: trials run on CPUs"
    if simulated:
        return f"{total:g} promised; simulated on {names(simulated)}"
    return f"{total:g} promised and seen by TensorFlow on {count(len(promised), 'node')}"


def _unusable_storage(cluster: ClusterFacts) -> Faults:
    if cluster.storage:
        yield from on_each(_unusable)(cluster)
    else:
        yield warn(
            "none is set here: a study has to name its own",
            "Set TWOHEAD_STORAGE to a URI that all nodes reach, where `ray start` runs, or give "
            "`--storage`",
        )


def _unusable(machine: Machine, cluster: ClusterFacts) -> Faults:
    told = machine.storage
    failed = next((step for step in STEPS if told and step in told.errors), None)
    if told and failed:
        yield fail(
            f"cannot {failed} in {cluster.storage}: {told.errors[failed]}",
            "Give the nodes the right to it (in AWS an instance profile for the workers too), "
            "and room",
        )
    elif told and told.unseen:
        yield fail(
            f"does not see in {cluster.storage} what was written by {names(told.unseen)}",
            "Choose a storage that all nodes share, a URI such as s3://bucket/studies or a "
            "network file system mounted everywhere, and set TWOHEAD_STORAGE to it on all of them",
        )


def _usable_storage(cluster: ClusterFacts) -> str:
    num = sum(machine.storage is not None for machine in cluster.machines)
    by = f" by {num} nodes" if num > 1 else ""
    return f"{cluster.storage} is written, read, listed and cleared{by}"


# The way from here to a cluster


def _open_jobs(way: WayFacts) -> Faults:
    if way.open_to:
        yield fail(f"jobs are taken with {' and '.join(way.open_to)}", EXPORT)
    elif not way.takes_ours:
        cure = "Copy the cluster's token to ~/.ray/auth_token here, and run `chmod 600` on it"
        yield fail("the cluster refuses this machine's token", cure)


def _other_ray(way: WayFacts) -> Faults:
    here, there = way.ray
    if there is None:
        yield warn("no version was told", "Look whether this is the dashboard of a Ray")
    elif here != there:  # Ray does not promise that its Jobs API is stable
        cure = f"Install that one here: `pip install 'ray[default,tune]=={there}'`"
        yield fail(f"{here} here, {there} on the cluster", cure)


def _missing_tools(way: WayFacts) -> Faults:
    if missing := way.missing_tools:
        cure = f"Install {' and '.join(missing)} on the machine that you run `ray up` on"
        yield warn(f"{', '.join(missing)} not found: `ray up` needs it", cure)


def _other_release(way: WayFacts) -> Faults:
    here, there = way.releases
    if here != there:
        yield warn(
            f"twohead-search {here} here, {there} on the head",
            "Install one release on both: a study file may mean something else there",
        )


def _least(cluster: ClusterFacts, fact: Callable[[Machine], int]) -> int:
    return min(map(fact, cluster.answered), default=0)


VERSIONS = Check("versions", version_faults, versions_told)
GPUS = Check("GPUs", on_each(_missing_gpus, of_silent=True), _gpus)
STORAGE = Check("storage", _unusable_storage, _usable_storage)
ROOM = (
    Check("disk", on_each(_full_disks), _room),
    Check(
        "shared memory",
        on_each(_small_shm),
        lambda c: f"at least {gibibytes(_least(c, lambda m: m.facts.shm.free))} free",
    ),
    Check(
        "memory",
        on_each(_scarce_memory),
        lambda c: f"at least {gibibytes(_least(c, lambda m: m.facts.memory_available))} available",
    ),
    Check(
        "open files",
        on_each(_few_files),
        lambda c: f"{_least(c, lambda m: m.facts.open_files)} or more allowed",
    ),
)

MACHINE: tuple[Check[ClusterFacts], ...] = (
    VERSIONS,
    Check("token file", on_each(_own_token), _where_token_is),
    Check(
        "ports",
        on_each(_own_ports),
        "a study's Ray listens on 127.0.0.1 alone; users of this machine read its metrics there",
    ),
    Check("private folder", _no_private_folder, _private_folder),
    *ROOM,
    GPUS,
)
"""Of the machine that the command was typed on."""

ALONE = (*MACHINE, STORAGE, Check("imports", _hidden_packages))
"""Of that machine, where no cluster is meant."""

CLUSTER: tuple[Check[ClusterFacts], ...] = (
    Check("nodes", _lost_nodes, _nodes),
    VERSIONS,
    Check(
        "token mode",
        on_each(_open_modes),
        lambda c: f"on, in all {sum(len(m.facts.modes) for m in c.answered)} processes that tell",
    ),
    Check("token file", on_each(_token_of_node), "there, mode 0600, the same on all nodes"),
    Check("refusal", on_each(_strangers), _refusals),
    Check(
        "dashboard",
        on_each(_open_dashboard),
        lambda c: f"on {c.dashboard} only" if c.dashboard else "none runs",
    ),
    Check("ports", on_each(_open_ports), _ports, tells_all=True),
    GPUS,
    STORAGE,
    *ROOM,
    Check("clocks", on_each(_wrong_clock), _widest_skew),
    Check(
        "head",
        on_each(_busy_head, of_silent=True),
        lambda c: "takes no trials" if len(c.machines) > 1 else "the only node",
    ),
    Check(
        "autoscaler",
        _autoscaler_troubles,
        lambda c: "no error" if c.has_autoscaler else "none: the nodes are those that there are",
    ),
)
"""Of a Ray that this process has joined."""

WAY: tuple[Check[WayFacts], ...] = (
    Check("way", _open_jobs, lambda way: f"jobs at {way.address} are taken with our token only"),
    Check("Ray", _other_ray, lambda way: f"{way.ray[0]} here and on the cluster"),
    Check("tools", _missing_tools, "ssh and rsync are here"),
)
"""Of the way from this machine to a cluster's dashboard."""

RELEASE = Check(
    "release", _other_release, lambda way: f"twohead-search {way.releases[0]} here and on the head"
)
