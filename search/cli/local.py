"""What each `twohead` command does; imports what takes long only where it is needed."""

import time
import warnings
from argparse import Namespace
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.console import Console

from search.cli.main import DONE, INTERRUPTED, PROVIDERS, complain
from search.errors import InputError, Interrupted, SearchError, StudyWarning
from search.record.reader import StudyReader
from search.results.kept import disk_use
from search.results.load import list_studies, load, read, study_folder
from search.results.result import StudyResult
from search.study import digits_study as defaults
from search.study.objective import study_warnings
from search.study.study import DEFAULT_STORAGE, Study
from search.text import number, short_path
from search.view import json_form as as_json
from search.view.best import print_best, print_end, print_interrupted
from search.view.confirmation import print_confirmation
from search.view.disk import print_clean
from search.view.study import print_list, print_show
from search.view.tables import add_row, new_table, say, text_column
from trainables.storage.store import Store
from trainables.storage.study_folder import StudyFolder


def run(args: Namespace, console: Console) -> int:
    """Run, resume or extend the study of a file, or the digits."""
    study = study_of(args, args.storage)
    return run_study(study, console, needs_digits=args.study is None)


def resume(args: Namespace, console: Console) -> int:
    """Run a study on, from the folder in which it lies now."""
    reader = StudyReader(StudyFolder(study_folder(args.folder)))
    result = read(reader)
    study = result.study.with_data(args.data).with_budget(trials=args.trials, epochs=args.epochs)
    return run_study(study, console, reader=reader, retry_failed=args.retry_failed)


def best(args: Namespace, console: Console) -> int:
    """Print the best point by a policy."""
    if args.data is not None and not args.test:
        raise InputError(f"--data needs --test, got --data {args.data!r} alone")
    result = load(args.folder)
    point = result.best(**_policy_options(args))
    if args.test:
        point = result.tested(point, data=args.data)
    if args.json:
        _print_json(console, as_json.best_to_dict(result, point))
    else:
        print_best(console, result, point)
    return DONE


def confirm(args: Namespace, console: Console) -> int:
    """Train the leading points again with fresh seeds, and print what became of them."""
    from search.running.confirm import confirm as confirm_study
    from search.view.live import watcher_for

    # With `--json` only the object goes to the output.
    beside = Console(stderr=True, markup=False, emoji=False, highlight=False)
    said = beside if args.json else console
    options = {"seeds": args.seeds, "top": args.top, "data": args.data, **_policy_options(args)}
    try:
        with watcher_for(said) as watcher:
            confirmed = confirm_study(args.folder, watcher=watcher, **options)
    except Interrupted:
        say(said, "interrupted: every measured epoch is kept; the same command goes on")
        return INTERRUPTED
    if args.json:
        _print_json(console, as_json.confirmation_to_dict(confirmed))
    else:
        print_confirmation(console, confirmed)
    return DONE


def clean(args: Namespace, console: Console) -> int:
    """Delete what ended trials keep to go on from, or say what that would free."""
    from search.running.clean import clean as clean_study

    result = load(args.folder)
    before = disk_use(result) if args.dry_run else clean_study(result, stopped=args.stopped)
    print_clean(console, before, stopped=args.stopped, is_done=not args.dry_run)
    return DONE


def show(args: Namespace, console: Console) -> int:
    """Print a whole study."""
    result = load(args.folder)
    if args.json:
        _print_json(console, as_json.study_to_dict(result))
    else:
        print_show(console, result)
    return DONE


def list_(args: Namespace, console: Console) -> int:
    """Print a line per study of a storage."""
    rows = [(folder.rpartition("/")[2], _load(folder)) for folder in list_studies(args.storage)]
    if rows:
        print_list(console, rows)
    else:
        say(console, f"no studies in {short_path(Store(args.storage).uri)}")
    return DONE


def data_digits(args: Namespace, console: Console) -> int:
    """Write a data set of digits."""
    from trainables.data.digits import write_digits

    path = write_digits(args.out, num=args.num, image_size=args.image_size, seed=args.seed)
    say(console, f"wrote {args.num} images of {args.image_size}x{args.image_size} to {path}")
    return DONE


