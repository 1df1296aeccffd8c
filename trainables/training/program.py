"""A model with its optimizer and compiled epoch, kept by what shapes the graph and reused."""

import gc
import time
import weakref
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trainables.model.backend import Tensor, tf, visible_gpus
from trainables.model.state import State
from trainables.spec.trial import TrialSpec
from trainables.training.evaluation import Evaluator, block_signature, loop_over, no_rows
from trainables.training.feeding import Feed, Order
from trainables.training.heads import training_losses
from trainables.training.network import make_network, network_key

MOST_KEPT = 12
MOST_KEPT_BYTES = 256 * 2**20
"""48 random configs of the default space need about as many programs as are kept; users' own
models and those with batch normalisation one for each architecture, of which few come again."""

GRAPH_BYTES = 16 * 2**20
"""What the graphs of a small model add to a process's memory: 14 to 21 MB (tensorflow 2.21)."""


class Holder(Protocol):
    """A run that works with a program; it saves its state when another takes it over."""

    def park(self) -> None:
        """Save what the program's variables hold."""


class Program:
    """Compiled training and evaluation of a network, whose variables go from run to run."""

    def __init__(self, spec: TrialSpec, *, seed: int, precision: str) -> None:
        start = time.perf_counter()
        self._heads = spec.heads
        self._image_shape = spec.model.image_shape
        self._network = make_network(spec, seed=seed, precision=precision)
        self._loss_weights = tf.Variable(spec.loss_weights, dtype=tf.float32, trainable=False)
        self._holder: weakref.ref[Holder] | None = None
        self._seen: set[tuple[str, int]] = set()
        self._compile()
        built = time.perf_counter()
        self._trace()
        self._unpaid = {"build": built - start, "trace": time.perf_counter() - built}

    @property
    def num_bytes(self) -> int:
        """About what the program holds: graphs, variables and kept initial values."""
        return GRAPH_BYTES + self._network.num_bytes

    @property
    def resting_bytes(self) -> int:
        """About what it holds while no run has its variables."""
        return GRAPH_BYTES + self._network.resting_bytes

    def begin(self, holder: Holder, spec: TrialSpec, seed: int) -> dict[str, float]:
        """Hand the variables to a run, as a fresh build of its architecture has them.

        Return the seconds spent on ``build`` and ``trace``: 0 for what had been done before.
        """
        start = time.perf_counter()
        self.claim(holder, spec, seed=seed)
        spent, self._unpaid = self._unpaid, {"build": 0.0, "trace": 0.0}
        architecture = spec.architecture_key(), seed
        if architecture not in self._seen:
            self._seen.add(architecture)
            spent["build"] += time.perf_counter() - start
        return spent

    def claim(
        self,
        holder: Holder,
        spec: TrialSpec,
        *,
        seed: int = 0,
        state: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """Hand the variables to a run; at ``state``, or as a fresh build of the seed has them.

        A run that holds them and is still alive saves its own first, so that any number of
        runs may share a program without seeing one another.
        """
        previous = self._holder() if self._holder else None
        if previous is not None and previous is not holder:
            previous.park()
        self._holder = weakref.ref(holder)
        if state is None:
            self._network.start(spec, seed)
        else:
            self._network.write(spec, state)
        self._network.set_training(spec)
        self._loss_weights.assign(spec.loss_weights)

    def rest(self) -> None:
        """Give back the variables' memory, if no run that is alive has them."""
        if self._holder is not None and self._holder() is None:
            self._holder = None
            self._network.rest()

    def is_held_by(self, holder: Holder) -> bool:
        """Tell whether the variables are this run's."""
        return self._holder is not None and self._holder() is holder

    def state(self) -> State:
        """Return the variables' values."""
        return self._network.state()

    def train(self, feed: Feed, order: Order, batch_size: int) -> float:
        """Train on the rows in this order; return the mean loss of a row."""
        total: Any = np.float64(0.0)
        for block in feed.blocks(order, batch_size):
            # Reading the number waits for the device: the block's buffer is free again.
            total = self._epoch(total, np.int64(batch_size), *block).numpy()
        return float(total) / len(order)

    def evaluate(self, feed: Feed) -> tuple[dict[str, float], dict[str, float]]:
        """Return losses by head and metrics by ``<head>_<metric>``."""
        return self._evaluator.evaluate(feed)

    def _compile(self) -> None:
        jit_compile = visible_gpus() > 0  # on a CPU XLA is 2-4 times slower (tensorflow 2.21)
        self._evaluator = Evaluator(
            self._network.forward, self._heads, self._image_shape, jit_compile=jit_compile
        )
        self._step = tf.function(self._train_batch, autograph=False, jit_compile=jit_compile)
        self._epoch = tf.function(
            self._run_block,
            autograph=False,
            input_signature=(
                tf.TensorSpec((), tf.float64),
                tf.TensorSpec((), tf.int64),
                *block_signature(self._heads, self._image_shape),
            ),
        )

    def _trace(self) -> None:
        """Trace and optimise both graphs on no rows: nothing is trained."""
        empty = no_rows(self._heads, self._image_shape)
        with self._network.tracing():
            self._epoch.get_concrete_function()
            self._epoch(np.float64(0.0), np.int64(1), *empty)
            self._evaluator.trace()

    def _run_block(
        self, total: Tensor, batch_size: Tensor, images: Tensor, labels: Tensor, order: Tensor
    ) -> Tensor:
        def step(start: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
            chosen = order[start : start + batch_size]
            loss = self._step(
                tf.gather(images, chosen), [tf.gather(column, chosen) for column in labels]
            )
            rows = tf.size(chosen, out_type=tf.int64)
            return start + batch_size, total + tf.cast(loss, tf.float64) * tf.cast(rows, "float64")

        return loop_over(order, total, step)

    def _train_batch(self, images: Tensor, labels: Tensor) -> Tensor:
        def loss_of(outputs: dict[str, Tensor]) -> Tensor:
            losses = [
                tf.reduce_mean(training_losses(head, outputs[head.name], column))
                for head, column in zip(self._heads, labels, strict=True)
            ]
            return tf.tensordot(self._loss_weights, tf.stack(losses), axes=1)

        loss, gradients = self._network.forward.gradients(images, loss_of)
        self._network.apply(gradients)
        return loss


_kept: OrderedDict[Hashable, Program] = OrderedDict()


def program_for(spec: TrialSpec, *, seed: int, precision: str) -> Program:
    """Return the program of a spec, built now if none is kept that fits.

    The ones used longest ago go when there are more than `MOST_KEPT` or when they hold more
    than `MOST_KEPT_BYTES`. One that alone holds more stays until another one is asked for.
    """
    key = network_key(spec, seed=seed, precision=precision)
    for other, kept in _kept.items():
        if other != key:
            kept.rest()
    program = _kept.pop(key, None)
    if program is None:
        _drop_large()
        program = Program(spec, seed=seed, precision=precision)
    _kept[key] = program
    while len(_kept) > 1 and (
        len(_kept) > MOST_KEPT or sum(kept.num_bytes for kept in _kept.values()) > MOST_KEPT_BYTES
    ):
        _kept.popitem(last=False)
    return program


def _drop_large() -> None:
    """Make room for a program: one that is too large to be kept beside others goes at once."""
    large = [key for key, program in _kept.items() if program.num_bytes > MOST_KEPT_BYTES]
    for key in large:
        del _kept[key]
    if large:
        gc.collect()  # its graphs are cycles, which otherwise are freed at some later time
