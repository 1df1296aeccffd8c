"""What must be known before the first trial: whole space, models, precision, decoded images.

All that can be refused is refused here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from search.cluster.child_process import apart
from search.cluster.nodes import Failed, Node, living_nodes, on_each_node
from search.cluster.session import is_on_ours, run_task
from search.cluster.shares import joins_ray
from search.errors import ClusterLost
from search.record.log import StudyLog
from search.results.progress import Watcher
from search.running.disk_limit import largest_checkpoint
from search.space.parameters import check_constant, described_middle, is_plain, middle
from search.space.space import SearchSpace
from search.study.configs import (
    check_space,
    data_request,
    num_trials,
    trial_configs,
    whole_space,
)
from search.study.prepared import Prepared, shared_settings
from search.study.study import Study
from search.text import count, value
from trainables.data.decode import decode_dataset, decoded_report, is_decoded, is_intact
from trainables.data.request import DataInfo, DataReport
from trainables.model.user_model import REQUIRED, user_parameters
from trainables.probing.precision import fast_precision
from trainables.probing.try_models import try_models
from trainables.spec.footprint import Saved
from trainables.spec.parameters import reference_config, reference_training
from trainables.spec.settings import StudySettings
from trainables.storage.store import Store
from trainables.trial.attempt import reason_of

PRECISION_SECONDS = 300.0
"""How long a node with a GPU may take to try a precision, the import of TensorFlow included."""


class Ready(NamedTuple):
    """What was found out before the first trial."""

    prepared: Prepared
    largest: Saved
    """The bytes of the largest checkpoint."""


def prepare(
    study: Study,
    data: DataInfo,
    log: StudyLog,
    watcher: Watcher,
    decoded: Callable[[], DataReport],
) -> Ready:
    """Find out what the first trial needs and write it down.

    Needs a running Ray: everything that imports TensorFlow is a task of its. Space
    and precision of a study that has begun are as they were then, whatever has become of the
    defaults of a user's function, and on whatever machine it is resumed.
    """
    notify = watcher.preparing
    known = log.history().prepared
    prepared = _prepare(study, data, notify) if known is None else Prepared.from_dict(known)
    prepared, largest = _try_models(study, prepared, watcher)
    most = num_trials(study, prepared)
    if most < study.budget.trials:
        size = count(prepared.space.size or 0, "config")
        notify(f"the space has only {size}: the study ends after {count(most, 'trial')}")
    notify("decoding the images")
    told = decoded()
    for line in (*told.notes, *(f"warning: {one}" for one in told.warnings)):
        watcher.told(f"data: {line}")
    if known is None:
        # Which rows validate may have changed: equal images, known now, stay on one side.
        prepared = replace(prepared, data=told.info)
        check_space(study, prepared)
        log.put_prepared(prepared.to_dict())
    return Ready(prepared, largest)


def _try_models(study: Study, prepared: Prepared, watcher: Watcher) -> tuple[Prepared, Saved]:
    """Return the bytes of the largest checkpoint; a user's own model is built for it.

    At its reference, and at what decides whether it can be built. What of it is not used is told
    once.
    """
    if study.model is None:
        return prepared, largest_checkpoint(study, prepared)
    watcher.preparing("building the corners of the space")
    configs = [config for _, config in trial_configs(study, prepared)]
    reference = prepared.reference if study.reference else None
    tried = run_task(try_models, configs, shared_settings(study, prepared), reference)
    for reason in tried.reasons:
        watcher.preparing(f"some configs cannot be built: {reason}")
    if tried.unused and (note := _unused_words(tried.unused, prepared)) not in prepared.notes:
        watcher.told(f"warning: {note}")
        prepared = replace(prepared, notes=(*prepared.notes, note))
    return prepared, tried.largest


@contextmanager
def decoding(study: Study, data: DataInfo) -> Iterator[Callable[[], DataReport]]:
    """Have the images of a data set decoded; yield what waits for what is told of them then.

    A process of this machine is busy with them while Ray starts, and others import TensorFlow.
    Where a Ray is joined, it is a task of that: its nodes may be nearer to the data.
    What was decoded before is checked meanwhile, and decoded anew if it is damaged.
    """
    storage = Store(study.storage).uri
    arguments = (data_request(study, data.rules), data.fingerprint, storage)
    if is_decoded(data, storage):
        told = decoded_report(data.fingerprint, storage) or DataReport(info=data)
        with ThreadPoolExecutor(1, thread_name_prefix="twohead-check") as pool:
            checked = pool.submit(is_intact, data, storage)
            yield lambda: told if checked.result() else run_task(decode_dataset, *arguments)
    elif joins_ray():
        yield lambda: run_task(decode_dataset, *arguments)
    else:
        with apart(decode_dataset, *arguments) as wait:
            yield wait


def _reference_of_function(
    study: Study, space: SearchSpace, parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the config at which a user's own function is the study's reference.

    The function at its defaults, whatever the space says, trained as every reference. A
    parameter without a default has its constant, or the `middle` of what is searched. A default
    that is no plain value is left to the function.
    """
    training = reference_training(study.heads)
    config = {}
    for name, kind in space.parameters:
        given = parameters.get(name, training.get(name))
        if given is REQUIRED:
            config[name] = middle(kind)
        elif is_plain(given):
            config[name] = check_constant(given, "default")
    return space.counting(config)


