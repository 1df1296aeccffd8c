"""The living nodes of the Ray that this process has joined, and a question to each of them."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
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
PROBES = "probe"
"""Below the study's folder; gone when the check is over."""
ANSWER_SECONDS = 90.0
"""For all nodes together: each starts a process, and may be busy."""
CURE = "use a URI (s3://...) or a folder that is mounted at the same path on all nodes"


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

    Each call is a Ray task that takes no CPU, in a process of its own, which imports the function
    from its module. Nothing is raised for what goes wrong on a node, nor tried again. All nodes
    together, the start of processes included, are waited for ``seconds``; ``nodes`` are in the
    order of the answers, None for all living ones.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0, max_retries=0, max_calls=1)(function)
    tasks = {
        node: task.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)
        ).remote(*arguments)
        for node in (living_nodes() if nodes is None else nodes)
    }
    if not tasks:
        return {}
    done, late = ray.wait(list(tasks.values()), num_returns=len(tasks), timeout=seconds)
    for task in late:
        ray.cancel(task, force=True)
    answered = set(done)
    return {
        node: _answer(task)
        if task in answered
        else Failed(reason=f"no answer within {seconds:g} s")
        for node, task in tasks.items()
    }


def _node(told: Mapping[str, Any]) -> Node:
    resources = dict(told["Resources"])
    return Node(
        id=told["NodeID"],
        address=told["NodeManagerAddress"],
        name=told.get("NodeName") or told["NodeManagerAddress"],
        resources=resources,
        is_head=HEAD_MARK in resources,
    )


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


def check_reach(
    store: Store, data: str, nodes: Sequence[Node], say: Callable[[str], None]
) -> None:
    """Refuse a storage or data that some living node does not reach as this process does.

    An object that is written here must be seen there, and one that is written there, here. A
    node that gives no answer is passed over, and ``say`` hears of it: what it would break is told
    when it breaks. A single node is not asked. The `InputError` names the nodes, the path and the
    cure; `StorageError` if the storage refuses this process.
    """
    if len(nodes) < 2:
        return
    place = f"{PROBES}/{uuid.uuid4().hex}"
    problems: list[str] = []
    others: list[str] = []
    try:
        store.put(f"{place}/driver", b"")
        given = (store.uri, place, data)
        answers = on_each_node(_reach, *given, seconds=ANSWER_SECONDS, nodes=nodes)
        for node, answer in answers.items():
            if not isinstance(answer, Failed):
                written, *wrong = answer
                if wrong[0] is None and not store.exists(f"{place}/{written}"):
                    wrong[0] = "writes to another place of that name"
                problems += _problems(store.uri, data, node, wrong)
            elif isinstance(answer.error, ImportError):
                others.append(
                    f"node {node.title} needs the same version of this project as the driver, "
                    f"got {answer.reason}"
                )
            else:
                say(
                    f"node {node.title} did not say whether it reaches the storage: "
                    f"{answer.reason}"
                )
    finally:
        store.delete(place)
    if problems or others:
        raise InputError.of([*problems, *others])


def _reach(uri: str, place: str, data: str) -> tuple[str, str | None, str | None]:
    """Return the name of an object that the node of this task writes beside the driver's.

    And what is wrong with the storage and with the data from there; None if nothing is.
    """
    # Data at a URI are read once, by a task, which says itself what is wrong.
    absent = None if "://" in data or Path(data).exists() else "has no such file"
    own, store = uuid.uuid4().hex, Store(uri)
    try:
        if not store.exists(f"{place}/driver"):
            return own, "does not see what this process writes there", absent
        store.put(f"{place}/{own}", b"")
    except Exception as error:
        return own, f"cannot use it: {' '.join(str(error).split())[:300]}", absent
    return own, None, absent


def _problems(uri: str, data: str, node: Node, wrong: Sequence[str | None]) -> Iterator[str]:
    for what, given, why in zip(("storage", "data"), (uri, data), wrong, strict=True):
        if why is not None:
            yield (
                f"{what} needs a place that every node reaches, got {given}: node {node.title} "
                f"{why}; {CURE}"
            )
