"""The tree of `damaged_tree` as `twohead` itself leaves it: small Keras models on Ray."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from search.results.load import load
from tests.support import image_sets
from tests.support.damaged_tree import FINISHED, INTERRUPTED, STORAGE, copy_of, note_fingerprint
from tests.support.processes import wait_until
from tests.support.stub_study import rows_of
from trainables.errors import StorageError

STUDY = """
name: finished
data: {data}
heads:
  c_output: {{kind: classification}}
  r_output: {{kind: box}}
image_size: [18, 18]
space:
  conv1_filters: {{choice: [4, 8]}}
  conv2_filters: 4
  pool_size: 2
  c_output_units: 8
  r_output_units: 8
  learning_rate: {{float: [1.0e-3, 1.0e-2], log: true}}
  batch_size: 8
budget: {{trials: 3, epochs: 3}}
sampler: random
scheduler: fifo
reference: false
resources: {{cpu: 1, concurrent: 1}}
"""
HANG_SECONDS = 300


def make_keras_tree(work: Path) -> None:
    """Run, confirm and interrupt studies in a folder that is not there yet."""
    source = work.parent / "source"
    made = image_sets.rectangles(64)
    columns = {
        "c_output": made.classes,
        "r_output": made.fractions,
        "split": image_sets.splits(64),
    }
    data = image_sets.save(source / "data.parquet", image=made.encoded, **columns)
    (source / "study.yaml").write_text(STUDY.format(data=data))
    run = ["run", str(source / "study.yaml"), "--storage", f"{work}/{STORAGE}", "--name"]
    _twohead(*run, FINISHED)
    _twohead("confirm", f"{work}/{STORAGE}/{FINISHED}", "--seeds", "1", "--top", "1")
    epochs = work / STORAGE / INTERRUPTED / "epochs"
    _twohead(*run, INTERRUPTED, until=lambda: len(list(epochs.glob("0*.json"))) > 4)
    note_fingerprint(work)
    copy_of(work)


def resume(work: Path, name: str) -> list[tuple[Any, ...]]:
    """Let `twohead resume` run a study to its end; return what it found.

    Raises:
        StorageError: If that refuses.
    """
    folder = f"{work}/{STORAGE}/{name}"
    status, said = _twohead("resume", folder, is_checked=False)
    if status and "twohead: " in said and "unexpected" not in said and "Traceback" not in said:
        raise StorageError(said)
    assert not status, said
    return rows_of(load(folder).trials)


def _twohead(
    *arguments: str, until: Callable[[], bool] | None = None, is_checked: bool = True
) -> tuple[int, str]:
    """Run the command; interrupt it as soon as something holds, if that is given."""
    command = [sys.executable, "-m", "search.cli.main", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        if until is not None:
            wait_until(until, HANG_SECONDS)
            process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=HANG_SECONDS)[0].decode(errors="replace")
    assert not is_checked or process.returncode == (130 if until else 0), said
    return process.returncode, said
