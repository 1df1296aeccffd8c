"""Trains one trial and prints what it gave: ``python -m tests.integration.repeated_trial used``.

``used`` first trains others in the process: other widths, precision, seed and study, with the
graph that the trial then takes. ``given_up`` trains so many of other kinds after them that this
graph is given up and traced again.
"""

import hashlib
import sys

from tests.support.trials import CLASSES, NUMBER, figures, make_data, make_spec
from trainables.model.backend import configure_process
from trainables.training import program as compiled
from trainables.training.keras_run import KerasRun

HEADS = (CLASSES, NUMBER)
SHAPE = (40, 40, 1)
MODEL = {"conv1_filters": 64, "dropout": 0.2, "batch_size": 48}
"""Large enough that the first block takes its batch in slices; the last batch is a part."""


def spec_of(**changes):
    return make_spec(HEADS, SHAPE, **MODEL | changes)


def data_of(seed):
    return make_data(HEADS, shape=SHAPE, rows=(130, 70), seed=seed)


def wear_out():
    """Train other trials first."""
    KerasRun(spec=spec_of(), dataset=data_of(0), seed=3).run_epoch()
    KerasRun(spec=spec_of(learning_rate=0.05), dataset=data_of(0), seed=3).run_epoch()
    KerasRun(spec=spec_of(), dataset=data_of(0), seed=3, precision="bfloat16").run_epoch()
    other = make_spec((NUMBER,), (17, 17, 1))
    data = make_data((NUMBER,), seed=9)
    KerasRun(spec=other, dataset=data, seed=5).run_epoch()
    for filters in (3, 40):
        changes = {"conv2_filters": filters, "age_units": filters, "dropout": 0.5}
        KerasRun(spec=spec_of(**changes), dataset=data_of(1), seed=4).run_epoch()


def give_up():
    """Train so many others of other kinds that no graph is kept which was before them."""
    for filters in range(1, compiled.MOST_KEPT + 1):
        other = spec_of(conv1_filters=8, conv2_filters=filters, batch_norm=True)
        KerasRun(spec=other, dataset=data_of(1), seed=3).run_epoch()


def main():
    configure_process(num_threads=1)
    kind = sys.argv[1]
    if kind != "fresh":
        wear_out()
    if kind == "given_up":
        give_up()
    run = KerasRun(spec=spec_of(), dataset=data_of(0), seed=3)
    assert (run._startup["trace"] == 0) == (kind == "used"), run._startup
    given = figures(run, 2)
    digest = hashlib.sha256(repr(given).encode())
    for name, array in sorted(run.state().items()):
        digest.update(name.encode() + array.tobytes())
    print(digest.hexdigest(), given[-1][0])


if __name__ == "__main__":
    main()
