"""One trial in training: compiled epochs, exact evaluation; knows nothing of Ray."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.data.dataset import Dataset
from trainables.model.isolation import our_keras
from trainables.model.state import State
from trainables.spec.heads import HeadSpec
from trainables.spec.trial import TrialSpec
from trainables.training.feeding import Feed, Order, make_feed
from trainables.training.program import program_for
from trainables.training.run import EpochResult


class KerasRun:
    """Trains one config, epoch after epoch; implements `trainables.training.run.TrialRun`.

    What it gives depends on spec, data, seed and precision only: not on what the process
    trained before or trains beside it, nor on interruptions (on the same kind of CPU with
    the same number of threads and versions).

    The seed governs the initial weights, the shuffling and the dropout; ``memory_bytes``, what
    this process may take, decides which data are held whole. `InputError` if the precision,
    ``float32`` or ``bfloat16``, is unknown or a user's model does not fit.
    """

    @our_keras()
    def __init__(
        self,
        *,
        spec: TrialSpec,
        dataset: Dataset,
        seed: int,
        precision: str = "float32",
        memory_bytes: int | None = None,
    ) -> None:
        self._spec = spec
        self._seed = seed
        self._train = _shared_feed(dataset, "train", spec.heads, memory_bytes)
        self._validation = _shared_feed(dataset, "validation", spec.heads, memory_bytes)
        self._program = program_for(spec, seed=seed, precision=precision)
        self._parked: State | None = None
        self.epoch = 0
        """Epochs finished so far."""
        self._startup = self._program.begin(self, spec, seed)

    @our_keras()
    def run_epoch(self) -> EpochResult:
        """Train one epoch more and measure it; a loss that is not finite is returned as it is."""
        self._take_over()
        order = permutation(self._train.num_rows, seed=self._seed, epoch=self.epoch)
        start = time.perf_counter()
        training_loss = self._program.train(self._train, order, self._spec.batch_size)
        trained = time.perf_counter()
        losses, metrics = self._program.evaluate(self._validation)
        self.epoch += 1
        seconds = {
            **self._startup,
            "train": trained - start,
            "validate": time.perf_counter() - trained,
        }
        self._startup = {"build": 0.0, "trace": 0.0}
        return EpochResult(
            losses=losses,
            metrics={f"val_{name}": value for name, value in metrics.items()},
            training_loss=training_loss,
            seconds=seconds,
        )

    def state(self) -> State:
        """Return every variable of model and optimizer; see `trainables.model.state`."""
        return dict(self._parked) if self._parked is not None else self._program.state()

    @our_keras()
    def load_state(self, state: Mapping[str, NDArray[Any]], epoch: int) -> None:
        """Continue from what ``state`` returned after ``epoch`` epochs.

        Raises InputError if it is not a state of this spec; then nothing is changed.
        """
        self._take_over()
        self._program.claim(self, self._spec, state=state)
        self.epoch = epoch

    def park(self) -> None:
        """Keep the state while another run uses the program."""
        self._parked = self._program.state()

    def _take_over(self) -> None:
        if self._program.is_held_by(self):
            return
        self._program.claim(self, self._spec, seed=self._seed, state=self._parked)
        self._parked = None


def permutation(num_rows: int, *, seed: int, epoch: int) -> Order:
    """Return the order of an epoch's rows ``(num_rows,)``: a function of its arguments only."""
    key = np.array([seed % 2**64, epoch], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).permutation(num_rows)


_feeds: dict[tuple[str, str, tuple[HeadSpec, ...]], Feed] = {}


def _shared_feed(
    dataset: Dataset, name: str, heads: tuple[HeadSpec, ...], memory_bytes: int | None
) -> Feed:
    """Return the feed of a split, made once per process; another data set replaces all."""
    key = (dataset.fingerprint, name, heads)
    for other in [other for other in _feeds if other[0] != key[0] or other[2] != heads]:
        del _feeds[other]
    if key not in _feeds:
        _feeds[key] = make_feed(dataset.split(name), heads, memory_bytes=memory_bytes)
    return _feeds[key]
