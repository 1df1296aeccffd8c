"""The arguments of `twohead doctor`."""

import argparse
from collections.abc import Callable
from typing import Any

MODULE = "search.doctor.diagnosis"


def add_doctor(commands: Any, add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command.

    Args:
        commands: The subparsers to add to.
        add: `search.cli.add`.
    """
    parser = add(
        commands,
        "doctor",
        "doctor",
        "Say on one page whether this machine, or a cluster, is fit, and what to do where it is "
        "not. Exit status 1 if it is not.",
        MODULE,
    )
    parser.add_argument(
        "--address",
        metavar="A",
        help="look on a cluster, too: the file that `ray up` was given, a URL, or host:port",
    )
    parser.add_argument("--storage", metavar="URI", help="try this folder or URI for studies")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
