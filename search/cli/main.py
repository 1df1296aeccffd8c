"""The `twohead` command: its arguments, its errors and its exit status."""

import argparse
import errno
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from rich.console import Console


DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses."""

LOCAL = "search.cli.local"
"""The module of the commands that run here, unless they have an ``--address``."""

STARTING_RAY = ("run", "resume", "confirm")
"""The commands of that module that start Ray, or join it."""

NOBODY_READS = "nobody reads the output any more"
LOST = (errno.EPIPE, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What writing to a pipe, to a terminal that is gone, or to a full disk ends in."""

FILE_WIDTH = 120
"""Columns of what goes to a file or a pipe, unless ``COLUMNS`` says otherwise."""


def main(
    argv: Sequence[str] | None = None,
    *,
    place: Callable[[argparse.Namespace], None] | None = None,
) -> int:
    """Run one command.

    Args:
        argv: The arguments; None for those of the process, which then is the command itself: one
            that starts Ray runs in a child of it (`search.cli.supervisor`).
        place: Changes what was parsed before it is run.

    Returns:
        0 done, 2 bad input, 130 interrupted, 1 anything else.
    """
    _make_printable()
    try:
        args = make_parser().parse_args(argv)
    except SystemExit as end:
        return int(end.code or 0)
    if argv is None and _starts_ray(args):
        from search.cli.supervisor import supervise

        return supervise(lambda: _drive(args, sys.argv[1:]), _complain)
    return _drive(args, sys.argv[1:] if argv is None else argv, place)


def _starts_ray(args: argparse.Namespace) -> bool:
    is_elsewhere = getattr(args, "address", None) is not None
    return args.module == LOCAL and args.command in STARTING_RAY and not is_elsewhere


def _drive(
    args: argparse.Namespace,
    argv: Sequence[str],
    place: Callable[[argparse.Namespace], None] | None = None,
) -> int:
    """Run what was parsed, say what goes wrong, and return the exit status."""
    try:
        if place is not None:
            place(args)
        with _warnings_in_words():
            return _run(args, argv)
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED
    except SystemExit:  # rich raises it where who read the output has gone (rich 14)
        return _end_unread(args, NOBODY_READS)
    except Exception as error:
        if isinstance(error, OSError) and _is_of_output(error):
            return _end_unread(args, _let_go(error))
        return fail(error, show=getattr(args, "traceback", False))


def _is_of_output(error: OSError) -> bool:
    """Tell whether it is the output that cannot be written: storage has errors of its own."""
    return error.filename is None and error.errno in LOST


