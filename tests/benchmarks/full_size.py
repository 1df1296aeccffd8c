"""The reference model at full size: our epochs against Keras' ``fit``, seconds and memory.

Run with ``python -m tests.benchmarks.full_size``. Every contender trains in a process of its own,
one after the other, with the same images in the same order from the same initial weights.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

SEED = 3
BATCH = 32
TRIAL_FACTORY = "tests.benchmarks.full_size:keras_run"
FITS = ("fit-arrays", "fit-tfdata")
OURS = ("resident", "streamed")


def main() -> None:
    """Measure all contenders, round after round, and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=128, metavar="N", help="training images")
    parser.add_argument("--validation", type=int, default=32, metavar="N")
    parser.add_argument("--size", type=int, default=224, metavar="PIXELS")
    parser.add_argument("--epochs", type=int, default=3, help="the first one is not counted")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="processors of each process")
    parser.add_argument("--contenders", default=",".join(FITS + OURS), metavar="A,B")
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    parser.add_argument("--child", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        name, folder = args.child
        print(json.dumps(_train(name, Path(folder), args)))
        return
    found: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory(prefix="full-size-") as folder:
        _write_data(Path(folder), args)
        for _ in range(args.rounds):
            for name in args.contenders.split(","):
                found.setdefault(name, []).append(_in_child(name, folder))
    summary = {name: _summary(rounds) for name, rounds in found.items()}
    print(json.dumps(summary) if args.json else _table(summary))


def _in_child(name: str, folder: str) -> dict[str, Any]:
    command = [sys.executable, "-m", __spec__.name, *sys.argv[1:], "--child", name, folder]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return medians over the epochs of all rounds; of memory the largest."""
    epochs = [epoch for one in rounds for epoch in one["epochs"][1:]]
    parts = sorted({part for epoch in epochs for part in epoch if part.endswith("_seconds")})
    return {
        **{part: statistics.median(epoch[part] for epoch in epochs) for part in parts},
        "peak_bytes": max(one["peak_bytes"] for one in rounds),
        "anonymous_bytes": max(one["anonymous_bytes"] for one in rounds),
        "losses": rounds[0]["epochs"][-1]["losses"],
    }


def _table(summary: dict[str, dict[str, Any]]) -> str:
    """Return a line per contender; ratios against the better of the fits, figure by figure."""
    fits = [summary[name] for name in FITS if name in summary]
    lines = [
        f"{'':12}{'s/epoch':>9}{'ratio':>7}{'train':>8}{'valid.':>8}{'save':>7}"
        f"{'peak MiB':>10}{'ratio':>7}{'anon. MiB':>11}{'ratio':>7}  losses"
    ]

    def ratio(one: dict[str, Any], key: str) -> float:
        return one[key] / min(fit[key] for fit in fits) if fits else float("nan")

    for name, one in summary.items():
        lines.append(
            f"{name:12}{one['epoch_seconds']:9.2f}{ratio(one, 'epoch_seconds'):7.2f}"
            f"{one['train_seconds']:8.2f}{one['validate_seconds']:8.2f}"
            f"{one['save_seconds']:7.2f}"
            f"{one['peak_bytes'] / 2**20:10.0f}{ratio(one, 'peak_bytes'):7.2f}"
            f"{one['anonymous_bytes'] / 2**20:11.0f}{ratio(one, 'anonymous_bytes'):7.2f}  "
            + ", ".join(f"{loss:.5f}" for loss in one["losses"])
        )
    return "\n".join(lines)


def _write_data(folder: Path, args: argparse.Namespace) -> None:
    """Write random images that are brighter the higher their class, as a decoded set has them."""
    rng = np.random.default_rng(0)
    for name, rows in (("train", args.images), ("validation", args.validation)):
        classes = rng.integers(0, 10, rows, dtype=np.int32)
        images = np.lib.format.open_memmap(
            folder / f"{name}-image.npy", "w+", np.uint8, (rows, args.size, args.size, 3)
        )
        for place in range(rows):
            top = 60 + 20 * int(classes[place])
            images[place] = rng.integers(0, top, images.shape[1:], dtype=np.uint8)
        images.flush()
        np.save(folder / f"{name}-c_output.npy", classes)
        np.save(folder / f"{name}-r_output.npy", rng.random((rows, 1), dtype=np.float32))


def _open_data(folder: Path) -> Any:
    def split(name: str) -> Any:
        arrays = {
            key: np.load(folder / f"{name}-{key}.npy", mmap_mode="r")
            for key in ("image", "c_output", "r_output")
        }
        return SimpleNamespace(images=arrays.pop("image"), labels=arrays)

    return SimpleNamespace(fingerprint=str(folder), split=split)


def _train(name: str, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Train one contender in this process; return its epochs and its peaks."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
    run = _fit if name in FITS else _ours
    with _anonymous_peak() as peak:
        epochs = run(name, folder, args)
    return {"epochs": epochs, "peak_bytes": _status("VmHWM"), "anonymous_bytes": peak()}


def _fit(name: str, folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Train with ``fit``, an epoch at a time, in the order in which our runs take the rows."""
    from trainables.model.backend import keras, tf
    from trainables.model.build import build_model
    from trainables.training.keras_run import permutation

    model = build_model(_spec(args).model, seed=SEED)
    losses = {"c_output": "sparse_categorical_crossentropy", "r_output": "mse"}
    model.compile(keras.optimizers.Adam(1e-3), losses)
    data = _open_data(folder)
    clock = _Clock(keras)
    validation = _arrays(data.split("validation"), slice(None))
    epochs = []
    for epoch in range(args.epochs):
        rows = data.split("train")
        order = permutation(len(rows.images), seed=SEED, epoch=epoch)
        given: Any = _arrays(rows, order)
        options: dict[str, Any] = {"validation_data": validation, "batch_size": BATCH}
        if name == "fit-tfdata":
            given = (tf.data.Dataset.from_tensor_slices(given).batch(BATCH).prefetch(2),)
            kept = tf.data.Dataset.from_tensor_slices(validation).batch(BATCH).prefetch(2)
            options = {"validation_data": kept}
        del rows
        history = model.fit(
            *given, shuffle=False, verbose=0, callbacks=[clock.callback], **options
        )
        found = [history.history[f"val_{head}_loss"][0] for head in ("c_output", "r_output")]
        epochs.append({**clock.seconds(), "save_seconds": 0.0, "losses": found})
        del given
    return epochs


def _arrays(rows: Any, order: Any) -> tuple[Any, dict[str, Any]]:
    return rows.images[order], {name: column[order] for name, column in rows.labels.items()}


class _Clock:
    """Takes the seconds of an epoch from inside ``fit``, what comes before and after apart."""

    def __init__(self, keras: Any) -> None:
        self._at: dict[str, float] = {}
        self.callback = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda *_: self._note("begin"),
            on_epoch_end=lambda *_: self._note("end"),
        )
        self.callback.on_test_begin = lambda *_: self._note("trained")

    def _note(self, moment: str) -> None:
        self._at[moment] = time.perf_counter()

    def seconds(self) -> dict[str, float]:
        at = self._at
        return {
            "epoch_seconds": at["end"] - at["begin"],
            "train_seconds": at["trained"] - at["begin"],
            "validate_seconds": at["end"] - at["trained"],
        }


