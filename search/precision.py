"""Which precision a study trains in, where it leaves that open: measured where its trials run."""

from collections.abc import Callable, Mapping
from typing import Any

from search.cluster import is_on_ours, run_task
from search.errors import ClusterLost
from search.nodes import Failed, Node, living_nodes, on_each_node
from search.study import Study
from trainables.precision import fast_precision
from trainables.reasons import reason_of

SECONDS = 300.0
"""How long a node with a GPU may take to answer, the import of TensorFlow included."""


def precision_of(
    study: Study,
    config: Mapping[str, Any],
    settings: Mapping[str, Any],
    notify: Callable[[str], None],
) -> str:
    """Return ``float32`` or ``bfloat16``: what the study says, or what is measured to be better.

    Where trials take a GPU, a node that has one tries; without any such node now, it is
    ``float32``. So it is where trying fails: whether a study can be run, its trials show.

    Args:
        study: The study.
        config: What is trained to find out.
        settings: See `search.prepared.shared_settings`.
        notify: Hears what is being done, and what was found.
    """
    if study.precision != "auto":
        return study.precision
    notify("trying bfloat16 against float32")
    cpu = study.resources.cpu
    arguments = (dict(config), dict(settings), 1 if cpu == "auto" else cpu)
    found = _on_cpu(*arguments) if _are_on_cpu(study) else _on_gpu(*arguments)
    if isinstance(found, Failed):
        notify(f"training in float32: bfloat16 could not be tried ({found.reason})")
        return "float32"
    notify(f"training in {found}")
    return found


def _are_on_cpu(study: Study) -> bool:
    """Tell whether trials take no GPU, for sure."""
    gpu = study.resources.gpu
    return not gpu or (gpu == "auto" and is_on_ours() and not _with_gpu())


def _with_gpu() -> list[Node]:
    return [node for node in living_nodes() if node.resources.get("GPU")]


def _on_gpu(*arguments: Any) -> str | Failed:
    asked = on_each_node(fast_precision, *arguments, seconds=SECONDS, nodes=_with_gpu()[:1])
    return next(iter(asked.values()), Failed(reason="no node has a GPU now"))


def _on_cpu(*arguments: Any) -> str | Failed:
    try:
        return run_task(fast_precision, *arguments)
    except ClusterLost:
        raise
    except Exception as error:
        return Failed(reason=reason_of(error, None), error=error)
