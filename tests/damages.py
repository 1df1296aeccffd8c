"""Damages one file after the other of real studies, and asks everything of them each time.

    python -m tests.damages --num 2000 --seed 0 --folder /tmp/damages

Every answer must be the one of the undamaged tree (perhaps with a warning), or an error of
ours. What by its nature cannot be told is counted apart; see `verdict`.
"""

import argparse
import os
import random
import re
import select
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.damaged_answers import STATISTICS, Answer, all_answers, from_json, to_json
from tests.support.damaged_keras_tree import make_keras_tree
from tests.support.damaged_tree import FINISHED, INTERRUPTED, make_tree

HANG_SECONDS = 60.0
RESUME_SECONDS = 300.0
"""Where Ray and TensorFlow have to start for it."""
FOREIGN = (".DS_Store", ".nfs0000a1", "Thumbs.db", "desktop.ini", "x.json~", ".#x", "notes.txt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One thing that is done to a tree."""

    kind: str
    path: str
    """Relative to the tree."""
    seed: int
    other: str = ""
    """The second file, where there is one."""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.kind, self.path, self.other, f"(seed {self.seed})")))


def draw_damage(work: Path, seed: int) -> Damage:
    """Draw a kind and a file, each as likely as any other."""
    draw = random.Random(seed)
    files = sorted(str(p.relative_to(work)) for p in work.rglob("*") if p.is_file())
    kind = draw.choice(sorted(KINDS))
    path, other = draw.choice(files), draw.choice(files)
    return Damage(kind=kind, path=path, seed=seed, other=other if kind == "swap" else "")


def apply(work: Path, damage: Damage) -> None:
    """Do it; the files of the tree may be hard links of an undamaged one, so none is written."""
    KINDS[damage.kind](work, damage, random.Random(damage.seed))


def _changed(change: Callable[[bytearray, random.Random], bytes]) -> "_Do":
    def do(work: Path, damage: Damage, draw: random.Random) -> None:
        path = work / damage.path
        data = change(bytearray(path.read_bytes()), draw)
        path.unlink()
        path.write_bytes(data)

    return do


def _replaced(make: Callable[[Path, bytes], object]) -> "_Do":
    def do(work: Path, damage: Damage, draw: random.Random) -> None:
        path = work / damage.path
        data = path.read_bytes()
        path.unlink()
        make(path, data)

    return do


def _flip(data: bytearray, draw: random.Random) -> bytes:
    if data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return data


def _zero(data: bytearray, draw: random.Random) -> bytes:
    start = draw.randrange(len(data) + 1)
    data[start : start + 64] = bytes(len(data[start : start + 64]))
    return data


def _noise(data: bytearray, draw: random.Random) -> bytes:
    start = draw.randrange(len(data) + 1)
    data[start : start + 16] = draw.randbytes(len(data[start : start + 16]))
    return data


def _swap(work: Path, damage: Damage, draw: random.Random) -> None:
    first, second = work / damage.path, work / damage.other
    if first != second:
        held = first.with_name("held")
        first.rename(held)
        second.rename(first)
        held.rename(second)


def _link_away(work: Path, damage: Damage, draw: random.Random) -> None:
    """Let a link lead to the very content, outside of the study."""
    (work / damage.path).rename(work.parent / "away-file")
    (work / damage.path).symlink_to(work.parent / "away-file")


def _add(work: Path, damage: Damage, draw: random.Random) -> None:
    ((work / damage.path).parent / draw.choice(FOREIGN)).write_bytes(draw.randbytes(20))


def _folder_gone(work: Path, damage: Damage, draw: random.Random) -> None:
    shutil.rmtree((work / damage.path).parent)


def _folder_linked(work: Path, damage: Damage, draw: random.Random) -> None:
    folder = (work / damage.path).parent
    away = work.parent / "away"
    shutil.rmtree(away, ignore_errors=True)
    folder.rename(away)
    folder.symlink_to(away)


