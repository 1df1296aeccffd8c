"""What may still join a cluster: the node types of its autoscaler, with what each node has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from search.cluster.health import ClusterWatch
from search.cluster.nodes import Node, on_each_node

BOOTSTRAP = "~/ray_bootstrap_config.yaml"
"""What ``ray up`` leaves on the head, with the resources of each node type filled in."""
READ_SECONDS = 60.0
UNLIMITED = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeType:
    """Nodes of one kind that may still come."""

    name: str
    resources: Mapping[str, float] | None
    """Of each, by Ray's names; None where only the machine itself can tell."""
    most: int
    """How many may still come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What an autoscaler may start, whether it has been started or not."""

    types: tuple[NodeType, ...] = ()
    """None of them is the head's; each with as many nodes as there may be of it."""
    most_workers: int = 0
    """Of all types together."""

    def beyond(self, nodes: Sequence[Node]) -> tuple[NodeType, ...]:
        """Return what may come besides these nodes.

        Ray does not tell of which type a node is, so that a type counts as long as there may be
        any more nodes at all. Where only the machines themselves know their resources, those
        that come are taken to be as large as the largest that is there.
        """
        workers = [node for node in nodes if not node.is_head]
        left = max(0, self.most_workers - len(workers))
        known = max((node.resources for node in workers), key=_size, default=None)
        types = [
            replace(one, most=min(one.most, left), resources=one.resources or known)
            for one in self.types
        ]
        return tuple(one for one in types if one.most > 0)


def growth_of_cluster(watch: ClusterWatch) -> Growth:
    """Return what the joined cluster may become; nothing more, where nobody tells."""
    from ray._private.client_mode_hook import client_mode_should_convert
    from ray._private.state import state

    reported = None if client_mode_should_convert() else state.get_cluster_config()
    if reported is not None and reported.node_group_configs:
        return _reported(reported.node_group_configs)
    heads = [node for node in watch.sight.nodes if node.is_head]
    if [node.id for node in heads] == [watch.own]:  # here: a process for it takes seconds
        return _read_bootstrap(BOOTSTRAP) or Growth()
    asked = on_each_node(_read_bootstrap, BOOTSTRAP, seconds=READ_SECONDS, nodes=heads)
    return next((found for found in asked.values() if isinstance(found, Growth)), Growth())


def _read_bootstrap(path: str) -> Growth | None:
    """Return the growth that a cluster file allows, and none of its secrets; None without one.

    Runs on the head. With provider ``local`` the head is of the only type there is; elsewhere it
    has one of its own, of which Ray starts no workers unless that is asked for.
    """
    import yaml

    try:
        config = yaml.safe_load(Path(path).expanduser().read_text())
        is_local = (config.get("provider") or {}).get("type") == "local"
        most_workers = int(config.get("max_workers") or 0)
        types = []
        for name, said in (config.get("available_node_types") or {}).items():
            is_heads = name == config.get("head_node_type") and not is_local
            most = said.get("max_workers")
            most = (0 if is_heads else most_workers) if most is None else int(most)
            resources = said.get("resources") or None
            types.append(NodeType(name=name, resources=resources, most=most))
    except (OSError, ValueError, AttributeError, TypeError, yaml.YAMLError):
        return None
    return Growth(types=tuple(one for one in types if one.most > 0), most_workers=most_workers)


def _reported(groups: Sequence[Any]) -> Growth:
    """Return the growth of what an autoscaler has told Ray itself."""
    types = tuple(
        NodeType(
            name=group.name,
            resources=dict(group.resources),
            most=UNLIMITED if group.max_count < 0 else group.max_count,
        )
        for group in groups
        if group.max_count
    )
    return Growth(types=types, most_workers=min(UNLIMITED, sum(one.most for one in types)))


def _size(resources: Mapping[str, float]) -> tuple[float, float]:
    return resources.get("GPU", 0.0), resources.get("CPU", 0.0)
