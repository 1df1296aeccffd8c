"""A model with its optimizer and compiled epoch, kept by what shapes the graph and reused."""

import gc
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trainables.backend import Tensor, tf, visible_gpus
from trainables.evaluation import Evaluator, block_signature, loop_over, no_rows
from trainables.feeding import Feed, Order
from trainables.forward import forward_of
from trainables.heads import training_losses
from trainables.initial import InitialState
from trainables.isolation import GlobalGenerator, isolated
from trainables.model import PRECISIONS, build_model
from trainables.optimizers import make_optimizer
from trainables.spec import TrialSpec, UserModelSpec
from trainables.state import State, read_state, write_state
from trainables.user_model import load_function

MOST_KEPT = 8
MOST_KEPT_BYTES = 256 * 2**20
"""Few and small: of 48 random configs of the default space, whose dropout and widths shape the
graph, no two had an architecture in common. Kept programs serve spaces of few choices."""

GRAPH_BYTES = 16 * 2**20
"""What the graphs of a small model add to a process's memory: 14 to 21 MB (tensorflow 2.21)."""


class Holder(Protocol):
    """A run that works with a program; it saves its state when another takes it over."""

    def park(self) -> None:
        """Save what the program's variables hold."""
        ...


class Program:
    """The graph of one architecture, optimizer, seed and precision, and its variables."""

    def __init__(self, spec: TrialSpec, *, seed: int, precision: str) -> None:
        start = time.perf_counter()
        self._heads = spec.heads
        self._image_shape = spec.model.image_shape
        self._seed = seed
        self._policy = PRECISIONS[precision]
        self.model = build_model(spec.model, seed=seed, precision=precision)
        self._forward = forward_of(spec.model, self.model)
        self.optimizer = make_optimizer(
            spec.optimizer,
            learning_rate=spec.learning_rate,
            variables=self.model.trainable_variables,
        )
        self._loss_weights = tf.Variable(spec.loss_weights, dtype=tf.float32, trainable=False)
        self._random: list[Any] = []
        self._is_fresh = True
        self._holder: weakref.ref[Holder] | None = None
        self._compile()
        built = time.perf_counter()
        self._trace()
        state = self.state()
        self._initial = InitialState(state, spec, seed=seed, precision=precision)
        variables = sum(array.nbytes for array in state.values())
        self.num_bytes = GRAPH_BYTES + variables + self._initial.num_bytes
        """About what the program holds: graphs, variables and the kept initial values."""
        self.seconds = {"build": built - start, "trace": time.perf_counter() - built}

    @property
    def num_traces(self) -> tuple[int, int]:
        """How often the epoch and the evaluation were traced; once each is right."""
        return int(self._epoch.experimental_get_tracing_count()), self._evaluator.num_traces

    def claim(self, holder: Holder, state: Mapping[str, NDArray[Any]] | None = None) -> None:
        """Hand the variables to a run; at ``state``, or as a fresh build has them.

        A run that holds them and is still alive saves its own first, so that any number of
        runs may share a program without seeing one another.
        """
        previous = self._holder() if self._holder else None
        if previous is not None and previous is not holder:
            previous.park()
        self._holder = weakref.ref(holder)
        if state is not None or not self._is_fresh:
            start = self._initial.read() if state is None else state
            write_state(self.model, self.optimizer, start, self._random)
        self._is_fresh = False

    def is_held_by(self, holder: Holder) -> bool:
        """Tell whether the variables are this run's."""
        return self._holder is not None and self._holder() is holder

    def state(self) -> State:
        """Return the variables' values."""
        return read_state(self.model, self.optimizer, self._random)

    def set_training(self, *, learning_rate: float, loss_weights: tuple[float, ...]) -> None:
        """Set what varies without another graph."""
        self.optimizer.learning_rate.assign(learning_rate)
        self._loss_weights.assign(loss_weights)

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
            self._forward, self._heads, self._image_shape, jit_compile=jit_compile
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
        with isolated(seed=self._seed, dtype_policy=self._policy):
            generator = GlobalGenerator()
            empty = no_rows(self._heads, self._image_shape)
            self._epoch.get_concrete_function()
            self._epoch(np.float64(0.0), np.int64(1), *empty)
            self._evaluator.trace()
        if generator.is_used:
            self._random = [generator.state]

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
            loss = tf.tensordot(self._loss_weights, tf.stack(losses), axes=1)
            return loss + sum(tf.cast(extra, tf.float32) for extra in self.model.losses)

        variables = self.model.trainable_variables
        loss, gradients = self._forward.gradients(images, loss_of, variables)
        self.optimizer.apply(gradients, variables)
        return loss


_Key = tuple[str, Callable[..., Any] | None, int, str]
_kept: OrderedDict[_Key, Program] = OrderedDict()


def program_for(spec: TrialSpec, *, seed: int, precision: str) -> tuple[Program, bool]:
    """Return the program of a spec and whether it was built just now.

    Programs are kept by all that shapes them: learning rate, loss weights and batch size do
    not. A user's function is another once its module has been imported anew. The ones used
    longest ago go when there are more than `MOST_KEPT` or when they hold more than
    `MOST_KEPT_BYTES`. One that alone holds more stays until another one is asked for.
    """
    function = None
    if isinstance(spec.model, UserModelSpec):
        with isolated(seed=seed, dtype_policy=PRECISIONS.get(precision, "float32")):
            function = load_function(spec.model.target)
    key = (spec.architecture_key(), function, seed, precision)
    program = _kept.pop(key, None)
    is_new = program is None
    if program is None:
        _drop_large()
        program = Program(spec, seed=seed, precision=precision)
    _kept[key] = program
    while len(_kept) > 1 and (
        len(_kept) > MOST_KEPT or sum(kept.num_bytes for kept in _kept.values()) > MOST_KEPT_BYTES
    ):
        _kept.popitem(last=False)
    return program, is_new


def _drop_large() -> None:
    """Make room for a program: one that is too large to be kept beside others goes at once."""
    large = [key for key, program in _kept.items() if program.num_bytes > MOST_KEPT_BYTES]
    for key in large:
        del _kept[key]
    if large:
        gc.collect()  # its graphs are cycles, which otherwise are freed at some later time
