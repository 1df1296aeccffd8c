"""The arguments of the `twohead` commands that speak to a cluster."""

import argparse
from collections.abc import Callable
from typing import Any

MODULE = "search.remote.commands"

Add = Callable[..., argparse.ArgumentParser]


def add_cluster_commands(commands: Any, add: Add) -> None:
    """Add the commands that only make sense on a cluster.

    Args:
        commands: The subparsers to add to.
        add: `search.cli.add`.
    """
    _add_submit(commands, add)
    status = add(
        commands,
        "status",
        "status",
        "Print where a study on a cluster stands; without a name, all of them.",
        MODULE,
    )
    status.add_argument("name", nargs="?", metavar="NAME", help="the study's name")
    logs = add(commands, "logs", "logs", "Print what a study on a cluster has printed.", MODULE)
    _add_name(logs)
    logs.add_argument("--follow", action="store_true", help="go on until its job ends")
    stop = add(
        commands,
        "stop",
        "stop",
        "End a study's job on a cluster in order.",
        MODULE,
    )
    _add_name(stop)
    studies = add(commands, "studies", "studies", "Print a line per study of a cluster.", MODULE)
    for parser in (status, logs, stop, studies):
        add_address(parser)


def _add_submit(commands: Any, add: Add) -> None:
    parser = add(
        commands,
        "submit",
        "submit",
        "Have a cluster run a study, without a file the bundled digits, and return at once.",
        MODULE,
    )
    parser.add_argument("study", nargs="?", metavar="STUDY.yaml", help="the study file")
    add_address(parser)
    add_budget(parser)
    parser.add_argument(
        "--storage", metavar="URI", help="a URI or a path on all nodes (the cluster's own)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="seed of the study (0)")
    parser.add_argument("--concurrent", type=int, metavar="N", help="trials side by side")
    parser.add_argument("--name", metavar="NAME", help="name of the study")


def add_address(parser: argparse.ArgumentParser) -> None:
    """Add where the cluster is."""
    parser.add_argument(
        "--address",
        metavar="A",
        help="a cluster: the file that `ray up` was given, a URL, or host:port "
        "(RAY_API_SERVER_ADDRESS, else http://127.0.0.1:8265)"
        if parser.get_default("module") == MODULE
        else "look on a cluster: the file that `ray up` was given, a URL, or host:port",
    )


def add_budget(parser: argparse.ArgumentParser) -> None:
    """Add the size of a study."""
    parser.add_argument("--trials", type=int, metavar="N", help="how many trials in all")
    parser.add_argument("--epochs", type=int, metavar="N", help="epochs of a whole trial")


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the study's name")