def data_check(args: Namespace, console: Console) -> int:
    """Check a study's data set, and print what it is."""
    from search.study.configs import data_request
    from trainables.data.check import check_dataset

    study = Study.from_yaml(args.study)
    report = check_dataset(data_request(study), is_fast=args.fast)
    info = report.info
    shape = "x".join(str(side) for side in info.image_shape)
    rows = ", ".join(f"{num} {split}" for split, num in info.rows.items())
    say(console, f"data     {short_path(study.data)}")
    say(console, f"rows     {rows}")
    say(console, f"images   {shape} (height x width x channels)")
    headings = ("head", "kind", "units", "loss", "baseline", "classes")
    table = new_table(*map(text_column, headings))
    for head in info.heads:
        figures = (str(head.units), head.recorded_loss, number(info.baselines[head.name]))
        add_row(table, head.name, head.kind, *figures, ", ".join(head.classes))
    console.print(table)
    for line in report.notes:
        say(console, f"note: {line}")
    for line in report.warnings:
        say(console, f"warning: {line}")
    _complain_of(study)
    return DONE


def cluster_yaml(args: Namespace, console: Console) -> int:
    """Print or write a file for `ray up`."""
    text = _shipped_yaml(args.provider)
    if args.out is None:
        console.file.write(text)
        return DONE
    try:
        with open(args.out, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise InputError(f"OUT needs a new file, got {args.out!r}, which exists") from error
    except OSError as error:
        rule = f"OUT needs a file that can be written, got {args.out!r}"
        raise InputError(f"{rule}: {error}") from error
    say(console, f"wrote {args.out}: change its values marked CHANGE, then `ray up` it")
    return DONE


def _shipped_yaml(provider: str) -> str:
    """Return the file for `ray up` that comes with this project for a provider."""
    shipped = files("search") / "assets" / PROVIDERS[provider]
    if not shipped.is_file():  # a copy of a checkout in which its link was not kept
        shipped = Path(__file__).parents[2] / PROVIDERS[provider]
    return shipped.read_text(encoding="utf-8")


def run_study(
    study: Study, console: Console, *, needs_digits: bool = False, **options: Any
) -> int:
    """Run a study with someone looking on, and print what it found."""
    from search.running.resume import is_done, stored_study
    from search.view.live import watcher_for

    reader = options.setdefault("reader", StudyReader(StudyFolder(study.folder)))
    if stored_study(study, reader) is None or not is_done(study, reader):
        _complain_of(study)
    started = time.monotonic()
    printed = warnings.catch_warnings(action="ignore", category=StudyWarning)
    with printed, watcher_for(console) as watcher:
        if needs_digits:
            defaults.write_data(study.storage, watcher.preparing)
        watcher.preparing("getting ready")
        from search.running import run as runner

        try:
            result = runner.run(study, watcher=watcher, **options)
        except Interrupted:
            result = None
    if result is None:
        print_interrupted(console, study.folder)
        return INTERRUPTED
    print_end(console, result, time.monotonic() - started if watcher.has_started else None)
    return DONE


def _read_exponents(text: str) -> dict[str, float]:
    """Return ``c_output=2,r_output=1`` as a mapping."""
    found: dict[str, float] = {}
    for item in text.split(","):
        name, equals, exponent = (part.strip() for part in item.partition("="))
        try:
            value = float(exponent)
        except ValueError:
            value = float("nan")
        if not (name and equals) or value != value or name in found:
            raise InputError(
                f"--exponents needs heads with numbers such as c_output=2,r_output=1, got {text!r}"
            )
        found[name] = value
    return found


def _complain_of(study: Study) -> None:
    """Print the warnings of a study on the error stream."""
    for message in study_warnings(study):
        complain(f"warning: {message}")


def study_of(args: Namespace, storage: str | None) -> Study:
    """Return the study of a file, or the digits, with what was asked for on the command line."""
    name, seed = args.name, args.seed
    if args.study is None:
        study = defaults.digits_study(storage or DEFAULT_STORAGE, seed=seed or 0, name=name)
    else:
        study = Study.from_yaml(args.study, name=name, storage=storage, seed=seed)
    study = study.with_budget(trials=args.trials, epochs=args.epochs)
    if args.concurrent is None:
        return study
    return replace(study, resources=replace(study.resources, concurrent=args.concurrent))


def _load(folder: str) -> StudyResult | str:
    """Return a study, or why it cannot be read."""
    try:
        return load(folder)
    except SearchError as error:
        return " ".join(str(error).split())
    except Exception as error:  # one study that nobody foresaw must not hide all others
        return f"unexpected {type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _policy_options(args: Namespace) -> dict[str, Any]:
    """Return what the arguments say of how the best is chosen."""
    if args.head is not None and args.policy not in (None, "head"):
        raise InputError(f"--head needs no --policy but 'head', got {args.policy!r}")
    exponents = None if args.exponents is None else _read_exponents(args.exponents)
    options = {"head": args.head, "policy": args.policy, "exponents": exponents}
    return {name: given for name, given in options.items() if given is not None}


def _print_json(console: Console, values: dict[str, Any]) -> None:
    console.file.write(as_json.to_text(values) + "\n")
