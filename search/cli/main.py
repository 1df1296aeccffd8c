"""The `twohead` command: its table of commands, its errors and its exit status.

A new command is a row of ``COMMANDS`` below and the function that the row names, which takes the
parsed arguments and a console and returns the exit status (`search.cli.local` works here,
`search.cli.cluster` speaks to a cluster). What takes long is imported in the function.
"""

import argparse
import errno
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from search.errors import InputError, SearchError, StudyWarning
from search.text import clean, our_version
from trainables.storage.uri_keys import without_keys_in

if TYPE_CHECKING:
    from rich.console import Console

DONE, FAILED, BAD_INPUT, INTERRUPTED, UNREAD = 0, 1, 2, 130, 141
"""Exit statuses; ``UNREAD`` is that of any command whose pipe nobody reads (128 + SIGPIPE)."""

NOBODY_READS = "nobody reads the output any more"
LOST = (errno.EPIPE, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What writing to a pipe, to a terminal that is gone, or to a full disk ends in."""

FILE_WIDTH = 120
"""Columns of what goes to a file or a pipe, unless ``COLUMNS`` says otherwise."""

Argument = tuple[str, dict[str, Any]]
"""The name of an argument, and the options of `argparse.ArgumentParser.add_argument`."""


@dataclass(frozen=True, slots=True)
class Command:
    """A row of the table."""

    name: str
    """Of two words in one of ``GROUPS``."""
    text: str
    runs: str
    """``module:function`` in `search`."""
    arguments: tuple[Argument, ...] = ()
    runs_there: str = ""
    """The function in its place where ``--address`` names a cluster."""
    starts_ray: bool = False
    """Whether it starts a Ray on this machine, or joins one."""
    only_reads: bool = False
    """Whether a cluster's head runs it for whoever asks: it prints alike wherever it runs."""


def _value(name: str, metavar: str, text: str, **options: Any) -> Argument:
    return name, {"metavar": metavar, "help": text, **options}


def _number(name: str, metavar: str, text: str, default: int | None = None) -> Argument:
    return _value(name, metavar, text, type=int, default=default)


def _flag(name: str, text: str) -> Argument:
    return name, {"action": "store_true", "help": text}


STUDY_FILE = _value("study", "STUDY.yaml", "the study file", nargs="?")
FOLDER = _value("folder", "STUDY", "its folder, or its name where it lies in ./studies")
NAME = _value("name", "NAME", "the study's name")
CLUSTER = "the file that `ray up` was given, a URL, or host:port"
LOOK_THERE = _value("--address", "A", f"look on a cluster: {CLUSTER}")
DEFAULT_ADDRESS = "(RAY_API_SERVER_ADDRESS, else http://127.0.0.1:8265)"
ADDRESS = _value("--address", "A", f"a cluster: {CLUSTER} {DEFAULT_ADDRESS}")
BUDGET = (
    _number("--trials", "N", "how many trials in all"),
    _number("--epochs", "N", "epochs of a whole trial"),
)
NEW_STUDY = (
    _number("--seed", "N", "seed of the study (0)"),
    _number("--concurrent", "N", "trials side by side"),
    _value("--name", "NAME", "name of the study"),
)
POLICY = (
    _value("--policy", "P", "geometric_mean (default), ideal_point, lexicographic, head"),
    _value("--head", "H", "take the best of this head alone"),
    _value("--exponents", "H=E,...", "weigh heads, such as c_output=2,r_output=1"),
)
DATA = _value("--data", "PATH", "where the study's data set is now, if it is not found")
TEST = _flag("--test", "measure it on the test split if that was not done")
JSON = _flag("--json", "print one JSON object")

PROVIDERS = {"aws": "cluster.yaml", "local": "cluster-local.yaml"}
"""The file for each of Ray's providers that there is one for."""
PROVIDER_HELP = "aws (default), or local: machines of your own"

GROUPS = {"data": "Make or check a data set."}
COMMANDS = (
    Command(
        "run",
        "Run a study to its end; without a file the bundled digits. What is unfinished is "
        "resumed, what is finished is printed.",
        "cli.local:run",
        (
            *(STUDY_FILE, *BUDGET),
            _value("--storage", "DIR", "folder or URI for studies (studies)"),
            *NEW_STUDY,
        ),
        starts_ray=True,
    ),
    Command(
        "resume",
        "Run a study on, with a larger budget perhaps.",
        "cli.local:resume",
        (
            *(FOLDER, LOOK_THERE, *BUDGET, DATA),
            _flag("--retry-failed", "train failed trials again"),
        ),
        runs_there="cli.cluster:resume",
        starts_ray=True,
    ),
    Command(
        "best",
        "Print the best config of a study.",
        "cli.local:best",
        (FOLDER, LOOK_THERE, *POLICY, TEST, DATA, JSON),
        runs_there="cli.cluster:relay",
        only_reads=True,
    ),
    Command(
        "confirm",
        "Train the leading trials of a study again with fresh seeds: a winner must survive its "
        "luck. What was trained before counts; more seeds or trials only add to it.",
        "cli.local:confirm",
        (
            FOLDER,
            _number("--seeds", "N", "fresh seeds (2)", 2),
            _number("--top", "K", "leading trials besides the reference (3)", 3),
            *(*POLICY, DATA, JSON),
        ),
        starts_ray=True,
    ),
    Command(
        "show",
        "Print a study's trials, its front and its seconds.",
        "cli.local:show",
        (FOLDER, LOOK_THERE, JSON),
        runs_there="cli.cluster:relay",
        only_reads=True,
    ),
    Command(
        "clean",
        "Delete what complete trials keep for a larger epoch budget. Weights stay; under such a "
        "budget these trials are trained again from their first epoch.",
        "cli.local:clean",
        (
            FOLDER,
            _flag("--dry-run", "only say what would be freed"),
            _flag("--stopped", "also what stopped trials keep, for more trials"),
        ),
    ),
    Command(
        "list",
        "Print a line per study.",
        "cli.local:list_",
        (
            LOOK_THERE,
            _value("storage", "STORAGE", "folder or URI (studies)", nargs="?", default="studies"),
        ),
        runs_there="cli.cluster:relay",
        only_reads=True,
    ),
    Command(
        "data digits",
        "Write images of handwritten digits.",
        "cli.local:data_digits",
        (
            _value("out", "OUT", "a .parquet file, or a folder for one"),
            _number("--num", "N", "images (5000)", 5000),
            _number("--image-size", "PIXELS", "of each side (32)", 32),
            _number("--seed", "N", "(0)", 0),
        ),
    ),
    Command(
        "data check",
        "Check the data set of a study file.",
        "cli.local:data_check",
        (
            _value("study", "STUDY.yaml", "the study file"),
            _flag("--fast", "look at the headers of images only"),
        ),
    ),
    Command(
        "cluster-yaml",
        "Print or write the file that `ray up` launches a cluster from.",
        "cli.local:cluster_yaml",
        (
            _value("out", "OUT", "a new file; absent: print it", nargs="?"),
            ("--provider", {"choices": [*PROVIDERS], "default": "aws", "help": PROVIDER_HELP}),
        ),
    ),
    Command(
        "submit",
        "Have a cluster run a study, without a file the bundled digits, and return at once.",
        "cli.cluster:submit",
        (
            *(STUDY_FILE, ADDRESS, *BUDGET),
            _value("--storage", "URI", "a URI or a path on all nodes (the cluster's own)"),
            *NEW_STUDY,
        ),
    ),
    Command(
        "status",
        "Print where a study on a cluster stands; without a name, all of them.",
        "cli.cluster:status",
        (_value("name", "NAME", "the study's name", nargs="?"), ADDRESS),
    ),
    Command(
        "logs",
        "Print what a study on a cluster has printed.",
        "cli.cluster:logs",
        (NAME, _flag("--follow", "go on until its job ends"), ADDRESS),
    ),
    Command(
        "stop", "End a study's job on a cluster in order.", "cli.cluster:stop", (NAME, ADDRESS)
    ),
    Command("studies", "Print a line per study of a cluster.", "cli.cluster:studies", (ADDRESS,)),
    Command(
        "doctor",
        "Say on one page whether this machine, or a cluster, is fit, and what to do where it is "
        "not. Exit status 1 if it is not.",
        "doctor.doctor:doctor",
        (
            _value("--address", "A", f"look on a cluster, too: {CLUSTER}"),
            _value("--storage", "URI", "try this folder or URI for studies"),
            JSON,
        ),
        only_reads=True,
    ),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The arguments; None for those of the process, which then is the command itself: one
            that starts Ray runs in a child of it (`search.cli.supervisor`).

    Returns:
        0 done, 2 bad input, 130 interrupted, 1 anything else.
    """
    _make_printable()
    try:
        args = _make_parser().parse_args(argv)
    except SystemExit as end:
        return int(end.code or 0)
    if argv is None and _starts_ray(args):
        from search.cli.supervisor import supervise

        return supervise(lambda: drive(args), complain)
    return drive(args)


def _make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; ``command`` is the row of what was asked for."""
    parser = _Parser(
        prog="twohead",
        description="Search the hyperparameters of Keras models with several heads.",
        epilog="Exit status: 0 done, 2 bad input, 130 interrupted, 1 anything else.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {our_version()}")
    groups: dict[str, Any] = {"": _add_commands(parser)}
    for command in COMMANDS:
        group, _, name = command.name.rpartition(" ")
        if group not in groups:
            groups[group] = _add_commands(_add_parser(groups[""], group, GROUPS[group]))
        one = _add_parser(groups[group], name, command.text)
        one.set_defaults(command=command)
        one.add_argument(
            "--traceback", action="store_true", help="show where an unexpected error arose"
        )
        for argument, options in command.arguments:
            one.add_argument(argument, **options)
    return parser


class _Parser(argparse.ArgumentParser):
    """Complains in one line, as all else does."""

    def error(self, message: str) -> NoReturn:
        complain(f"{message} (see `{self.prog} --help`)")
        raise SystemExit(BAD_INPUT)


def _add_commands(parser: argparse.ArgumentParser) -> Any:
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def _add_parser(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text, allow_abbrev=False
    )
    return parser


def drive(args: argparse.Namespace) -> int:
    """Run what was parsed, say what goes wrong, and return the exit status."""
    try:
        with _warnings_in_words():
            return _run(args)
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except SystemExit:  # rich raises it where who read the output has gone (rich 14)
        return _end_unread(args, NOBODY_READS)
    except Exception as error:
        # Of the output, which names no file: storage has errors of its own.
        if isinstance(error, OSError) and error.filename is None and error.errno in LOST:
            return _end_unread(args, _let_go(error))
        return fail(error, show=args.traceback)


def _run(args: argparse.Namespace) -> int:
    command: Command = args.command
    module, _, function = ((_is_there(args) and command.runs_there) or command.runs).partition(":")
    status: int = getattr(import_module(f"search.{module}"), function)(args, plain_console())
    sys.stdout.flush()
    return status


def _is_there(args: argparse.Namespace) -> bool:
    return getattr(args, "address", None) is not None


def _starts_ray(args: argparse.Namespace) -> bool:
    return args.command.starts_ray and not _is_there(args)


def _let_go(error: OSError) -> str:
    """Let the output go nowhere, as Python would complain again when it flushes; return why."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return NOBODY_READS
    return f"the output cannot be written ({error.strerror})"


def _end_unread(args: argparse.Namespace, why: str) -> int:
    """Say why a command ends early, but for one that merely prints, as into ``head``."""
    if _starts_ray(args):
        complain(f"interrupted: {why}; what was recorded is kept, the same command goes on")
        return FAILED
    if why == NOBODY_READS:
        return UNREAD
    complain(why)
    return FAILED


@contextmanager
def _warnings_in_words() -> Iterator[None]:
    """Print our own warnings like our errors, without a line of source, each time they come."""

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, StudyWarning):
            complain(f"warning: {message}")
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
    if isinstance(error, FileNotFoundError) and _has_no_folder():
        complain("the current folder was deleted: change to one that is there")
        return BAD_INPUT
    if isinstance(error, SearchError):
        complain(str(error))
        return BAD_INPUT if isinstance(error, InputError) else FAILED
    text = without_keys_in("".join(traceback.format_exception(error)))
    said = f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if show:
        sys.stderr.write(text)
    complain(said if show else f"{said}; {_keep(text)}")
    return FAILED


def _has_no_folder() -> bool:
    """Tell whether the current folder has gone."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


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


def complain(message: str) -> None:
    """Write a line, or lines, of what the reader should know on the error stream.

    Where nobody reads that any more the exit status says it alone.
    """
    with suppress(BrokenPipeError):
        sys.stderr.write(f"twohead: {clean(message, keep_lines=True)}\n")


if __name__ == "__main__":
    sys.exit(main())
