"""The living nodes of the Ray that this process has joined, and a question to each of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

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
