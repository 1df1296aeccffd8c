"""Exact figures of a model on a split: compiled, in fixed batches, summed in float64."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainables.data.dataset import Split
from trainables.model.backend import Model, Tensor, tf
from trainables.spec.heads import HeadSpec
from trainables.training.feeding import LABEL_TYPES, Feed, make_feed
from trainables.training.forward import Forward, Plain
from trainables.training.heads import batch_totals, figures, totals_length

BATCH_PIXELS = 2**18
LARGEST_BATCH = 256
SMALLEST_BATCH = 8

Shape = tuple[int, ...]


class Evaluator:
    """A model's compiled evaluation; follows the model's weights as they change."""

    def __init__(
        self,
        forward: Forward,
        heads: Sequence[HeadSpec],
        image_shape: Shape,
        *,
        jit_compile: bool = False,
    ) -> None:
        self._forward = forward
        self._heads = tuple(heads)
        self._image_shape = image_shape
        self._batch_size = evaluation_batch_size(image_shape)
        self._measure = tf.function(self._measure_batch, autograph=False, jit_compile=jit_compile)
        self._run = tf.function(
            self._run_block,
            autograph=False,
            input_signature=(
                [tf.TensorSpec((totals_length(head),), tf.float64) for head in self._heads],
                *block_signature(self._heads, image_shape),
            ),
        )

    def trace(self) -> None:
        """Trace and optimise the graph by running it on no rows."""
        # Traced apart: TensorFlow warns of every fifth first call that traces.
        self._run.get_concrete_function()
        self._run(self._zeros(), *no_rows(self._heads, self._image_shape))

    def evaluate(self, feed: Feed) -> tuple[dict[str, float], dict[str, float]]:
        """Return each head's recorded loss, and the metrics as ``<head>_<metric>``."""
        totals: Any = self._zeros()
        for block in feed.blocks(np.arange(feed.num_rows), self._batch_size):
            totals = self._run(totals, *block)
            # Done with the block's buffer before it is filled again, also on a GPU.
            totals = [total.numpy() for total in totals]
        losses: dict[str, float] = {}
        metrics: dict[str, float] = {}
        for head, total in zip(self._heads, totals, strict=True):
            losses[head.name], named = figures(head, np.asarray(total), feed.num_rows)
            metrics |= {f"{head.name}_{metric}": value for metric, value in named.items()}
        return losses, metrics

    def _zeros(self) -> list[Any]:
        return [np.zeros(totals_length(head)) for head in self._heads]

    def _run_block(self, totals: Tensor, images: Tensor, labels: Tensor, order: Tensor) -> Tensor:
        def add(start: Tensor, totals: Tensor) -> tuple[Tensor, Tensor]:
            chosen = order[start : start + self._batch_size]
            batch = self._measure(
                tf.gather(images, chosen), [tf.gather(column, chosen) for column in labels]
            )
            sums = [total + part for total, part in zip(totals, batch, strict=True)]
            return start + self._batch_size, sums

        return loop_over(order, totals, add)

    def _measure_batch(self, images: Tensor, labels: Tensor) -> Tensor:
        outputs = self._forward(images)
        return [
            batch_totals(head, outputs[head.name], column)
            for head, column in zip(self._heads, labels, strict=True)
        ]


def evaluate_model(
    model: Model, heads: Sequence[HeadSpec], rows: Split
) -> tuple[dict[str, float], dict[str, float]]:
    """Return a model's recorded losses by head and metrics by ``<head>_<metric>`` on a split.

    The model takes images 0..255 and returns a dict by head name; the split has rows.
    """
    evaluator = Evaluator(Plain(model), heads, rows.images.shape[1:])
    return evaluator.evaluate(make_feed(rows, heads))


def evaluation_batch_size(image_shape: Shape) -> int:
    """Return the batch size for evaluation: a function of the image size only."""
    fitting = BATCH_PIXELS // (image_shape[0] * image_shape[1])
    return min(max(fitting, SMALLEST_BATCH), LARGEST_BATCH)


def block_signature(heads: Sequence[HeadSpec], image_shape: Shape) -> tuple[Any, Any, Any]:
    """Return the types of a block's images, labels and order, with any number of rows."""
    return (
        tf.TensorSpec((None, *image_shape), tf.uint8),
        tuple(tf.TensorSpec((None, *_row(head)), LABEL_TYPES[head.kind]) for head in heads),
        tf.TensorSpec((None,), tf.int64),
    )


def no_rows(heads: Sequence[HeadSpec], image_shape: Shape) -> tuple[Any, Any, Any]:
    """Return a block without rows."""
    return (
        np.zeros((0, *image_shape), np.uint8),
        tuple(np.zeros((0, *_row(head)), LABEL_TYPES[head.kind]) for head in heads),
        np.zeros(0, np.int64),
    )


def loop_over(order: Tensor, carried: Tensor, step: Any) -> Tensor:
    """Call ``step(start, carried) -> (start, carried)`` until ``order`` is used up."""
    num_rows = tf.size(order, out_type=tf.int64)
    start = tf.constant(0, tf.int64)
    # One iteration at a time: the next needs this one's weights anyway.
    return tf.while_loop(
        lambda start, _: start < num_rows, step, (start, carried), parallel_iterations=1
    )[1]


def _row(head: HeadSpec) -> Shape:
    return () if head.kind == "classification" else (head.units,)
