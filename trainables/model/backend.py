"""TensorFlow and Keras, imported in one place after what must be set before; process limits."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from trainables.errors import InputError
from trainables.model.keras_home import settle_keras


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what C++ writes to stderr; it is shown after all if the block raises.

    TensorFlow 2.21 prints notes about oneDNN and absent GPUs whatever its log level, until
    its logging is set up.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
        except BaseException:
            written.seek(0)
            os.write(kept, written.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _refuse_other_backend() -> None:
    """Refuse a process of the user's own that has imported Keras on another backend."""
    loaded = sys.modules.get("keras")
    backend = "tensorflow" if loaded is None else loaded.config.backend()
    if backend != "tensorflow":
        raise InputError(
            "a study's models need Keras on TensorFlow, got a process that has imported Keras on "
            f"{backend!r}: set KERAS_BACKEND=tensorflow before the first `import keras`, or use "
            "another process for them"
        )


_refuse_other_backend()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
settle_keras()
with _quiet():
    import keras as _keras
    import tensorflow as _tensorflow

keras: Any = _keras
"""Keras on TensorFlow; it has no types of its own."""

tf: Any = _tensorflow
"""TensorFlow; it has no types of its own."""

Model = Any
"""A ``keras.Model``."""

Tensor = Any
"""A TensorFlow tensor."""


def configure_process(*, num_threads: int, gpu_memory_bytes: int | None = None) -> None:
    """Bind TensorFlow to a share of the machine; only before its first use can it be bound.

    Operations run one after the other, each on ``num_threads`` threads: more at once would
    take cores of the trials beside this one. A GPU's memory is taken as it is needed, or up
    to a limit.

    Args:
        num_threads: Threads of one operation, at least 1.
        gpu_memory_bytes: What this process may take of each GPU; None: no limit.

    Raises:
        RuntimeError: If TensorFlow is in use already with other limits.
    """
    gpus = _gpus()  # first: whatever else starts TensorFlow's devices is not kept quiet
    threading = tf.config.threading
    wanted = (num_threads, 1)
    bound = (
        threading.get_intra_op_parallelism_threads(),
        threading.get_inter_op_parallelism_threads(),
    )
    if bound == wanted:
        return
    try:
        threading.set_intra_op_parallelism_threads(num_threads)
        threading.set_inter_op_parallelism_threads(1)
        for gpu in gpus:
            _bind_gpu(gpu, gpu_memory_bytes)
    except RuntimeError as error:
        raise RuntimeError(
            f"process needs num_threads={num_threads} before TensorFlow's first use, "
            f"got {bound[0] or 'all cores'} in use already: take a fresh process"
        ) from error


def visible_gpus() -> int:
    """Return how many GPUs TensorFlow sees."""
    return len(_gpus())


def _gpus() -> list[Any]:
    with _quiet():
        return list(tf.config.list_physical_devices("GPU"))


def _bind_gpu(gpu: Any, memory_bytes: int | None) -> None:
    if memory_bytes is None:
        tf.config.experimental.set_memory_growth(gpu, True)
        return
    limit = tf.config.LogicalDeviceConfiguration(memory_limit=memory_bytes // 2**20)
    tf.config.set_logical_device_configuration(gpu, [limit])
