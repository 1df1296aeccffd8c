"""Which precision a study trains in, where it leaves that open: measured where its trials run."""

from collections.abc import Callable, Mapping
from typing import Any

from search.cluster import run_task
from search.nodes import living_nodes, on_each_node
from search.study import Study
from trainables.precision import fast_precision

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
    ``float32``.

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
    if study.resources.gpu:
        nodes = [node for node in living_nodes() if node.resources.get("GPU")][:1]
        asked = on_each_node(fast_precision, *arguments, seconds=SECONDS, nodes=nodes)
        found = next((answer for answer in asked.values() if isinstance(answer, str)), "float32")
    else:
        found = run_task(fast_precision, *arguments)
    notify(f"training in {found}")
    return found
