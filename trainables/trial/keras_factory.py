"""Makes a Keras run from a request: the study's settings turned into objects, once.

Importing this module imports TensorFlow.
"""

import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any

from trainables.data.dataset import Dataset, open_dataset
from trainables.errors import UnfitNode
from trainables.model.backend import configure_process, visible_gpus
from trainables.model.build import PRECISIONS, build_model
from trainables.model.device import is_simulated
from trainables.model.isolation import GlobalGenerator, isolated
from trainables.model.state import load_weights
from trainables.model.user_modules import import_folder
from trainables.spec.settings import StudySettings
from trainables.storage.store import Store
from trainables.training.evaluation import evaluate_model
from trainables.training.keras_run import KerasRun
from trainables.training.run import TrialRun
from trainables.trial import checkpoint


def keras_run(
    settings: StudySettings, config: Mapping[str, Any], *, seed: int, is_reference: bool
) -> TrialRun:
    """Build the Keras training of a trial; a `RunFactory`."""
    _configure(settings.cpu, settings.gpu, settings.gpu_limit_bytes)
    return KerasRun(
        spec=settings.trial_spec(config, is_reference=is_reference),
        dataset=_dataset_of(settings),
        seed=seed,
        precision=settings.precision,
        # On a GPU another memory counts, which is not the one that a process is recycled for.
        memory_bytes=None if visible_gpus() else settings.recycle_bytes,
    )


def restore_model(store: Store, settings: StudySettings, point: Mapping[str, Any]) -> Any:
    """Return the Keras model of one recorded point.

    Args:
        store: The study's folder.
        settings: Of the study, as for a run.
        point: ``config``, ``is_reference``, ``seed``, ``checkpoint`` and ``sha256``.

    Raises:
        CheckpointError: If the point's weights are missing or damaged.
    """
    visible_gpus()  # else TensorFlow says here, on stderr, that there is none
    state = checkpoint.load_weights(store, point["checkpoint"], sha256=point["sha256"])
    spec = settings.trial_spec(point["config"], is_reference=point["is_reference"])
    with import_folder(settings.module_folder):
        model = build_model(spec.model, seed=point["seed"], precision=settings.precision)
    load_weights(model, state)
    return model


def evaluate_points(
    study: str, settings: StudySettings, points: Sequence[Mapping[str, Any]], split: str
) -> list[tuple[dict[str, float], dict[str, float]]]:
    """Return losses by head and metrics of recorded points on a split of the data.

    Where TensorFlow is in use already it keeps its threads: only last bits depend on them.
    """
    with suppress(RuntimeError):  # of a user's process, which has used TensorFlow before
        _configure(settings.cpu, 0, None)
    rows = _dataset_of(settings).split(split)
    figures = []
    for point in points:
        model = restore_model(Store(study), settings, point)
        spec = settings.trial_spec(point["config"], is_reference=point["is_reference"])
        with isolated(seed=point["seed"], dtype_policy=PRECISIONS[settings.precision]):
            GlobalGenerator()
            figures.append(evaluate_model(model, spec.heads, rows))
    return figures


_shared_dataset = lru_cache(maxsize=2)(open_dataset)
"""Opens and checks a decoded data set, once per process."""


def _dataset_of(settings: StudySettings) -> Dataset:
    return _shared_dataset(settings.storage, settings.fingerprint, copy=settings.copy_data)


@lru_cache(maxsize=1)
def _configure(cpu: int, gpu: float, limit: int | None) -> None:
    """Bind TensorFlow to this trial's share; only its first use can."""
    configure_process(num_threads=cpu, gpu_memory_bytes=limit)
    if gpu and not visible_gpus() and not is_simulated():
        raise UnfitNode(
            f"a trial needs gpu={gpu:g}, but TensorFlow sees no GPU on node "
            f"{socket.gethostname()}: install the 'gpu' extra there, or set resources.gpu to 0"
        )
