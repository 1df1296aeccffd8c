"""What `twohead doctor` found, on one page or as plain JSON values."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from search.doctor.finding import Finding, State, is_fit
from search.doctor.node import PACKAGES, version_of
from search.wording import clean, count

COLOURS: Mapping[State, str] = {"ok": "green", "warn": "yellow", "FAIL": "bold red"}
NAMES = 15
"""Columns of the longest name of a check, with a blank behind it."""
INDENT = 2 + 6 + NAMES
NARROWEST = 60

Part = tuple[str, Sequence[Finding]]
"""What the findings are about, and those."""


def print_page(console: Console, parts: Sequence[Part]) -> None:
    """Print all findings, one below the other, each failing one with its cures."""
    width = max(NARROWEST, console.width)
    for title, findings in parts:
        console.print(Text(clean(title), style="bold"), soft_wrap=True)
        for each in findings:
            _print_finding(console, each, width)
    console.print(Text(verdict(parts), style="bold"), soft_wrap=True)


def page_to_dict(parts: Sequence[Part]) -> dict[str, Any]:
    """Return all findings, and this process' versions, as plain JSON values."""
    everything = [each for _, findings in parts for each in findings]
    return {
        "fit": is_fit(everything),
        "versions": {name: version_of(name) for name in PACKAGES},
        "parts": [
            {"title": title, "findings": [each.to_dict() for each in findings]}
            for title, findings in parts
        ],
    }


def page_from_dict(told: Mapping[str, Any]) -> list[Part]:
    """Return what `page_to_dict` was given.

    Raises:
        LookupError: If it is nothing of that kind.
        TypeError: The same.
    """
    return [
        (str(part["title"]), [Finding.from_dict(one) for one in part["findings"]])
        for part in told["parts"]
    ]


def verdict(parts: Sequence[Part]) -> str:
    """Return the last line: fit or not, and how much there is to do."""
    states = [each.state for _, findings in parts for each in findings]
    failing, warnings = states.count("FAIL"), states.count("warn")
    more = f" ({count(warnings, 'warning')})" if warnings else ""
    if failing:
        return f"unfit: {count(failing, 'check')} of {len(states)} failed{more}"
    return f"fit: none of {count(len(states), 'check')} failed{more}"


def _print_finding(console: Console, each: Finding, width: int) -> None:
    lines = _wrapped(clean(each.seen), width)
    head = Text("  ")
    head.append(f"{each.state:<6}", style=COLOURS[each.state])
    head.append(f"{clean(each.check):<{NAMES}}")
    head.append(lines[0] if lines else "")
    console.print(head, soft_wrap=True)
    cures = [f"-> {clean(cure)}" for cure in each.cures]
    for line in [*lines[1:], *(line for cure in cures for line in _wrapped(cure, width))]:
        console.print(Text(" " * INDENT + line), soft_wrap=True)


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width - INDENT, break_long_words=False, break_on_hyphens=False)
