"""How fast one trial trains and what building it costs: run as a module.

``python -m tests.benchmarks.epoch_rates --rows 960 --rounds 3`` trains typical configs of the
default space on random 64x64 images with one thread in three ways, each in float32 and bfloat16:
Keras' own ``fit``; the plain compiled epoch, which is the Keras model, its optimizer and the
loop over batches in one ``tf.function`` and nothing more; and the epoch of this project. It
prints images a second, from the best of the rounds, and ratios of times. All ways take turns
within a round; seconds are processor time, which other processes disturb less. The mean
training losses of the first epoch stand beside: rounding aside, all ways compute the same.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

from trainables.model.backend import configure_process, keras, tf
from trainables.model.build import build_model
from trainables.spec.heads import HeadSpec
from trainables.spec.trial import TrialSpec
from trainables.training.feeding import make_feed
from trainables.training.heads import training_losses
from trainables.training.program import Program

HEADS = (
    HeadSpec(name="c_output", kind="classification", units=10),
    HeadSpec(name="r_output", kind="regression", units=1),
)
WIDTHS = ("conv1_filters", "conv2_filters", "pool_size", "c_output_units", "r_output_units")
CONFIGS = {
    "8/8 pool 2": (8, 8, 2, 64, 64),
    "16/32 pool 3": (16, 32, 3, 64, 128),
    "32/16 pool 2": (32, 16, 2, 128, 256),
    "64/16 pool 3": (64, 16, 3, 100, 100),
    "64/64 pool 2": (64, 64, 2, 256, 512),
}
BATCH = 64
Epoch = Callable[[np.ndarray], float]
"""Trains on the rows in an order; gives the mean loss."""


def spec_of(widths: tuple[int, ...], side: int, channels: int) -> TrialSpec:
    config = {**dict(zip(WIDTHS, widths, strict=True)), "dropout": 0.2, "batch_size": BATCH}
    return TrialSpec.from_config(config, image_shape=(side, side, channels), heads=HEADS)


def random_rows(num: int, side: int, channels: int) -> Any:
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 10, num, dtype=np.int32)
    shapes = rng.integers(0, 256, (10, side, side, channels))
    images = (shapes[classes] + rng.integers(0, 256, (num, side, side, channels))) // 2
    labels = {"c_output": classes, "r_output": (classes[:, None] / 10).astype(np.float32)}
    return SimpleNamespace(images=images.astype(np.uint8), labels=labels)


class Holder:
    """A run that holds a program and is never asked to give it back."""

    def park(self) -> None:
        """Save nothing."""


def our_epoch(spec: TrialSpec, rows: Any, precision: str) -> Epoch:
    program, feed = Program(spec, seed=0, precision=precision), make_feed(rows, HEADS)
    holder = Holder()
    program.begin(holder, spec, 0)
    return lambda order: program.train(feed, order, BATCH) if holder else 0.0


def plain_epoch(spec: TrialSpec, rows: Any, precision: str) -> Epoch:
    model = build_model(spec.model, seed=0, precision=precision)
    optimizer = keras.optimizers.Adam(spec.learning_rate)
    optimizer.build(model.trainable_variables)
    images = tf.constant(rows.images)
    labels = [tf.constant(rows.labels[head.name]) for head in HEADS]

    def train_batch(chosen: Any) -> Any:
        with tf.GradientTape() as tape:
            outputs = model(tf.gather(images, chosen), training=True)
            loss = tf.add_n(
                [
                    tf.reduce_mean(training_losses(head, outputs[head.name], tf.gather(y, chosen)))
                    for head, y in zip(HEADS, labels, strict=True)
                ]
            )
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss * tf.cast(tf.size(chosen), tf.float32)

    @tf.function(autograph=False, input_signature=(tf.TensorSpec((None,), tf.int64),))
    def run(order: Any) -> Any:
        return tf.while_loop(
            lambda at, _: at < tf.size(order),
            lambda start, total: (
                start + BATCH,
                total + train_batch(order[start : start + BATCH]),
            ),
            (0, 0.0),
            parallel_iterations=1,
        )[1]

    run(np.zeros(0, np.int64))
    return lambda order: float(run(order)) / len(order)


def fit_epoch(spec: TrialSpec, rows: Any, precision: str) -> Epoch:
    model = build_model(spec.model, seed=0, precision=precision)
    losses = {"c_output": "sparse_categorical_crossentropy", "r_output": "mse"}
    model.compile(keras.optimizers.Adam(spec.learning_rate), losses)

    def run(order: np.ndarray) -> float:
        targets = {name: values[order] for name, values in rows.labels.items()}
        fitted = model.fit(rows.images[order], targets, batch_size=BATCH, shuffle=False, verbose=0)
        return float(fitted.history["loss"][0])

    return run


WAYS = {"fit": fit_epoch, "plain": plain_epoch, "ours": our_epoch}


def measure(spec: TrialSpec, rows: Any, rounds: int) -> Iterator[tuple[str, str, Any]]:
    """Yield precision, way, and what it took to build (s), an epoch (s) and its first loss."""
    epochs, results = {}, {}
    num = len(rows.images)
    for precision in ("float32", "bfloat16"):
        for way, make in WAYS.items():
            start = time.process_time()
            epochs[precision, way] = make(spec, rows, precision)
            built = time.process_time() - start
            loss = epochs[precision, way](np.arange(num))  # also oneDNN's first call of all
            results[precision, way] = SimpleNamespace(built=built, loss=loss, epoch=np.inf)
    for turn in range(rounds):
        order = np.random.default_rng(turn).permutation(num)
        for key, epoch in epochs.items():
            start = time.process_time()
            epoch(order)
            results[key].epoch = min(results[key].epoch, time.process_time() - start)
    for (precision, way), result in results.items():
        yield precision, way, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=960)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--configs", default=",".join(CONFIGS))
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    configure_process(num_threads=given.threads)
    rows = random_rows(given.rows, given.side, given.channels)
    print(f"{'config':14} {'precision':9} " + " ".join(f"{way:>22}" for way in WAYS), end="")
    print("   ours/plain ours/fit   (images/s, build and trace s, loss)")
    for name in given.configs.split(","):
        spec = spec_of(CONFIGS[name], given.side, given.channels)
        found = {(p, w): r for p, w, r in measure(spec, rows, given.rounds)}
        for precision in ("float32", "bfloat16"):
            cells = [found[precision, way] for way in WAYS]
            text = [f"{given.rows / c.epoch:8.0f} {c.built:5.2f} {c.loss:7.4f}" for c in cells]
            ratios = [cells[2].epoch / cells[1].epoch, cells[2].epoch / cells[0].epoch]
            print(f"{name:14} {precision:9} {' '.join(text)} {ratios[0]:12.2f} {ratios[1]:8.2f}")


if __name__ == "__main__":
    main()
