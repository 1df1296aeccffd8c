"""What runs on a cluster's head: ``python -P -m search.remote.job run|drive|ask ...``.

A job of Ray's Jobs API starts it; `search.client` submits the jobs.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COMMAND = ("python", "-P", "-m", "search.remote.job")
"""Starts this on a node. ``-P``: what lies in the folder that Ray was started in hides nothing."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a study, or answer a question.

    Returns:
        The exit status: 0 done or answered, else as of `search.cli.main`.
    """
    parser = argparse.ArgumentParser(prog="search.remote.job", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("run", "drive"):
        commands.add_parser(name).add_argument("request", type=Path)
    ask = commands.add_parser("ask")
    ask.add_argument("question")
    ask.add_argument("asked")
    args = parser.parse_args(argv)
    if args.command == "ask":
        return _answer(args.question, json.loads(args.asked))
    from search.remote import job_run

    if args.command == "drive":
        return job_run.drive(args.request)
    here = [sys.executable, *COMMAND[1:]]
    return job_run.supervise([*here, "drive", str(args.request)])


def _answer(question: str, asked: dict[str, Any]) -> int:
    from search.errors import SearchError
    from search.remote import job_ask
    from search.remote.answers import error_to_plain, to_log

    storage = str(asked.get("storage") or "")
    try:
        if "argv" in asked:
            answer = job_ask.relay(asked["argv"], storage=storage, columns=asked.get("columns"))
        else:
            answer = job_ask.tell(asked["what"], asked["options"], storage=storage)
    except SearchError as error:
        answer = {"error": error_to_plain(error)}
    sys.stdout.write("\n" + to_log(answer, question))
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
