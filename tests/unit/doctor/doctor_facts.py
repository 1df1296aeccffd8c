"""A cluster in good health, as facts, for tests to plant faults in."""

from dataclasses import replace

from packaging.specifiers import SpecifierSet

from search.doctor.facts import (
    ClusterFacts,
    DiskRoom,
    GpuFacts,
    Listener,
    Machine,
    NodeFacts,
    PortAnswers,
    StorageFacts,
    TokenFacts,
)

GIB = 2**30
VERSIONS = {"twohead-search": "0.1.0", "ray": "2.60.0", "keras": "3.15.1"}
BOUNDS = {"ray": SpecifierSet(">=2.60,<2.61"), "keras": SpecifierSet(">=3.15.1,<3.17")}
REFUSED = PortAnswers(by="http", none="refused", wrong="refused", right="answered")
GRPC = replace(REFUSED, by="grpc")


def listener(holder, port, address="0.0.0.0", *, answers=REFUSED, is_rays=True):
    return Listener(
        address=address, port=port, holder=holder,
        is_rays=is_rays, is_this_rays=is_rays, answers=answers,
    )  # fmt: skip


def disk(use, *, free=50 * GIB, total=100 * GIB, path="/tmp", **more):
    return DiskRoom(path=path, use=use, free=free, total=total, **more)


def node_facts(name, *listeners, **modes):
    return NodeFacts(
        machine=name,
        python="3.11.7",
        versions=VERSIONS,
        code="c0de",
        token=TokenFacts(path="/me/.ray/auth_token", mode=0o600, folder_mode=0o700, digest="d1"),
        modes={"raylet": "token", **modes},
        listeners=[listener("raylet", 34567, answers=GRPC), *listeners],
        disks=[disk("Ray's session"), disk("temporary files")],
        shm=disk("shared memory", free=8 * GIB, path="/dev/shm"),
        memory_total=16 * GIB,
        memory_available=12 * GIB,
        open_files=65536,
        skew=(-0.001, 0.002),
    )


def healthy():
    """Return a head and two workers with a GPU each, of which nothing bad can be said."""
    service = listener("control service", 6379, answers=GRPC)
    board = listener("dashboard", 8265, "127.0.0.1")
    head = node_facts("head", service, board, **{"control service": "token"})
    workers = [
        Machine(
            title=name, cpus=4, gpus=1, gpu=GpuFacts(seen=1),
            told=node_facts(name), storage=StorageFacts(),
        )
        for name in ("one", "two")
    ]  # fmt: skip
    return ClusterFacts(
        machines=[
            Machine(title="head", is_head=True, told=head, storage=StorageFacts()),
            *workers,
        ],
        bounds=BOUNDS,
        own_digest="d1",
        dashboard="127.0.0.1:8265",
        has_autoscaler=True,
        storage="s3://bucket/studies",
    )


def with_last(cluster, /, **changes):
    """Return a cluster whose last node is otherwise."""
    *others, last = cluster.machines
    return replace(cluster, machines=[*others, replace(last, **changes)])


def with_last_saying(cluster, /, **changes):
    """Return a cluster whose last node says otherwise of itself."""
    return with_last(cluster, told=replace(cluster.machines[-1].facts, **changes))


def with_head_saying(cluster, /, **changes):
    """Return a cluster whose head says otherwise of itself."""
    head, *others = cluster.machines
    told = replace(head.facts, **changes)
    return replace(cluster, machines=[replace(head, told=told), *others])