def _let_go(error: OSError) -> str:
    """Let the output go nowhere, as Python would complain again when it flushes; return why."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return NOBODY_READS
    return f"the output cannot be written ({error.strerror})"


def _end_unread(args: argparse.Namespace, why: str) -> int:
    """Say why a command ends early, but for one that merely prints, as into ``head``."""
    if _starts_ray(args):
        _complain(f"interrupted: {why}; what was recorded is kept, the same command goes on")
    elif why != NOBODY_READS:
        _complain(why)
    return FAILED


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; ``command`` names a function of ``module``."""
    parser = _Parser(
        prog="twohead",
        description="Search the hyperparameters of Keras models with several heads.",
        epilog="Exit status: 0 done, 2 bad input, 130 interrupted, 1 anything else.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_run(commands)
    _add_resume(commands)
    _add_best(commands)
    _add_confirm(commands)
    _add_show(commands)
    _add_list(commands)
    _add_data(commands)
    _add_cluster_yaml(commands)
    add_cluster_commands(commands, add)
    add_doctor(commands, add)
    return parser


class _Parser(argparse.ArgumentParser):
    """Complains in one line, as all else does."""

    def error(self, message: str) -> NoReturn:
        _complain(f"{message} (see `{self.prog} --help`)")
        raise SystemExit(BAD_INPUT)


def add(
    commands: Any, name: str, function: str, text: str, module: str = LOCAL
) -> argparse.ArgumentParser:
    """Add the parser of one command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text, allow_abbrev=False
    )
    parser.set_defaults(command=function, module=module)
    parser.add_argument(
        "--traceback", action="store_true", help="show where an unexpected error arose"
    )
    return parser


def _add_run(commands: Any) -> None:
    parser = add(
        commands,
        "run",
        "run",
        "Run a study to its end; without a file the bundled digits. What is unfinished is "
        "resumed, what is finished is printed.",
    )
    parser.add_argument("study", nargs="?", metavar="STUDY.yaml", help="the study file")
    add_budget(parser)
    parser.add_argument("--storage", metavar="DIR", help="folder or URI for studies (studies)")
    parser.add_argument("--seed", type=int, metavar="N", help="seed of the study (0)")
    parser.add_argument("--concurrent", type=int, metavar="N", help="trials side by side")
    parser.add_argument("--name", metavar="NAME", help="name of the study")


def _add_resume(commands: Any) -> None:
    parser = add(commands, "resume", "resume", "Run a study on, with a larger budget perhaps.")
    _add_folder(parser)
    add_address(parser)
    add_budget(parser)


def _add_best(commands: Any) -> None:
    parser = add(commands, "best", "best", "Print the best config of a study.")
    _add_folder(parser)
    add_address(parser)
    _add_policy(parser)
    parser.add_argument(
        "--test", action="store_true", help="measure it on the test split if that was not done"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _add_confirm(commands: Any) -> None:
    parser = add(
        commands,
        "confirm",
        "confirm",
        "Train the leading trials of a study again with fresh seeds: a winner must survive its "
        "luck. What was trained before counts; more seeds or trials only add to it.",
    )
    _add_folder(parser)
    parser.add_argument("--seeds", type=int, default=2, metavar="N", help="fresh seeds (2)")
    parser.add_argument(
        "--top", type=int, default=3, metavar="K", help="leading trials besides the reference (3)"
    )
    _add_policy(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _add_show(commands: Any) -> None:
    parser = add(commands, "show", "show", "Print a study's trials, its front and its seconds.")
    _add_folder(parser)
    add_address(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _add_list(commands: Any) -> None:
    parser = add(commands, "list", "list_", "Print a line per study.")
    add_address(parser)
    parser.add_argument(
        "storage", nargs="?", default="studies", metavar="STORAGE", help="folder or URI (studies)"
    )


def _add_data(commands: Any) -> None:
    text = "Make or check a data set."
    data = commands.add_parser("data", help=text, description=text, allow_abbrev=False)
    parts = data.add_subparsers(title="commands", metavar="COMMAND", required=True)
    digits = add(parts, "digits", "data_digits", "Write images of handwritten digits.")
    digits.add_argument("out", metavar="OUT", help="a .parquet file, or a folder for one")
    digits.add_argument("--num", type=int, default=5000, metavar="N", help="images (5000)")
    digits.add_argument(
        "--image-size", type=int, default=32, metavar="PIXELS", help="of each side (32)"
    )
    digits.add_argument("--seed", type=int, default=0, metavar="N", help="(0)")
    check = add(parts, "check", "data_check", "Check the data set of a study file.")
    check.add_argument("study", metavar="STUDY.yaml", help="the study file")


def _add_cluster_yaml(commands: Any) -> None:
    text = "Print or write the file that `ray up` launches a cluster from."
    parser = add(commands, "cluster-yaml", "cluster_yaml", text)
    parser.add_argument("out", nargs="?", metavar="OUT", help="a new file; absent: print it")
    parser.add_argument(
        "--provider",
        choices=("aws", "local"),
        default="aws",
        help="aws (default), or local: machines of your own",
    )


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "folder", metavar="STUDY", help="its folder, or its name where it lies in ./studies"
    )


def _add_policy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--policy", metavar="P", help="geometric_mean (default), ideal_point, lexicographic, head"
    )
    parser.add_argument("--head", metavar="H", help="take the best of this head alone")
    parser.add_argument(
        "--exponents", metavar="H=E,...", help="weigh heads, such as c_output=2,r_output=1"
    )


def _run(args: argparse.Namespace, argv: Sequence[str]) -> int:
    console = plain_console()
    status: int
    if args.module == LOCAL and getattr(args, "address", None) is not None:
        from search.cli.cluster import run_there

        status = run_there(args, argv, console)
    else:
        status = getattr(import_module(args.module), args.command)(args, console)
    sys.stdout.flush()
    return status


@contextmanager
def _warnings_in_words() -> Iterator[None]:
    """Print our own warnings like our errors, without a line of source, each time they come."""
    from search.errors import StudyWarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, StudyWarning):
            _complain(f"warning: {message}")
        else:
            former(message, category, *where, **more)

    with warnings.catch_warnings():
        former, warnings.showwarning = warnings.showwarning, show
        warnings.simplefilter("always", StudyWarning)
        yield


def plain_console() -> "Console":
    """Return where results are printed; names and data never count as markup."""
    from rich.console import Console

    is_file = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(
        markup=False, emoji=False, highlight=False, width=FILE_WIDTH if is_file else None
    )


def _make_printable() -> None:
    """Replace what the terminal's encoding lacks, instead of ending on it.

    Streams that were closed before, as by ``>&-`` or a daemon, lead nowhere: else Python has none
    of them, and what is opened next takes their numbers.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            handle = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(handle, True)
            setattr(sys, name, open(handle, mode, closefd=False))  # noqa: SIM115 - to the end
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def fail(error: Exception, *, show: bool) -> int:
    """Say in one message what went wrong, and return the exit status."""
    from trainables.errors import InputError, SearchError
    from trainables.storage.uri_keys import without_keys_in

    if isinstance(error, SearchError):
        _complain(str(error))
        return BAD_INPUT if isinstance(error, InputError) else FAILED
    text = without_keys_in("".join(traceback.format_exception(error)))
    said = f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if show:
        sys.stderr.write(text)
        _complain(said)
    else:
        _complain(f"{said}; {_keep(text)}")
    return FAILED


def _keep(text: str) -> str:
    """Write a traceback where it can be found; return what to say of it."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="twohead-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
    except OSError:
        return "--traceback shows where"
    return f"the traceback is in {file.name}"


def _complain(message: str) -> None:
    from search.text import clean

    sys.stderr.write(f"twohead: {clean(message, keep_lines=True)}\n")


def _version() -> str:
    try:
        return version("twohead-search")
    except PackageNotFoundError:
        return "(not installed)"


CLUSTER = "search.cli.cluster"

Add = Callable[..., argparse.ArgumentParser]


def add_cluster_commands(commands: Any, add: Add) -> None:
    """Add the commands that only make sense on a cluster.

    Args:
        commands: The subparsers to add to.
        add: `search.cli.main.add`.
    """
    _add_submit(commands, add)
    status = add(
        commands,
        "status",
        "status",
        "Print where a study on a cluster stands; without a name, all of them.",
        CLUSTER,
    )
    status.add_argument("name", nargs="?", metavar="NAME", help="the study's name")
    logs = add(commands, "logs", "logs", "Print what a study on a cluster has printed.", CLUSTER)
    _add_name(logs)
    logs.add_argument("--follow", action="store_true", help="go on until its job ends")
    stop = add(
        commands,
        "stop",
        "stop",
        "End a study's job on a cluster in order.",
        CLUSTER,
    )
    _add_name(stop)
    studies = add(commands, "studies", "studies", "Print a line per study of a cluster.", CLUSTER)
    for parser in (status, logs, stop, studies):
        add_address(parser)


def _add_submit(commands: Any, add: Add) -> None:
    parser = add(
        commands,
        "submit",
        "submit",
        "Have a cluster run a study, without a file the bundled digits, and return at once.",
        CLUSTER,
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
        if parser.get_default("module") == CLUSTER
        else "look on a cluster: the file that `ray up` was given, a URL, or host:port",
    )


def add_budget(parser: argparse.ArgumentParser) -> None:
    """Add the size of a study."""
    parser.add_argument("--trials", type=int, metavar="N", help="how many trials in all")
    parser.add_argument("--epochs", type=int, metavar="N", help="epochs of a whole trial")


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the study's name")


DOCTOR = "search.doctor.doctor"


def add_doctor(commands: Any, add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the command.

    Args:
        commands: The subparsers to add to.
        add: `search.cli.main.add`.
    """
    parser = add(
        commands,
        "doctor",
        "doctor",
        "Say on one page whether this machine, or a cluster, is fit, and what to do where it is "
        "not. Exit status 1 if it is not.",
        DOCTOR,
    )
    parser.add_argument(
        "--address",
        metavar="A",
        help="look on a cluster, too: the file that `ray up` was given, a URL, or host:port",
    )
    parser.add_argument("--storage", metavar="URI", help="try this folder or URI for studies")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


if __name__ == "__main__":
    sys.exit(main())
