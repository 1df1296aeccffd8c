"""The living nodes of the Ray that this process has joined, and a question to each of them."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from search.errors import InputError
from trainables.storage.store import Store

Answer = TypeVar("Answer")

HEAD_MARK = "node:__internal_head__"
"""A resource that Ray gives to the node where its control service runs (ray 2.60)."""
MOST_REASON = 400
"""Characters of a foreign error's text that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One living node."""

    id: str
    """Ray's, in hexadecimal digits; no two nodes ever share one."""
    address: str
    """Its IP address, as the other nodes reach it."""
    name: str
    resources: Mapping[str, float] = field(hash=False)
    """All it has, in use or not, by Ray's names: ``CPU``, ``GPU``, ``memory`` in bytes, ..."""
    is_head: bool

    @property
    def title(self) -> str:
        """Return what names the node to people: its name, and its address where that differs."""
        return self.address if self.name in {"", self.address} else f"{self.name} ({self.address})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A node gave no answer."""

    reason: str
    """One line: what was raised there, or why nothing came back."""
    error: BaseException | None = None
    """What the function raised there; None if it never came to raise anything."""


def living_nodes() -> tuple[Node, ...]:
    """Return the living nodes, the head first, the others by address and id."""
    import ray

    nodes = [_node(told) for told in ray.nodes() if told["Alive"]]
    return tuple(sorted(nodes, key=lambda node: (not node.is_head, node.address, node.id)))


def on_each_node(
    function: Callable[..., Answer],
    *arguments: Any,
    seconds: float,
    nodes: Sequence[Node] | None = None,
) -> dict[Node, Answer | Failed]:
    """Run a function once on each node, all at the same time, and return what came of it.

    Each call is a Ray task that takes no CPU, in a process of its own. Nothing is raised for
    what goes wrong on a node, nor tried again.

    Args:
        function: What to run; nodes import it from its module.
        *arguments: The same for all nodes.
        seconds: How long to wait for all of them together, the start of processes included.
        nodes: Where; None for all living ones.

    Returns:
        By node, in the order of ``nodes``: what the function returned, or why it did not.

    Example:
        ``on_each_node(os.getpid, seconds=30)`` returns one process id for each node.
    """
    import ray

    asked = list(living_nodes() if nodes is None else nodes)
    tasks = {node: _task_on(node, function).remote(*arguments) for node in asked}
    if not tasks:
        return {}
    done, late = ray.wait(list(tasks.values()), num_returns=len(tasks), timeout=seconds)
    for task in late:
        ray.cancel(task, force=True)
    answered = set(done)
    return {
        node: _answer(task) if task in answered else Failed(reason=_late(seconds))
        for node, task in tasks.items()
    }


def _late(seconds: float) -> str:
    return f"no answer within {seconds:g} s"


def _node(told: Mapping[str, Any]) -> Node:
    resources = dict(told["Resources"])
    return Node(
        id=told["NodeID"],
        address=told["NodeManagerAddress"],
        name=told.get("NodeName") or told["NodeManagerAddress"],
        resources=resources,
        is_head=HEAD_MARK in resources,
    )


def _task_on(node: Node, function: Callable[..., Answer]) -> Any:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = NodeAffinitySchedulingStrategy(node.id, soft=False)
    options = {"num_cpus": 0, "max_retries": 0, "max_calls": 1, "scheduling_strategy": there}
    return ray.remote(**options)(function)


def _answer(task: Any) -> Any:
    import ray

    try:
        return ray.get(task)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause if isinstance(error.cause, BaseException) else error
        return Failed(reason=f"{type(cause).__name__}: {_one_line(cause)}", error=cause)
    except ray.exceptions.RayError as error:
        return Failed(reason=f"{type(error).__name__}: {_one_line(error)}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:MOST_REASON]


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