def _precision_of(
    study: Study,
    config: Mapping[str, Any],
    settings: StudySettings,
    notify: Callable[[str], None],
) -> str:
    """Return ``float32`` or ``bfloat16``: what the study says, or what is measured to be better.

    Where trials take a GPU, a node that has one tries; without any such node now, it is
    ``float32``. So it is where trying fails: whether a study can be run, its trials show.
    """
    if study.precision != "auto":
        return study.precision
    notify("trying bfloat16 against float32")
    cpu = study.resources.cpu
    found = _try_precision(study, dict(config), settings, 1 if cpu == "auto" else cpu)
    if isinstance(found, Failed):
        notify(f"training in float32: bfloat16 could not be tried ({found.reason})")
        return "float32"
    notify(f"training in {found}")
    return found


def _prepare(study: Study, data: DataInfo, notify: Callable[[str], None]) -> Prepared:
    parameters = None
    if study.model is not None:
        notify("looking at the model function")
        parameters = run_task(user_parameters, study.model, study.module_folder)
    space = whole_space(study, parameters)
    reference = None if parameters is None else _reference_of_function(study, space, parameters)
    prepared = Prepared(data=data, space=space, precision="float32", reference=reference)
    check_space(study, prepared)
    if study.reference and parameters is not None:
        notify(_reference_in_words(prepared, parameters))
    tried = reference_config(study.heads) if study.model is None else space.corners[-1]
    settings = shared_settings(study, prepared)
    return replace(prepared, precision=_precision_of(study, tried, settings, notify))


def _reference_in_words(prepared: Prepared, parameters: Mapping[str, Any]) -> str:
    """Return what the reference trial of a user's own function is."""
    config, kinds = prepared.reference or {}, dict(prepared.space.parameters)
    told = [
        f"{name} {value(config[name])} ({described_middle(kinds[name])})"
        for name, default in parameters.items()
        if default is REQUIRED and name in config
    ]
    besides = f"; without a default: {', '.join(told)}" if told else ""
    return f"the reference trial is the model function at its defaults{besides}"


def _unused_words(unused: Sequence[str], prepared: Prepared) -> str:
    """Return what of a user's model is not used, and what takes its place."""
    space = dict(prepared.space.parameters)

    def given(name: str) -> str:
        return value(space[name]) if is_plain(space[name]) else "searched"

    losses = ", ".join(
        f"{head.name} {head.loss} (weight {given(f'{head.name}_loss_weight')})"
        for head in prepared.data.heads
    )
    return (
        f"the model's own {', '.join(unused)} {'is' if len(unused) == 1 else 'are'} not used; in "
        f"the place of it trials have the optimizer ({given('optimizer')}) and learning_rate "
        f"({given('learning_rate')}) of the space, the losses of the heads: {losses}, and each "
        "head's own metrics"
    )


def _try_precision(study: Study, *arguments: Any) -> str | Failed:
    """Try it where trials run: on a node with a GPU, unless they take none, for sure."""
    gpu = study.resources.gpu
    if not gpu or (gpu == "auto" and is_on_ours() and not _with_gpu()):
        try:
            return run_task(fast_precision, *arguments)
        except ClusterLost:
            raise
        except Exception as error:
            return Failed(reason=reason_of(error, None), error=error)
    nodes = _with_gpu()[:1]
    asked = on_each_node(fast_precision, *arguments, seconds=PRECISION_SECONDS, nodes=nodes)
    return next(iter(asked.values()), Failed(reason="no node has a GPU now"))


def _with_gpu() -> list[Node]:
    return [node for node in living_nodes() if node.resources.get("GPU")]
