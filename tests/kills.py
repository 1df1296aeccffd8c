"""SIGKILLs what takes part in a real study, at random moments: ``python -m tests.kills --num 60``.

Each study is killed several times and resumed each time, then run to its end. After every kill:
the command has ended by itself and in words, no process is left after ten seconds, and all that
is recorded is what an undisturbed study of the same seed recorded, to the bit of its weights.
A line of the ledger is printed for each kill; the exit status is 1 if any of this did not hold.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from search.results.load import load
from tests.support.processes import TAG, kill, kill_all, tagged
from tests.support.stub_study import ROOT
from trainables.data.digits import write_digits

HANG_SECONDS = 150
"""More than any limit of the software's own."""
LEFT_SECONDS = 10
KILLS_A_STUDY = 5
STUDY: dict[str, Any] = {
    "name": "killed",
    "heads": {"c_output": {"kind": "classification"}, "r_output": {"kind": "box"}},
    "space": {
        "conv1_filters": {"choice": [4, 8]},
        "conv2_filters": 4,
        "c_output_units": 16,
        "r_output_units": 16,
        "learning_rate": {"float": [0.0003, 0.01], "log": True},
        "batch_size": 32,
    },
    "budget": {"trials": 4, "epochs": 3},
    "reference": False,
    "sampler": "random",
    "scheduler": "fifo",
    "resources": {"concurrent": 2},
}
"""Bit for bit the same however it was disturbed: ``random`` and ``fifo``."""


def is_begun_by_raylet(command: str) -> bool:
    """Tell whether a command is not the raylet's, which holds those of all that it begins."""
    return "raylet/raylet" not in command


TARGETS: dict[str, Callable[[str], bool]] = {
    "gcs": lambda command: "gcs_server" in command and is_begun_by_raylet(command),
    "raylet": lambda command: not is_begun_by_raylet(command),
    "agent": lambda command: (
        ("/agent" in command and is_begun_by_raylet(command)) or command.startswith("ray::Dash")
    ),
    "runtime-agent": lambda command: (
        ("runtime_env/agent" in command and is_begun_by_raylet(command))
        or command.startswith("ray::Runtime")
    ),
    "beforehand": lambda command: "default_worker.py" in command and is_begun_by_raylet(command),
    "worker": lambda command: (
        command.startswith("ray::") and "Agent" not in command and "IDLE" not in command
    ),
    "watchdog": lambda command: "search/cluster/watchdog.py" in command,
    "driver": lambda command: False,
    "command": lambda command: False,
}
"""What is killed, by what its command says; the last two are known by their place."""
ONLY = {"worker": ["training"], "beforehand": ["start"]}
PHASES = ["start", "training"]
"""When anything else is killed: soon after it begins, or soon after an epoch was recorded."""


@dataclass(kw_only=True)
class Kill:
    """One line of the ledger."""

    target: str
    phase: str
    status: int | None = None
    """Of the command; None if it hung."""
    seconds: float = 0.0
    """From the kill to the end of the command."""
    left: int = 0
    """Processes after ten seconds."""
    said: str = ""
    wrong: str = ""
    """What did not hold."""


class Command:
    """The real command, running a study."""

    begun: ClassVar[list[str]] = []
    """The tags of all of them."""

    def __init__(self, folder: Path, storage: Path) -> None:
        self.tag = uuid.uuid4().hex
        self.begun.append(self.tag)
        self.temporary = tempfile.mkdtemp(prefix="k-", dir=folder)
        script = Path(sys.executable).parent / "twohead"
        begin = [str(script)] if script.exists() else [sys.executable, "-m", "search.cli.main"]
        with open(f"{self.temporary}/err", "w") as err:
            self.process = subprocess.Popen(
                [*begin, "run", str(folder / "study.json"), "--storage", str(storage)],
                env={**os.environ, TAG: self.tag, "PYTHONPATH": ROOT, "TMPDIR": self.temporary},
                stdout=subprocess.DEVNULL,
                stderr=err,
                start_new_session=True,
            )

    def find(self, target: str) -> list[int]:
        """Return the living processes of a kind."""
        if target == "command":
            return [self.process.pid]
        if target == "driver":
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
            return [int(pid) for pid in children.read_text().split()][:1]
        return [pid for pid in tagged(self.tag) if TARGETS[target](command_of(pid))]

    def wait(self) -> int | None:
        """Return the exit status; None if it hangs."""
        try:
            return self.process.wait(HANG_SECONDS)
        except subprocess.TimeoutExpired:
            return None

    def said(self) -> str:
        """Return all that it wrote on its error stream."""
        return Path(f"{self.temporary}/err").read_text(errors="replace")

    def left(self) -> int:
        """Return how many of its processes are there after a while, and end them."""
        end = time.monotonic() + LEFT_SECONDS
        while (left := len(tagged(self.tag))) and time.monotonic() < end:
            time.sleep(0.1)
        kill_all(self.tag)
        self.process.wait()
        return left

    def folders(self) -> list[str]:
        """Return the folders that it has left for temporary files."""
        return [name for name in os.listdir(self.temporary) if name.startswith("twohead-")]


