"""Runs a stub study in a process of its own: ``python -m tests.support.driver STORAGE [OPTIONS]``.

``--after KIND:N`` kills this process and its whole Ray directly after the N-th log record of a
kind; ``--confirm OPTIONS`` trains the leading points of the study again instead.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from search.errors import Interrupted, SearchError
from search.record.log import StudyLog
from search.running.confirm import confirm
from search.running.run import run
from tests.support import stub_run
from tests.support.processes import TAG, kill_all
from tests.support.stub_study import ROOT, stub_study

INTERRUPTED, FAILED = 130, 1


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("storage", type=Path)
    parser.add_argument("--study", default="{}")
    parser.add_argument("--after", default="")
    parser.add_argument("--confirm", default="")
    args = parser.parse_args()
    os.environ["PYTHONPATH"] = ROOT  # for Ray's processes
    if args.after:
        kind, _, count = args.after.partition(":")
        die_after(kind, int(count))
    study = stub_study(args.storage, **json.loads(args.study))
    try:
        if args.confirm:
            options = json.loads(args.confirm)
            print(confirm(study.folder, factory=stub_run.FACTORY, **options).verdict)
            return 0
        result = run(study, factory=stub_run.FACTORY)
    except Interrupted:
        return INTERRUPTED
    except SearchError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return FAILED
    print("ray" in sys.modules, len(result.trials))
    return 0


def die_after(kind: str, count: int) -> None:
    """Kill everything once so many decisions of this kind are in the log."""
    record = StudyLog.record
    seen = 0

    def record_and_die(log: StudyLog, *decisions: Any) -> Any:
        nonlocal seen
        logged = record(log, *decisions)
        seen += sum(one.kind == kind for one in decisions)
        if seen >= count:
            kill_all(os.environ[TAG])
        return logged

    StudyLog.record = record_and_die  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.exit(main())