_Do = Callable[[Path, Damage, random.Random], None]
KINDS: dict[str, _Do] = {
    "flip": _changed(_flip),
    "cut": _changed(lambda data, draw: data[: draw.randrange(len(data) + 1)]),
    "empty": _changed(lambda data, draw: b""),
    "longer": _changed(lambda data, draw: data + draw.randbytes(draw.randrange(1, 40))),
    "zeros": _changed(_zero),
    "noise": _changed(_noise),
    "swap": _swap,
    "delete": lambda work, damage, draw: (work / damage.path).unlink(),
    "pipe": _replaced(lambda path, data: os.mkfifo(path)),
    "folder": _replaced(lambda path, data: path.mkdir()),
    "link": _link_away,
    "link_nowhere": _replaced(lambda path, data: path.symlink_to("/nowhere/at/all")),
    "foreign": _add,
    "folder_gone": _folder_gone,
    "folder_linked": _folder_linked,
}


def verdict(
    damage: Damage, before: dict[str, Answer], after: dict[str, Answer]
) -> tuple[str, str]:
    """Return what became of a damage, and the question that says so.

    ``same``, ``warned`` (what stands beside the results is left out and that is said) and
    ``refused`` are what is wanted; ``broken``, ``silent`` and ``hung`` are not. By their nature
    cannot be told, as nothing that is left refers to what is gone:

    - ``earlier``: the newest epochs of a trial that has not ended were deleted, or all that
      tells how long the log was: this is the study at an earlier moment. Its decisions are the
      first ones of what they were, its epochs some of them.
    - ``unsaid``: the figures of a run, or a confirmation as a whole, were deleted.
    - ``foreign``: a whole and valid record of another study was put into this one's place.
    """
    found = {question: _judge(damage, question, before, after) for question in before}
    for word in ("broken", "silent", "foreign", "earlier", "unsaid", "refused", "warned", "same"):
        for question, said in found.items():
            if said == word:
                return word, question
    raise AssertionError(found)


def _judge(
    damage: Damage, question: str, before: dict[str, Answer], after: dict[str, Answer]
) -> str:
    old, new = before[question], after[question]
    if new.status != "answered":
        return new.status
    if new.text == old.text:
        return "warned" if new.warned else "same"
    kind, _, study = question.partition(" ")
    if kind in (STATISTICS, "confirmed") and new.warned:
        return "warned"
    if damage.kind in {"delete", "folder_gone"} and _is_unsaid(damage, kind):
        return "unsaid"
    if damage.kind in {"delete", "folder_gone"} and _is_earlier(kind, study, before, after):
        return "earlier"
    if damage.kind == "swap" and _is_of_the_same_name(damage):
        return "foreign"
    return "silent"


def _is_unsaid(damage: Damage, kind: str) -> bool:
    if re.search(r"/runs/\d{6}\.json$", damage.path):
        return kind == STATISTICS
    is_whole = damage.kind == "folder_gone" and re.search(r"/confirm/[^/]+$", damage.path)
    return bool(is_whole) and kind in {"confirmed", "confirmation"}


def _is_earlier(
    kind: str, study: str, before: dict[str, Answer], after: dict[str, Answer]
) -> bool:
    """Tell whether a record has lost nothing but its end, or the end of an open trial."""
    record = "confirmation" if kind in {"confirmed", "confirmation"} else "history"
    old, new = (_lines(one[f"{record} {study}"]) for one in (before, after))
    return new != old and all(
        new[part] == old[part][: len(new[part])] if part == "decided" else new[part] <= old[part]
        for part in ("decided", "measured")
    )


def _lines(answer: Answer) -> dict[str, list[str]]:
    lines = answer.text.splitlines()
    found = {part: [one for one in lines if one.startswith(part)] for part in ("decided",)}
    return {**found, "measured": sorted(one for one in lines if one.startswith("measured"))}