def command_of(pid: int) -> str:
    """Return the command line of a process; empty if it has gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (OSError, UnicodeDecodeError):
        return ""


def recorded(storage: Path) -> dict[tuple[int, int], Any]:
    """Return what is recorded of each trial and epoch, but for times."""
    if not (storage / "killed" / "study.json").exists():
        return {}
    return {
        (trial.number, one.epoch): (dict(trial.config), one.losses, one.checkpoint_sha256)
        for trial in load(str(storage / "killed")).trials
        for one in trial.measurements
    }


class Killer:
    """Kills at random, and compares with what was recorded undisturbed."""

    def __init__(self, folder: Path, draw: random.Random, phases: list[str]) -> None:
        self._folder, self._draw, self._phases = folder, draw, phases
        data = write_digits(folder / "digits.parquet", num=240, image_size=16, seed=0)
        (folder / "study.json").write_text(json.dumps({**STUDY, "data": str(data)}))
        command = Command(folder, folder / "undisturbed")
        assert command.wait() == 0, command.said()
        assert command.left() == 0
        self._undisturbed = recorded(folder / "undisturbed")

    def kill_all(self, targets: list[str]) -> Iterator[Kill]:
        """Kill what is wanted, one after the other, in studies that are run to their end."""
        storage, num = None, 0
        for target in targets:
            if storage is None:
                storage, num = Path(tempfile.mkdtemp(prefix="study-", dir=self._folder)), 0
            yield self._kill(target, storage)
            num += 1
            if num == KILLS_A_STUDY or len(recorded(storage)) == len(self._undisturbed):
                yield self._complete(storage)
                storage = None
        if storage is not None:
            yield self._complete(storage)

    def _complete(self, storage: Path) -> Kill:
        """Run a study to its end, and compare."""
        command = Command(self._folder, storage)
        last = Kill(target="none", phase="to the end", status=command.wait())
        last.left = command.left()
        last.wrong = "" if last.status == 0 else command.said()[-500:]
        if recorded(storage) != self._undisturbed:
            last.wrong += " the study differs from the undisturbed one"
        return last

    def _kill(self, target: str, storage: Path) -> Kill:
        before = recorded(storage)
        command = Command(self._folder, storage)
        phase = self._draw.choice(ONLY.get(target, self._phases))
        done = Kill(target=target, phase=phase)
        is_training = lambda: len(recorded(storage)) > len(before)  # noqa: E731
        if done.phase == "training":
            _wait(lambda: is_training() or command.process.poll() is not None)
            time.sleep(self._draw.uniform(0, 1))
        else:
            _wait(lambda: bool(command.find(target)) or command.process.poll() is not None)
            time.sleep(self._draw.choice([0, 0.05, 0.3, 1, 3]) * self._draw.random())
        found = [] if command.process.poll() is not None else command.find(target)
        if not found:
            done.phase += ", missed"
        elif target == "beforehand" or self._draw.random() < 0.5:
            kill(found[0])
        else:
            for pid in found:
                kill(pid)
        killed_at = time.monotonic()
        done.status = command.wait()
        done.seconds = round(time.monotonic() - killed_at, 1)
        said = command.said()
        done.said = (said.strip().splitlines() or [""])[-1]
        done.left = command.left()
        done.wrong = self._what_is_wrong(done, command, said, recorded(storage))
        return done

    def _what_is_wrong(
        self, done: Kill, command: Command, said: str, now: dict[tuple[int, int], Any]
    ) -> str:
        wrong = []
        if done.status is None:
            wrong.append("it hung")
        if done.status not in (0, 1) and done.target != "command":
            wrong.append(f"status {done.status}")
        if done.status == 1 and not done.said.startswith("twohead: "):
            wrong.append("its last line is not ours")
        if "Traceback" in said:
            wrong.append("a traceback")
        if done.left:
            wrong.append(f"{done.left} processes left")
        if command.folders() and done.target not in ("command", "watchdog"):
            wrong.append("a temporary folder left")
        if any(self._undisturbed.get(place) != value for place, value in now.items()):
            wrong.append("what is recorded differs")
        return ", ".join(wrong)


def _wait(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + HANG_SECONDS
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)


@contextmanager
def _short_folder() -> Iterator[Path]:
    folder = tempfile.mkdtemp(prefix="k-", dir="/tmp")
    try:
        yield Path(folder)
    finally:
        for tag in Command.begun:
            kill_all(tag)
        shutil.rmtree(folder, ignore_errors=True)


def kills(
    num: int,
    seed: int,
    say: Callable[[Kill], None],
    *,
    kinds: Sequence[str] = tuple(TARGETS),
    phases: Sequence[str] = tuple(PHASES),
) -> list[Kill]:
    """Kill so many times, each kind equally often; return the ledger.

    Args:
        num: Of kills.
        seed: Of all that is random: order, moments.
        say: Takes each line of the ledger.
        kinds: Of what is killed; see `TARGETS`.
        phases: Of `PHASES`.
    """
    draw = random.Random(seed)
    targets = [kinds[place % len(kinds)] for place in range(num)]
    draw.shuffle(targets)
    ledger = []
    with _short_folder() as folder:
        for line in Killer(folder, draw, list(phases)).kill_all(targets):
            ledger.append(line)
            say(line)
    return ledger


def _print(line: Kill) -> None:
    print(json.dumps(asdict(line)), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="*", default=list(TARGETS), choices=list(TARGETS))
    args = parser.parse_args()
    ledger = kills(args.num, args.seed, _print, kinds=args.kinds)
    landed = [one for one in ledger if one.target != "none" and "missed" not in one.phase]
    print(f"{len(landed)} kills landed: {dict(Counter(one.target for one in landed))}")
    print(f"phases: {dict(Counter(one.phase for one in landed))}")
    print(f"exit statuses: {dict(Counter(one.status for one in landed))}")
    print(f"longest from a kill to the end: {max(one.seconds for one in landed)} s")
    wrong = [one for one in ledger if one.wrong]
    print(f"wrong: {len(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
