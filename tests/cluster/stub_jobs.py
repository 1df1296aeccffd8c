"""Studies with stub trainings on a test's cluster, and what is known of them afterwards."""

import json
from collections import Counter
from typing import Any

import yaml

from search.record.history import TrialRecord
from search.record.reader import StudyReader
from tests.cluster.launched import FILE, Launched
from tests.cluster.namespaces import HOME
from tests.cluster.network import SHARED
from tests.support import stub_run, stub_study
from tests.support.processes import wait_until
from trainables.storage.store import Store

STUB = {"TWOHEAD_TEST_FACTORY": stub_run.FACTORY}
"""In the nodes' environment: what trains in Keras' place."""


class StubJob:
    """The only study that a cluster runs at its time; no training of it takes anything but time.

    Args:
        seconds: What an epoch takes.
        changes: What is not as usual in the study file.
    """

    def __init__(self, cluster: Launched, name: str, *, seconds: float, **changes: Any) -> None:
        self.cluster = cluster
        self.name = name
        self.storage = cluster.storage
        self._study = {
            "name": name,
            "data": f"{SHARED}/data.parquet",
            "heads": stub_study.HEADS,
            "image_size": [16, 16],
            "space": stub_study.SPACE,
            "budget": {"trials": 8, "epochs": 8},
            "scheduler": "fifo",
            "resources": {"gpu": 0.5},
            "reference": False,
            **changes,
        }
        for notes in ("places", "trained"):
            (self.storage / notes).unlink(missing_ok=True)
        slow = {"*": {"kind": "slow", "at": "always", "seconds": seconds}}
        (self.storage / "faults.json").write_text(json.dumps(slow))

    def submit(self, *arguments: str) -> None:
        """Submit it from the laptop."""
        path = f"{HOME}/{self.name}.yaml"
        self.cluster.hosts.put("laptop", path, yaml.safe_dump(self._study))
        self.cluster.twohead("submit", path, "--address", FILE, *arguments)

    def ask(self, command: str, *arguments: str, seconds: float = 120.0) -> str:
        """Return what a command says of it on the laptop."""
        asked = [command, self.name, *arguments, "--address", FILE]
        return self.cluster.twohead(*asked, seconds=seconds).stdout

    def wait_for_epochs(self, number: int, place: str = "", seconds: float = 180.0) -> None:
        """Wait until so many epochs have been trained, on a host or in all."""
        wait_until(lambda: self.num_epochs(place) >= number, seconds)

    def num_epochs(self, place: str = "") -> int:
        """Return how many epochs were trained, on a host or in all, some of them twice."""
        places = stub_run.notes(self.storage, "places")
        return places.count(place) if place else len(places)

    def num_again(self) -> int:
        """Return how many epochs were trained a second time."""
        times = Counter(stub_run.notes(self.storage, "trained"))
        return sum(times.values()) - len(times)

    def trials(self) -> tuple[TrialRecord, ...]:
        """Return the study's trials, read from the storage."""
        return StudyReader(Store(str(self.storage / self.name))).read().trials

    def wait_for_end(self, seconds: float = 300.0) -> None:
        """Wait until its job has ended."""
        said = self.ask("logs", "--follow", seconds=seconds)
        assert "best: trial" in said, said
