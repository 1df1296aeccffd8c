"""Small trials on random data, for the tests of training."""

from functools import cache

import numpy as np

from trainables.data.dataset import Dataset, Split
from trainables.model.build import build_model
from trainables.model.state import load_weights
from trainables.spec.heads import HeadSpec
from trainables.spec.trial import TrialSpec
from trainables.training import keras_run as training
from trainables.training import program as compiled
from trainables.training.keras_run import KerasRun

CLASSES = HeadSpec(name="c_output", kind="classification", units=3)
TWO = HeadSpec(name="kind", kind="classification", units=2)
BOX = HeadSpec(name="r_output", kind="box", units=4)
GIOU = HeadSpec(name="r_output", kind="box", units=4, loss="giou")
CIOU = HeadSpec(name="r_output", kind="box", units=4, loss="ciou", activation="linear")
NUMBER = HeadSpec(name="age", kind="regression", units=1)
NUMBERS = HeadSpec(name="pose", kind="regression", units=3, loss="huber")


def make_data(heads, *, shape=(17, 17, 1), rows=(50, 37), seed=0):
    """Return random images and labels of the real layout."""
    rng = np.random.default_rng(seed)

    def labels(head, n):
        if head.kind == "classification":
            return rng.integers(0, head.units, n, dtype=np.int32)
        values = rng.uniform(0, 1, (n, head.units)).astype(np.float32)
        return (
            np.sort(values.reshape(n, 2, 2), axis=1).reshape(n, 4) if head.units == 4 else values
        )

    splits = tuple(
        Split(
            name=name,
            images=rng.integers(0, 256, (n, *shape), dtype=np.uint8),
            labels={head.name: labels(head, n) for head in heads},
        )
        for name, n in zip(("train", "validation"), rows, strict=True)
    )
    return Dataset(fingerprint=repr((heads, shape, rows, seed)), splits=splits)


def make_spec(heads=(CLASSES, BOX), shape=(17, 17, 1), **config):
    small = {f"{head.name}_units": 8 for head in heads}
    values = {"conv1_filters": 4, "conv2_filters": 4, "pool_size": 2, "batch_size": 16, **small}
    return TrialSpec.from_config(values | config, image_shape=shape, heads=heads)


ELASTIC = {"dropout": 0.3, "l2": 1e-3}
"""Of any widths trained by one graph."""
RICH = {**ELASTIC, "batch_norm": True}
"""Trained by a graph of its own."""


def fresh(spec, data, **options):
    """Return a run that shares nothing with the ones before."""
    compiled._kept.clear()
    training._feeds.clear()
    return KerasRun(spec=spec, dataset=data, **{"seed": 3} | options)


@cache
def alone(spec, epochs):
    """Return what a trial gives in a process of its own, and its state at the end."""
    run = fresh(spec, make_data(spec.heads))
    return figures(run, epochs), run.state()


def figures(run, epochs):
    """Return all that the epochs give, the seconds apart."""
    results = [run.run_epoch() for _ in range(epochs)]
    return [(r.losses, r.metrics, r.training_loss) for r in results]


def model_of(run):
    """Return a Keras model with a run's present weights."""
    model = build_model(run._spec.model, seed=run._seed)
    load_weights(model, run.state())
    return model


def traces(program):
    """Return how often the epoch and the evaluation were traced; once each is right."""
    graphs = program._epoch, program._evaluator._run
    return tuple(graph.experimental_get_tracing_count() for graph in graphs)


def same(first, second):
    return first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name]) for name in first
    )
