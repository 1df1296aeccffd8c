"""What the `twohead` commands do that speak to a cluster."""

import os
import shutil
import sys
import time
from argparse import Namespace

from rich.console import Console
from rich.text import Text

from search.cli.local import study_of
from search.cli.main import DONE
from search.record.metrics import point_words
from search.remote.client import Client
from search.remote.questions import StudyStatus
from search.remote.request import is_place
from search.remote.submit import Submitted
from search.study.study import DEFAULT_STORAGE, Study
from search.study.yaml_file import said_storage
from search.text import clean, duration, quoted, value
from search.view.study import state_cell, studies_table
from search.view.tables import LABEL_WIDTH, STATE_STYLES, add_row, say


def submit(args: Namespace, console: Console) -> int:
    """Have a cluster run the study of a file, or the digits."""
    storage = args.storage or (_said(args.study) if args.study else None)
    study = study_of(args, None if storage else DEFAULT_STORAGE)
    with Client(args.address) as client:
        submitted = client.submit(study, storage=storage)
        _print_submitted(console, submitted, args.address, client.address)
    return DONE


def status(args: Namespace, console: Console) -> int:
    """Print where one study stands, or all."""
    if args.name is None:
        return studies(args, console)
    with Client(args.address) as client:
        _print_status(console, client.status(args.name))
    return DONE


def studies(args: Namespace, console: Console) -> int:
    """Print a line per study."""
    with Client(args.address) as client:
        found, address = client.studies(), client.address
    if not found:
        say(console, f"no studies on the cluster at {address}")
        return DONE
    table = studies_table("job")
    for one in found:
        best = "-" if one.best is None else point_words(one.best)
        add_row(table, one.name, state_cell(one.state), _trials(one), best, one.job_id)
    console.print(table)
    return DONE


def logs(args: Namespace, console: Console) -> int:
    """Print what a study's newest job has printed."""
    with Client(args.address) as client:
        for line in client.logs(args.name, follow=args.follow):
            sys.stdout.write(f"{clean(line.expandtabs())}\n")
            sys.stdout.flush()
    return DONE


def stop(args: Namespace, console: Console) -> int:
    """End a study's job in order, and wait for it."""
    with Client(args.address) as client:
        stopped, address = client.stop(args.name), client.address
    _print_status(console, stopped)
    if stopped.state == "interrupted":
        where = _where(args.address or address)
        say(console, f"next     twohead resume {stopped.name}{where}")
    return DONE


def relay(args: Namespace, console: Console) -> int:
    """Run a command on a cluster that only reads, and print what it printed there."""
    arguments = {k: given for k, given in vars(args).items() if k not in {"command", "address"}}
    # On a terminal as wide as it; else as wide as any file, so that the same is printed.
    is_file = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    columns = None if is_file else shutil.get_terminal_size().columns
    with Client(args.address) as client:
        answer = client.relay(args.command.name, arguments, columns=columns)
    sys.stdout.write(answer.out)
    sys.stdout.flush()
    sys.stderr.write(answer.err)
    return answer.status


def resume(args: Namespace, console: Console) -> int:
    """Have a cluster go on with a study, by its name or with its file."""
    budget = {"trials": args.trials, "epochs": args.epochs}
    with Client(args.address) as client:
        if args.folder.endswith((".yaml", ".yml")) or os.path.isfile(args.folder):
            storage = _said(args.folder)
            study = Study.from_yaml(
                args.folder, storage=None if storage else DEFAULT_STORAGE, data=args.data
            )
            study, again = study.with_budget(**budget), args.retry_failed
            submitted = client.submit(study, storage=storage, retry_failed=again)
        else:
            submitted = client.resume(
                args.folder, **budget, data=args.data, retry_failed=args.retry_failed
            )
    _print_submitted(console, submitted, args.address, args.address)
    return DONE


def _said(file: str) -> str | None:
    """Return the storage of a study file if it means the same on a cluster."""
    said = said_storage(file)
    return said if said and is_place(said) else None


def _print_submitted(
    console: Console, submitted: Submitted, said: str | None, address: str
) -> None:
    where = _where(said)
    files = f", {submitted.num_files} files of your own code" if submitted.num_files else ""
    say(console, f"study    {submitted.name}, job {submitted.job_id}")
    say(console, f"storage  {submitted.storage or 'the one of the cluster (TWOHEAD_STORAGE)'}")
    say(console, f"sent     {submitted.num_bytes / 1024:.1f} KiB{files}")
    say(console, f"next     twohead status {submitted.name}{where}")
    say(console, f"         twohead logs {submitted.name} --follow{where}")
    # Without an address `best` looks here, where no study of the cluster lies.
    say(console, f"         twohead best {submitted.name}{_where(said or address)}")


def _print_status(console: Console, one: StudyStatus) -> None:
    lines = [("study", one.name), ("state", one.state)]
    if one.num_trials is not None:
        lines.append(("trials", f"{_trials(one)} ended"))
    if one.best is not None:
        best = one.best
        lines.append(
            ("best", f"trial {best.number} after epoch {best.epoch}: {point_words(best)}")
        )
        config = ", ".join(f"{name} {value(given)}" for name, given in best.config.items())
        lines.append(("config", config))
    if one.folder:
        lines.append(("folder", one.folder))
    if one.job_id:
        node = one.node or "no node yet"
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.since))
        ago = duration(time.time() - one.since)
        lines.append(("job", f"{one.job_id} on {node}, begun {since} ({ago} ago)"))
    if one.message:
        lines.append(("last", one.message))
    for name, said in lines:
        style = STATE_STYLES.get(one.state, "") if name == "state" else ""
        text = Text.assemble((f"{name:<{LABEL_WIDTH}}", "dim"), (clean(said), style))
        console.print(text, soft_wrap=True)


def _trials(one: StudyStatus) -> str:
    return "-" if one.num_trials is None else f"{one.num_ended} of {one.num_trials}"


def _where(address: str | None) -> str:
    return "" if address is None else f" --address {quoted(address)}"
