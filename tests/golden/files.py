"""The golden folders of studies: where they lie, how they are unpacked, asked and changed."""

import io
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from search.cli import main as command

ANSWERS = Path(__file__).parent
STUDIES = ANSWERS / "studies"
OUTPUTS = ANSWERS / "outputs"
WIDTH = "100"
NEUTRAL = "/golden"

CONFIRMED = ("confirmed", "digits")
"""The studies that have been confirmed."""
NAMES = (
    *("confirmed", "digits", "interrupted", "odd", "opened", "own", "refused", "resumed"),
    "warm",
)
QUESTIONS: Mapping[str, list[str]] = {
    "list.txt": ["list", "studies"],
    **{f"{name}/show.txt": ["show", f"studies/{name}"] for name in NAMES},
    **{f"{name}/show.json": ["show", f"studies/{name}", "--json"] for name in NAMES},
    **{f"{name}/best.txt": ["best", f"studies/{name}"] for name in NAMES},
    **{f"{name}/best.json": ["best", f"studies/{name}", "--json"] for name in NAMES},
    **{f"{name}/confirm.txt": ["confirm", f"studies/{name}"] for name in CONFIRMED},
    **{f"{name}/confirm.json": ["confirm", f"studies/{name}", "--json"] for name in CONFIRMED},
    **{
        f"digits/best-{policy}.txt": ["best", "studies/digits", "--policy", policy]
        for policy in ("ideal_point", "lexicographic")
    },
    "digits/best-head.txt": ["best", "studies/digits", "--head", "r_output"],
    "digits/best-exponents.json": [
        *("best", "studies/digits", "--json", "--exponents", "c_output=3,r_output=0.5"),
    ],
    "own/best-head.json": ["best", "studies/own", "--json", "--head", "c"],
}
"""The file of each output -> the command's arguments."""


@contextmanager
def unpacked(folder: Path) -> Iterator[None]:
    """Copy the studies below a folder, and let commands run there at the golden width."""
    shutil.copytree(STUDIES, folder / "studies")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("COLUMNS", WIDTH)
        yield


def answer(argv: list[str], folder: Path) -> str:
    """Return what a command prints, with what it complains of and its exit status at the end."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = command.main(argv)
    said = out.getvalue() + "".join(f"stderr: {line}\n" for line in err.getvalue().splitlines())
    said += f"exit status: {status}\n" if status else ""
    return said.replace(os.path.realpath(folder), NEUTRAL).replace(str(folder), NEUTRAL)


def write_json(path: Path, values: Any) -> None:
    """Write a JSON document: an item of the outermost two levels a line."""
    lines = []
    for key, value in values.items():
        items = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items()]
        lines.append(f"{json.dumps(key)}: {{\n" + ",\n".join(items) + "\n}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def edit(folder: Path, pattern: str, old: str, new: str) -> None:
    """Change what a regular expression finds first in each record that a pattern names."""
    changes = [
        _rewrite(path, lambda text: re.sub(old, new, text, count=1))
        for path in _records(folder, pattern)
    ]
    assert any(changes), (pattern, old)


def replace(folder: Path, texts: Mapping[str, str]) -> None:
    """Replace texts in all records of a folder."""

    def change(text: str) -> str:
        for old, new in texts.items():
            text = text.replace(old, new)
        return text

    for path in _records(folder, "**/*.json"):
        _rewrite(path, change)
    for path in [*folder.glob("**/owner.lock"), *folder.glob("failures/*.txt")]:
        path.write_text(change(path.read_text()))


def _records(folder: Path, pattern: str) -> list[Path]:
    return [path for path in sorted(folder.glob(pattern)) if "checkpoints" not in path.parts]


def _rewrite(path: Path, change: Any) -> bool:
    """Change the body of a sealed record and seal it again."""
    whole = path.read_text()
    body = whole[whole.index('"body":') + len('"body":') : -2]
    changed = change(body)
    # Not by parsing it: what is written as 1 and as 1.0 is to stay so.
    digest = sha256(changed.encode()).hexdigest()
    head = re.sub(
        '"sha256":"[0-9a-f]+"', f'"sha256":"{digest}"', whole[: len(whole) - len(body) - 2]
    )
    path.write_text(head + changed + "}\n")
    return bool(changed != body)
