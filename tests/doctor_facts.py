"""A cluster in good health, as facts, for tests to plant faults in."""

from dataclasses import replace

from search.doctor.findings import ClusterFacts, Place

GIB = 2**30
VERSIONS = {"twohead-search": "0.1.0", "ray": "2.60.0", "keras": "3.15.1"}
BOUNDS = {"ray": [(">=", "2.60"), ("<", "2.61")], "keras": [(">=", "3.15.1"), ("<", "3.17")]}
REFUSED = {"by": "http", "none": "refused", "wrong": "refused", "right": "answered"}


def listener(holder, port, address="0.0.0.0", *, answer=REFUSED, is_rays=True):
    return {
        "address": address,
        "port": port,
        "holder": holder,
        "is_rays": is_rays,
        "is_this_rays": is_rays,
        "answer": answer,
    }


def disk(use, *, free=50 * GIB, total=100 * GIB, path="/tmp", **more):
    return {"path": path, "use": use, "problem": None, "free": free, "total": total,
            "has_inodes": True, **more}  # fmt: skip


def node_facts(name):
    return {
        "host": name,
        "place": name,
        "python": "3.11.7",
        "versions": VERSIONS,
        "code": "c0de",
        "token": {
            "source": "file", "path": "/me/.ray/auth_token", "mode": 0o600,
            "folder_mode": 0o700, "digest": "d1", "problem": None,
        },
        "modes": {"raylet": "token"},
        "listeners": [listener("raylet", 34567, answer={**REFUSED, "by": "grpc"})],
        "disks": [disk("Ray's session"), disk("temporary files")],
        "shm": disk("shared memory", free=8 * GIB, path="/dev/shm"),
        "memory": {"total": 16 * GIB, "available": 12 * GIB},
        "open_files": 65536,
        "skew": (-0.001, 0.002),
        "storage": "s3://bucket/studies",
    }  # fmt: skip


def stored():
    steps = dict.fromkeys(("write", "read", "list", "delete", "disk"))
    return {**steps, "unseen": [], "made": False}


def place(name, **more):
    return Place(title=name, facts=node_facts(name), storage=stored(), **more)


def healthy():
    """Return a head and two workers with a GPU each, of which nothing bad can be said."""
    head = place("head", is_head=True)
    head.facts["modes"]["control service"] = "token"
    head.facts["listeners"] += [
        listener("control service", 6379, answer={**REFUSED, "by": "grpc"}),
        listener("dashboard", 8265, "127.0.0.1"),
    ]
    seen = {"seen": 1, "is_simulated": False, "problem": None}
    workers = [place(name, cpus=4, gpus=1, gpu=seen) for name in ("one", "two")]
    return ClusterFacts(
        places=[head, *workers],
        own_digest="d1",
        dashboard="127.0.0.1:8265",
        has_autoscaler=True,
        storage="s3://bucket/studies",
    )


def with_last(cluster, /, **changes):
    """Return a cluster whose last node is otherwise."""
    *others, last = cluster.places
    return replace(cluster, places=[*others, replace(last, **changes)])


def with_last_saying(facts, **changes):
    """Return a cluster whose last node says otherwise of itself."""
    return with_last(facts, facts={**facts.places[-1].facts, **changes})


def with_head_saying(facts, **changes):
    """Return a cluster whose head says otherwise of itself."""
    head, *others = facts.places
    return replace(facts, places=[replace(head, facts={**head.facts, **changes}), *others])
