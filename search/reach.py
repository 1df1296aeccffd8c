"""Whether every node reaches the study's storage and its data, tried before the first trial."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from search.errors import InputError
from search.nodes import Failed, Node, on_each_node
from trainables.store import Store

FOLDER = "probe"
"""Below the study's folder; gone when the check is over."""
ANSWER_SECONDS = 90.0
"""For all nodes together: each starts a process, and may be busy."""
CURE = "use a URI (s3://...) or a folder that is mounted at the same path on all nodes"


def check_reach(
    store: Store, data: str, nodes: Sequence[Node], say: Callable[[str], None]
) -> None:
    """Refuse a storage or data that some living node does not reach as this process does.

    An object that is written here must be seen there, and one that is written there, here. A
    node that gives no answer is passed over: what it would break is told when it breaks.

    Args:
        store: The study's folder, which this process can write.
        data: The study's data, a path or a URI.
        nodes: Where trials may run; a single one is not asked.
        say: Hears which nodes gave no answer.

    Raises:
        InputError: Naming the nodes, the path and the cure.
        StorageError: If the storage refuses this process.
    """
    if len(nodes) < 2:
        return
    token = uuid.uuid4().hex
    place = f"{FOLDER}/{token}"
    try:
        store.put(f"{place}/driver", token.encode())
        names = {node.id: f"{place}/{node.id}" for node in nodes}
        answers = on_each_node(
            try_from_here, store.uri, place, names, data, seconds=ANSWER_SECONDS, nodes=nodes
        )
        heard = {node: answer for node, answer in answers.items() if isinstance(answer, Mapping)}
        problems = _problems(store, heard, names, data)
        lacking = {n: a for n, a in answers.items() if isinstance(a, Failed)}
    finally:
        store.delete(place)
    for node, failed in lacking.items():
        if isinstance(failed.error, ImportError):
            problems.append(
                f"node {node.title} needs the same version of this project as the driver, "
                f"got {failed.reason}"
            )
        else:
            say(f"node {node.title} did not say whether it reaches the storage: {failed.reason}")
    if problems:
        raise InputError.of(problems)


def try_from_here(
    uri: str, place: str, names: Mapping[str, str], data: str
) -> dict[str, str | None]:
    """Return what is wrong with storage and data from this node, None each if nothing is.

    Runs on each node: looks for the driver's object, and writes the one with this node's name.
    """
    import ray

    own = names[ray.get_runtime_context().get_node_id()]
    return {"storage": _storage_problem(uri, place, own), "data": _data_problem(data)}


def _storage_problem(uri: str, place: str, own: str) -> str | None:
    store = Store(uri)
    try:
        if not store.exists(f"{place}/driver"):
            return "does not see what this process writes there"
        store.put(own, b"")
    except Exception as error:
        return f"cannot use it: {' '.join(str(error).split())[:300]}"
    return None


def _data_problem(data: str) -> str | None:
    if "://" in data:
        return None  # read once, by a task, which says itself what is wrong
    return None if Path(data).exists() else "has no such file"


def _problems(
    store: Store,
    answers: Mapping[Node, Mapping[str, str | None]],
    names: Mapping[str, str],
    data: str,
) -> list[str]:
    found = []
    for node, answer in answers.items():
        wrong = answer["storage"]
        if wrong is None and not store.exists(names[node.id]):
            wrong = "writes to another place of that name"
        if wrong is not None:
            found.append(
                f"storage needs a place that every node reaches, got {store.uri}: node "
                f"{node.title} {wrong}; {CURE}"
            )
        if answer["data"] is not None:
            found.append(
                f"data needs a place that every node reaches, got {data}: node {node.title} "
                f"{answer['data']}; {CURE}"
            )
    return found
