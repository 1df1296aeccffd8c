"""Decoding a study's images: begun before Ray where that is started here, else a task of it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from search.cluster import run_task
from search.prepare import data_request
from search.resources import joins_ray
from search.study import Study
from trainables.apart import apart
from trainables.data import DataInfo, decode_dataset, is_decoded, is_intact
from trainables.store import Store


@contextmanager
def decoding(study: Study, data: DataInfo) -> Iterator[Callable[[], None]]:
    """Have the images of a data set decoded; yield what waits until they are.

    A process of this machine is busy with them while Ray starts, and others import TensorFlow.
    Where a Ray is joined, it is a task of that: its nodes may be nearer to the data.
    What was decoded before is checked meanwhile, and decoded anew if it is damaged.

    Yields:
        What waits, and raises what `trainables.data.decode_dataset` raised; it needs the Ray.
    """
    storage = Store(study.storage).uri
    arguments = (data_request(study), data, storage)
    if is_decoded(data, storage):
        with ThreadPoolExecutor(1, thread_name_prefix="twohead-check") as pool:
            checked = pool.submit(is_intact, data, storage)
            yield lambda: None if checked.result() else run_task(decode_dataset, *arguments)
        return
    if joins_ray():
        yield lambda: run_task(decode_dataset, *arguments)
        return
    with apart(decode_dataset, *arguments) as wait:
        yield wait
