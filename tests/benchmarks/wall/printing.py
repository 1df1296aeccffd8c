"""A table of runs for people, and as Markdown for the README."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.benchmarks.wall.entries import ENTRIES
from tests.benchmarks.wall.parts import PARTS

Report = Mapping[str, Any]


def as_text(report: Report) -> str:
    """Return everything, in columns."""
    lines = [*_heading(report), ""]
    head = ["contender", "precision", "runs", "wall", "range", "exit", "limit", "peer", "losses"]
    lines += _columns([head, *[_cells(row) for row in report["rows"]]])
    lines += ["", "where the wall time went, seconds of each slot", ""]
    body = [
        [_name(row), *[_seconds(row["parts"].get(part)) for part in PARTS]]
        for row in report["rows"]
    ]
    lines += _columns([["contender", *PARTS], *body])
    lines += ["", *_notes(report)]
    return "\n".join(lines)


def as_markdown(report: Report) -> str:
    """Return the table of the README: seconds, ratios and where the time went."""
    head = ["", "seconds", "of the limit", "of the best peer", "import", "build, trace"]
    head += ["training", "validation", "rest"]
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    for row in report["rows"]:
        if row["counts"]:
            lines.append(f"| {' | '.join(_markdown_cells(row))} |")
    return "\n".join([*lines, "", *_heading(report), *_notes(report)])


def _markdown_cells(row: Mapping[str, Any]) -> list[str]:
    parts = row["parts"]
    groups = [("import",), ("build", "trace"), ("train",), ("validate",)]
    groups.append(("start-up", "load", "checkpoint", "idle", "driver"))
    sums = [_seconds(sum(parts[part] for part in group)) if parts else "-" for group in groups]
    about = ENTRIES[row["contender"]].about
    about += "" if row["precision"] == "float32" else f", {row['precision']}"
    walls = [_seconds(row["wall_seconds"]), _ratio(row, "limit"), _ratio(row, "best_peer")]
    return [f"**{about}**" if row["kind"] == "ours" else about, *walls, *sums]


def _heading(report: Report) -> list[str]:
    settings, machine = report["settings"], report["machine"]
    size = settings["image_size"]
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    return [
        f"{settings['trials']} trials x {settings['epochs']} epochs, {settings['concurrent']} at "
        f"once; digits of {size}x{size}, {settings['rows']} training images. "
        f"Configs {settings['configs']}. {report['date']}; {machine['processor']}, "
        f"{machine['cores']} cores; {versions}."
    ]


def _cells(row: Mapping[str, Any]) -> list[str]:
    span = row["range_seconds"]
    losses = {None: "not checked", True: "equal", False: "DIFFERENT"}[row["is_equal"]]
    return [
        row["contender"],
        row["precision"],
        str(row["runs"]),
        _seconds(row["wall_seconds"]),
        "-" if span is None else f"{span[0]:.1f}..{span[1]:.1f}",
        _seconds(row["exit_seconds"]),
        _ratio(row, "limit"),
        _ratio(row, "best_peer"),
        losses if row["runs"] else "failed",
    ]


def _notes(report: Report) -> list[str]:
    lines = [
        "wall: from the command to the last result; exit: to the end of the command; limit, peer: "
        "wall over that of the bare limit in the same precision, and of the fastest peer in "
        f"float32 ({report['best_peer'].get('float32', 'none')})."
    ]
    noise = report["noise"]
    if noise is None:
        lines.append("Equal losses were not checked: the limit has not run with both seeds.")
    else:
        shown = ", ".join(f"{h} {noise[h]:.1%}" for h in noise if h != "configs")
        lines.append(f"Another seed changes a loss by {shown} (root mean square).")
    if weak := [head for head, is_seen in report["notices_one_epoch_less"].items() if not is_seen]:
        lines.append(
            f"The check of equal losses is weak for {', '.join(weak)}: the noise is so large that "
            "one epoch less would not be noticed."
        )
    for row in report["rows"]:
        if row["difference"]:
            lines.append(f"{_name(row)} does not count: {row['difference']}.")
        lines += [f"{_name(row)} failed: {error}" for error in row["errors"]]
    return [*lines, *report.get("left_out", [])]


def _ratio(row: Mapping[str, Any], to: str) -> str:
    ratio = row["ratios"][to]
    return "-" if ratio is None else f"{ratio['wall_seconds']:.2f}"


def _name(row: Mapping[str, Any]) -> str:
    plain = row["precision"] == "float32"
    return str(row["contender"]) if plain else f"{row['contender']} {row['precision']}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
