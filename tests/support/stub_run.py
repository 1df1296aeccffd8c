"""A training without TensorFlow: its losses follow from config, seed, epoch and its own state.

What goes wrong is written beside the study, in files of the storage's folder:
``faults.json`` says what the training of a config does, ``kills/`` holds a file for each
process that is to kill itself, which moves to ``landed/`` when it does.
"""

import json
import math
import os
import signal
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.processes import wait_until
from trainables.errors import StorageFull
from trainables.model.user_model import load_function
from trainables.spec.settings import StudySettings
from trainables.training.run import EpochResult, TrialRun

FACTORY = "tests.support.stub_run:make"
HEADS = ("c_output", "r_output")
WEIGHTS = "model/0000/weights"
"""Their name in a state."""


def make(
    settings: StudySettings, config: Mapping[str, Any], *, seed: int, is_reference: bool
) -> TrialRun:
    """Build the run, at epoch 0; a `trainables.training.run.RunFactory`."""
    if settings.model is not None and not is_reference:
        own = load_function(settings.model)
        note(Path(settings.storage), "own-code", own.__code__.co_filename)
    return StubRun(settings, config, seed)


class StubRun:
    """Two losses that fall towards values of the config, on a path of their own."""

    def __init__(self, settings: StudySettings, config: Mapping[str, Any], seed: int) -> None:
        self._storage = Path(settings.storage)
        self._config = config
        self._gpu = settings.gpu
        self._seed = seed
        self._epoch = 0
        self._weights = np.full(2, 3.0)
        self._fault = fault_of(self._storage, config)
        note(self._storage, "processes", str(os.getpid()))
        die(self._storage, "open")
        self._misbehave("open")

    @property
    def epoch(self) -> int:
        return self._epoch

    def run_epoch(self) -> EpochResult:
        epoch = self._epoch + 1
        self._misbehave(epoch)
        die(self._storage, f"epoch{epoch}")
        noise = np.random.default_rng([self._seed, epoch]).normal(size=2)
        pace = self._pace(epoch)
        aim = aims(self._config)
        self._weights = (1 - pace) * self._weights + pace * aim + 0.02 * noise
        self._epoch = epoch
        losses = [float(weight**2) for weight in self._weights]
        if self._fault.get("kind") in {"nan", "inf"} and self._fault["at"] == epoch:
            losses[self._fault.get("head", 0)] = float(self._fault["kind"])
        note(self._storage, "trained", f"{key_of(self._config)} {epoch}")
        note(self._storage, "places", socket.gethostname())
        return EpochResult(
            losses=dict(zip(HEADS, losses, strict=True)),
            metrics={"val_c_output_accuracy": 1 / (1 + losses[0])},
            training_loss=math.fsum(losses),
            seconds={"build": 0.0, "trace": 0.0, "train": 0.001, "validate": 0.001},
        )

    def state(self) -> dict[str, np.ndarray]:
        die(self._storage, f"state{self._epoch}")
        return {WEIGHTS: self._weights.copy(), "optimizer/0000/variable": np.array(self._epoch)}

    def load_state(self, state: Mapping[str, np.ndarray], epoch: int) -> None:
        # Older checkpoints, such as those of golden studies, have another name for them.
        weights = state[WEIGHTS] if WEIGHTS in state else state["weights"]
        self._weights, self._epoch = weights.copy(), epoch

    def _pace(self, epoch: int) -> float:
        """Return what share of the way to its aims an epoch goes: a late starter's, little."""
        if self._fault.get("kind") != "late":
            return 0.3
        return 0.05 if epoch <= self._fault["at"] else 0.8

    def _misbehave(self, now: int | str) -> None:
        fault = self._fault
        if fault.get("at") not in (now, "always"):
            return
        kind = fault["kind"]
        if kind == "raise":
            raise RuntimeError("the stub was told\nto fail")
        if kind == "exit":
            raise SystemExit(3)
        if kind == "os_exit":
            note(self._storage, "exited", key_of(self._config))
            os._exit(7)
        if kind == "storage":
            raise StorageFull("no room left in the stub's study")
        if kind == "memory" and self._gpu < fault["needs"]:
            raise MemoryError(f"the stub needs {fault['needs']} of a GPU")
        if kind == "wait":
            note(self._storage, "waiting", key_of(self._config))
            wait_until((self._storage / "go").exists)
        if kind == "slow":
            note(self._storage, "slow", key_of(self._config))
            time.sleep(fault["seconds"])


def aims(config: Mapping[str, Any]) -> np.ndarray:
    """Return where a config's two weights go: no config is the best of both."""
    rate = math.log10(config["learning_rate"]) + 3.0
    width = math.log2(config["conv1_filters"]) / 6
    return np.array([0.3 + rate**2 + 0.3 * width, 0.9 - 0.5 * width + abs(rate - 0.4)])


def key_of(config: Mapping[str, Any]) -> str:
    """Return what names a config in ``faults.json``: its learning rate."""
    return repr(config["learning_rate"])


def fault_of(storage: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    try:
        faults = json.loads((storage / "faults.json").read_text())
    except FileNotFoundError:
        return {}
    fault: dict[str, Any] = faults.get(key_of(config), faults.get("*", {}))
    return fault


def note(storage: Path, name: str, line: str) -> None:
    """Add a line to a file that the test reads; whole, however many processes write."""
    storage.mkdir(parents=True, exist_ok=True)
    with open(storage / name, "ab", buffering=0) as file:
        file.write(f"{line}\n".encode())


def notes(storage: Path, name: str) -> list[str]:
    path = storage / name
    return path.read_text().splitlines() if path.exists() else []


number = -1
"""The trial that this process is at, where a `FragileActor` says it."""


def plan_kill(storage: Path, phase: str, number: int) -> None:
    """Let the process that is in this phase of this trial kill itself, once."""
    for name in ("kills", "landed"):
        (storage / name).mkdir(exist_ok=True)
    (storage / "kills" / f"{phase}-{number}").touch()


def die(storage: Path, phase: str) -> None:
    """Kill this process if that is planned; the file's new place proves it."""
    name = f"{phase}-{number}"
    with suppress(FileNotFoundError):
        (storage / "kills" / name).rename(storage / "landed" / f"{name}.{os.getpid()}")
        os.kill(os.getpid(), signal.SIGKILL)
