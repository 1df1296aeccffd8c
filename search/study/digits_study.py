"""The study that `twohead run` runs without a file: the bundled digits, two heads."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from search.study.study import Study
from trainables.storage.store import Store

NAME = "digits"
NUM = 5000
"""Images: 4,000 to train, 500 to validate, 500 to test."""
IMAGE_SIZE = 32
DATA_SEED = 0
"""Of the data set, whatever the study's seed."""
TRIALS = 24
EPOCHS = 9
SPACE = {
    "conv1_filters": {"choice": [16, 32]},
    "conv2_filters": {"choice": [32, 64]},
    "kernel_size": {"choice": [3, 5]},
    "c_output_units": {"int": [128, 256], "log": True},
    "r_output_units": {"int": [256, 512], "log": True},
    "r_output_loss_weight": {"float": [1.0, 10.0], "log": True},
    "dropout": {"float": [0.0, 0.3]},
    "learning_rate": {"float": [5e-4, 2e-3], "log": True},
    "batch_size": {"choice": [16, 32]},
}
"""Around what learns these images in nine epochs of about a second; a general default would
spend half of them on models that are too slow or too small."""
DATA = f".data/digits-{NUM}-{IMAGE_SIZE}-{DATA_SEED}.parquet"
"""The data set, relative to the storage."""


def digits_study(storage: str, *, seed: int = 0, name: str | None = None) -> Study:
    """Return the study of the bundled digits: a small space after the reference trial.

    Its data set lies in the storage, too, once `write_data` was called. By default it is named
    ``digits``, or ``digits-seed<seed>`` for a seed other than 0.
    """
    return Study(
        name=name or (NAME if seed == 0 else f"{NAME}-seed{seed}"),
        data=data_in(storage),
        heads={"c_output": {"kind": "classification"}, "r_output": {"kind": "box"}},
        space=SPACE,
        budget={"trials": TRIALS, "epochs": EPOCHS},
        seed=seed,
        storage=storage,
    )


def data_in(storage: str) -> str:
    """Return where the data set lies in a storage."""
    return Store(storage).child(DATA).uri


def is_digits(study: Study) -> bool:
    """Tell whether a study's data are the bundled digits in its own storage."""
    return study.data == data_in(study.storage)


def write_data(storage: str, notify: Callable[[str], None]) -> None:
    """Write the digits into the storage unless they are there; say what is being done."""
    store = Store(storage)
    if store.exists(DATA):
        return
    from trainables.data.digits import write_digits

    notify(f"drawing {NUM} digits")
    with tempfile.TemporaryDirectory(prefix="twohead-digits-") as folder:
        path = write_digits(Path(folder), num=NUM, image_size=IMAGE_SIZE, seed=DATA_SEED)
        store.put(DATA, path.read_bytes())
