"""Notices that the node of this process is about to be taken away."""

import threading

PAUSE_SECONDS = 1.0
"""Between two looks; one takes a millisecond."""


class NodeWatch:
    """Looks now and then, in a thread of its own, whether Ray drains this process' node.

    Ray places nothing more on a node that it drains, but it tells the processes there nothing,
    and goes on using those that are there (ray 2.60). Looking takes an answer of the cluster's
    head; while that is away the thread waits for it, and the training does not.
    """

    def __init__(self, pause_seconds: float = PAUSE_SECONDS) -> None:
        self._leaves = threading.Event()
        self._pause = pause_seconds
        self._stop = threading.Event()
        threading.Thread(target=self._look_out, name="node-watch", daemon=True).start()

    @property
    def is_leaving(self) -> bool:
        """Whether the node was announced to go; never taken back."""
        return self._leaves.is_set()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()

    def _look_out(self) -> None:
        import ray
        from ray._private.state import state

        own = ray.get_runtime_context().get_node_id()
        while not self._stop.wait(self._pause):
            try:
                if own in state.get_draining_nodes():
                    self._leaves.set()
                    return
            except Exception:  # no answer; the next one will do
                continue