def _ours(name: str, folder: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Train as a worker does: each epoch is saved and written down."""
    from trainables.spec.settings import StudySettings
    from trainables.storage.store import Store
    from trainables.trial import measurement
    from trainables.trial.attempt import Attempt, Envelope, TrialFailure

    with tempfile.TemporaryDirectory(dir=folder) as study:
        store = Store(study)
        store.put("study.json", b"{}")
        envelope = Envelope(
            number=0, attempt=1, generation=1, config={}, seed=SEED, epochs=args.epochs
        )
        settings = StudySettings(
            study=study,
            storage=str(folder),
            fingerprint=name,
            image_shape=(args.size, args.size, 3),
            factory=TRIAL_FACTORY,
            rungs=tuple(range(args.epochs)),
            cpu=args.threads,
        )
        attempt = Attempt(envelope, settings)
        steps = [attempt.step() for _ in range(args.epochs)]
        if isinstance(steps[-1], TrialFailure):
            raise SystemExit(f"{name}: {steps[-1].reason}")
        found = sorted(
            (measurement.read(store, path) for path in store.list(measurement.FOLDER)),
            key=lambda one: one.epoch,
        )
    return [_as_epoch(one) for one in found]


def _as_epoch(one: Any) -> dict[str, Any]:
    parts = {f"{part}_seconds": one.seconds[part] for part in ("train", "validate", "save")}
    epoch = parts["train_seconds"] + parts["validate_seconds"]
    return {"epoch_seconds": epoch, **parts, "losses": list(one.losses.values())}


def keras_run(settings: Any, config: Any, *, seed: int, is_reference: bool) -> Any:
    """Make the run of a trial; a `trainables.training.run.RunFactory`."""
    from trainables.model.backend import configure_process
    from trainables.training import feeding
    from trainables.training.keras_run import KerasRun

    configure_process(num_threads=settings.cpu)
    data = _open_data(Path(settings.storage))
    if settings.fingerprint == "streamed":
        feeding.RESIDENT_BYTES = 0
        chunk_bytes = data.split("train").images.nbytes // 4
        feeding.ChunkedFeed.__init__.__kwdefaults__ = {"chunk_bytes": chunk_bytes}
    spec = _spec(SimpleNamespace(size=settings.image_shape[0]))
    return KerasRun(spec=spec, dataset=data, seed=seed)


def _spec(args: Any) -> Any:
    from trainables.spec.heads import HeadSpec
    from trainables.spec.trial import TrialSpec

    heads = (
        HeadSpec(name="c_output", kind="classification", units=10),
        HeadSpec(name="r_output", kind="regression", units=1),
    )
    return TrialSpec.from_config({}, image_shape=(args.size, args.size, 3), heads=heads)


def _status(field: str) -> int:
    text = Path("/proc/self/status").read_text()
    return int(re.findall(rf"{field}:\s*(\d+) kB", text)[0]) * 1024


@contextmanager
def _anonymous_peak() -> Iterator[Callable[[], int]]:
    """Watch this process's memory apart from the pages of files; the kernel keeps no peak."""
    most = [0]
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.005):
            most[0] = max(most[0], _status("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield lambda: most[0]
    finally:
        is_over.set()
        watcher.join()


if __name__ == "__main__":
    main()
