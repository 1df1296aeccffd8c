"""Notes when each process of a run imports and calls what `tests.benchmarks.startup` asks about.

Python imports this module in every process that has its folder on ``PYTHONPATH``, so also in
those that Ray starts.
"""

import functools
import importlib.machinery
import importlib.util
import json
import os
import sys
import time
from importlib.abc import Loader, MetaPathFinder

LOG = os.environ.get("TWOHEAD_TIMELINE")
"""The file that all processes of a run add lines to."""

IMPORTS = ("ray", "ray.tune", "pandas", "tensorflow", "search.cli.local", "search.running.run")
"""Modules whose import is timed, and what each brings with it."""

CALLS = {
    "ray": ["init"],
    "search.running.run": [
        "check_data",
        "write_study",
        "find_room",
        "check_reach",
        "prepare",
        "warm_start",
        "Run.go",
    ],
    "search.running.prepare": ["run_task"],
    "search.running.tune": ["fit"],
    "trainables.data.decode": ["decode_dataset"],
    "trainables.data.cache": ["open_dataset"],
    "trainables.trial.trainable": ["MultiHeadTrainable.setup", "MultiHeadTrainable.step"],
    "trainables.trial.keras_factory": ["keras_run"],
    "trainables.training.program": ["Program.__init__", "Program._trace"],
    "trainables.training.keras_run": ["KerasRun.run_epoch"],
}
"""Functions that are timed, by the module that they are looked up in when they are called."""


def note(what, edge):
    """Add a line: process, wall clock, processor time of this process, what, begin or end."""
    line = [os.getpid(), time.time(), time.process_time(), what, edge]
    handle = os.open(LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, (json.dumps(line) + "\n").encode())
    finally:
        os.close(handle)


def timed(what, function):
    """Return the function, with its calls noted."""

    @functools.wraps(function)
    def noted(*args, **kwargs):
        name = f"{what}({args[0].__name__})" if what.endswith("run_task") else what
        note(name, "begin")
        try:
            return function(*args, **kwargs)
        finally:
            note(name, "end")

    return noted


def patch(module):
    """Put the noted functions in the place of a module's own; what is not there stays away."""
    for path in CALLS.get(module.__name__, ()):
        *outer, name = path.split(".")
        holder = functools.reduce(getattr, outer, module)
        if hasattr(holder, name):
            setattr(holder, name, timed(f"{module.__name__}.{path}", getattr(holder, name)))


class NotedLoader(Loader):
    """Loads as the loader that was found does, and notes it."""

    def __init__(self, loader):
        self._loader = loader

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def create_module(self, spec):
        """Leave it to the loader."""
        return self._loader.create_module(spec)

    def exec_module(self, module):
        """Run the module's code."""
        is_timed = module.__name__ in IMPORTS
        if is_timed:
            note(f"import {module.__name__}", "begin")
        self._loader.exec_module(module)
        patch(module)
        if is_timed:
            note(f"import {module.__name__}", "end")


class NotedFinder(MetaPathFinder):
    """Finds what the others find."""

    def find_spec(self, name, path, target=None):
        """Return their spec with a loader that notes."""
        if name not in IMPORTS and name not in CALLS:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = NotedLoader(spec.loader)
        return spec


if LOG:
    note("process " + " ".join(sys.orig_argv[:3])[-60:], "begin")
    sys.meta_path.insert(0, NotedFinder())