def _is_of_the_same_name(damage: Damage) -> bool:
    names = [re.sub(r"^storage/[^/]+/(confirm/)?", "", p) for p in (damage.path, damage.other)]
    one, other = (re.sub(r"-(\d{6})-\1\.json$", r"-\1.json", name) for name in names)
    return one == other  # a pack of one segment is that segment


class Child:
    """A process that answers, ended when it takes too long; the next question gets another."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        command = [sys.executable, "-m", "tests.damages", "--child"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def ask(self, work: Path, resumed: str) -> dict[str, Answer] | None:
        """Return the answers; None if there were none in time."""
        limit = RESUME_SECONDS if resumed else HANG_SECONDS
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{work}\t{resumed}\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], limit)[0]:
            self.end()
            self._begin()
            return None
        return from_json(self.process.stdout.readline())

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def answer_on_stdin() -> None:
    """Answer for every tree that is named on the standard input."""
    for line in sys.stdin:
        work, resumed = line.rstrip("\n").split("\t")
        answers = all_answers(Path(work), resumed=tuple(filter(None, [resumed])))
        print(to_json(answers), flush=True)


class Bench:
    """A tree that is damaged, asked and made whole again; each time in the same place."""

    def __init__(
        self, folder: Path, ask: "_Ask", make: Callable[[Path], None] = make_tree
    ) -> None:
        self.work, self.kept = folder / "work", folder / "kept"
        if not self.kept.exists():
            make(self.work)
            self.work.rename(self.kept)
        self._ask = ask
        self._before: dict[str, dict[str, Answer]] = {}

    def try_one(self, seed: int, *, resumed: str = "") -> tuple[Damage, str, str]:
        """Return what was damaged, the verdict, and what shows it."""
        before = self.before(resumed)
        self._reset()
        damage = draw_damage(self.work, seed)
        apply(self.work, damage)
        after = self._ask(self.work, resumed)
        if after is None:
            return damage, "hung", ""
        word, question = verdict(damage, before, after)
        return damage, word, f"{question}: {after[question].text[-600:]}"

    def before(self, resumed: str) -> dict[str, Answer]:
        """Return the answers of the undamaged tree."""
        if resumed not in self._before:
            self._reset()
            found = self._ask(self.work, resumed)
            assert found is not None
            assert all(one.status == "answered" for one in found.values()), found
            self._before[resumed] = found
        return self._before[resumed]

    def _reset(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.kept, self.work, symlinks=True)


_Ask = Callable[[Path, str], dict[str, Answer] | None]
WANTED = ("same", "warned", "refused", "earlier", "unsaid", "foreign")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resumes", type=int, default=5, help="one damage in so many is resumed")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/twohead-damages"))
    parser.add_argument("--keras", action="store_true", help="studies that `twohead` itself ran")
    parser.add_argument("--child", action="store_true")
    args = parser.parse_args()
    if args.child:
        answer_on_stdin()
        return 0
    child = Child()
    try:
        bench = Bench(args.folder, child.ask, make_keras_tree if args.keras else make_tree)
        ledger = try_all(bench, range(args.seed, args.seed + args.num), resumes=args.resumes)
    finally:
        child.end()
        shutil.rmtree(args.folder / "work", ignore_errors=True)
    print(dict(sorted(ledger.items())))
    return int(any(word not in WANTED for word in ledger))


def try_all(bench: Bench, seeds: range, *, resumes: int) -> Counter[str]:
    """Return how often there was each verdict; print what must not be."""
    ledger: Counter[str] = Counter()
    for seed in seeds:
        study = (INTERRUPTED, FINISHED)[seed // resumes % 2]
        damage, word, shown = bench.try_one(seed, resumed="" if seed % resumes else study)
        ledger[word] += 1
        if word not in WANTED:
            print(f"{word}: {damage}\n    {shown}", flush=True)
    return ledger


if __name__ == "__main__":
    sys.exit(main())
