"""Who may succeed whom, and when: by clocks that tests set."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs

import search.record.ownership
from search.errors import StorageError, StudyLocked
from search.record.heartbeat import Pace, Sign, Whereabouts, encode_sign, look, new_sign, sign_path
from search.record.ownership import claim, holder
from tests.support.clocks import FakeClock
from trainables.storage.local import LocalFiles
from trainables.storage.store import Store

TOKEN = "0123456789abcdef00"
HOUR = 3600.0
PLACES = ["local", "remote"]


@pytest.fixture(params=PLACES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return Store(tmp_path / "study")
    return Store("mock://bucket/study", filesystem=fs._MockFileSystem())


def far_away(clock: FakeClock, *, age: float = 0.0, **changes: Any) -> Sign:
    """Return a sign of a process on another machine."""
    who = replace(Whereabouts.here(), pid=77, host="node-7", machine="another", job="twohead-1")
    sign = replace(new_sign(TOKEN, clock.pace()), who=who, since="2026-11-01T08:00:00+00:00")
    return replace(sign, at=clock.wall() - age, **changes)


def write_holder(store: Store, sign: Sign, generation: int = 1) -> str:
    path = sign_path(generation, sign.token)
    store.put(path, encode_sign(sign))
    store.put(f"owner/{generation:06d}.json", b"")
    return path


def after(clock: FakeClock, seconds: float, act: Callable[[], None]) -> None:
    """Let something happen while somebody sleeps by this clock."""
    until = clock.up + seconds
    sleep = clock.sleep

    def sleep_and_act(duration: float) -> None:
        sleep(duration)
        if clock.up >= until:
            act()

    clock.sleep = sleep_and_act  # type: ignore[method-assign]


def test_a_living_holder_is_named_with_all_that_helps(store: Store) -> None:
    clock = FakeClock()
    write_holder(store, far_away(clock, age=12.0))

    with pytest.raises(StudyLocked) as caught:
        claim(store, pace=clock.pace())

    assert str(caught.value) == (
        f"study {store.uri!r} is being run by process 77 on node-7 (job twohead-1) since "
        "2026-11-01T08:00:00+00:00, last sign of life 12 s ago; wait for it or stop it; if it is "
        "dead, the study can be had in 18 s"
    )
    assert clock.slept == []
    assert "process 77 on node-7 (job twohead-1)" in str(holder(store, pace=clock.pace()))
    assert store.list("lease") == [sign_path(1, TOKEN)]


@pytest.mark.parametrize(
    ("age", "seconds"),
    [
        pytest.param(31.0, 15.0, id="its_lease_has_run_out"),
        pytest.param(HOUR, 15.0, id="its_clock_may_be_an_hour_behind"),
        pytest.param(-HOUR, 30.0, id="its_clock_is_an_hour_ahead"),
    ],
)
def test_a_silent_holder_is_succeeded_after_it_was_watched(
    age: float, seconds: float, store: Store
) -> None:
    clock = FakeClock()
    write_holder(store, far_away(clock, age=age))

    with claim(store, pace=clock.pace()) as ownership:
        assert ownership.generation == 2

    assert seconds <= sum(clock.slept) <= seconds + 2


@pytest.mark.parametrize("age", [31.0, HOUR, -HOUR])
def test_a_holder_that_shows_life_is_left_alone_whatever_its_clock_says(
    age: float, store: Store
) -> None:
    clock = FakeClock()
    sign = far_away(clock, age=age)
    path = write_holder(store, sign)
    after(clock, 4.0, lambda: store.put(path, encode_sign(sign.renewed(sign.at + 5.0))))

    with pytest.raises(StudyLocked, match="is being run by process 77 on node-7"):
        claim(store, pace=clock.pace())

    assert sum(clock.slept) <= 6.5


def test_patience_waits_until_a_lease_has_run_out(store: Store) -> None:
    clock = FakeClock()
    write_holder(store, far_away(clock, age=2.0))

    with claim(store, patience=60.0, pace=clock.pace()) as ownership:
        assert ownership.generation == 2

    assert 28.0 <= sum(clock.slept) <= 30.0


@pytest.mark.parametrize("is_alive", [True, False], ids=["shows_life", "has_time_left"])
def test_patience_ends(is_alive: bool, store: Store) -> None:
    clock = FakeClock()
    sign = far_away(clock)
    path = write_holder(store, sign)
    if is_alive:
        after(clock, 5.0, lambda: store.put(path, encode_sign(sign.renewed(clock.wall()))))

    with pytest.raises(StudyLocked, match="is being run by process 77"):
        claim(store, patience=60.0 if is_alive else 20.0, pace=clock.pace())

    assert sum(clock.slept) < 22.0


def test_who_waits_with_patience_has_the_study_once_it_is_released(store: Store) -> None:
    clock = FakeClock()
    sign = far_away(clock)
    path = write_holder(store, sign)
    last = sign.renewed(clock.wall(), is_released=True)
    after(clock, 5.0, lambda: store.put(path, encode_sign(last)))

    with claim(store, patience=60.0, pace=clock.pace()) as ownership:
        assert ownership.generation == 2

    assert sum(clock.slept) < 7.0


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda sign: replace(sign, is_released=True), id="released"),
        pytest.param(
            lambda sign: replace(sign, who=replace(Whereabouts.here(), pid=ended_process())),
            id="its_process_on_this_machine_has_ended",
        ),
        pytest.param(
            lambda sign: replace(sign, who=replace(Whereabouts.here(), began="1")),
            id="its_number_is_another_process_now",
        ),
        pytest.param(
            lambda sign: replace(sign, who=Whereabouts.here()), id="this_process_had_it_once"
        ),
    ],
)
def test_who_has_ended_for_certain_is_succeeded_at_once(
    change: Callable[[Sign], Sign], store: Store
) -> None:
    clock = FakeClock()
    write_holder(store, change(far_away(clock)))

    assert holder(store, pace=clock.pace()) is None
    with claim(store, pace=clock.pace()) as ownership:
        assert ownership.generation == 2
    assert clock.slept == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"machine": "another"}, id="machine"),
        pytest.param({"namespace": "another"}, id="container"),
    ],
)
def test_what_has_ended_can_be_told_on_its_own_machine_only(change: dict[str, str]) -> None:
    ended = replace(Whereabouts.here(), pid=ended_process())

    assert ended.is_gone()
    assert not replace(ended, **change).is_gone()


def test_a_process_that_nobody_has_waited_for_has_ended_all_the_same() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read()  # its end

    who = replace(Whereabouts.here(), pid=process.pid, began="")
    wait_until(who.is_gone)

    process.communicate()


def test_a_sign_that_cannot_be_read_is_watched(store: Store) -> None:
    clock = FakeClock()
    path = write_holder(store, far_away(clock))
    if store.root is None:
        store.put(path, b"damaged")
    else:
        os.truncate(store.root / path, 5 * 2**30)

    assert claim(store, pace=clock.pace()).generation == 2
    assert 30.0 <= sum(clock.slept) <= 32.0


def test_a_claim_without_a_sign_is_succeeded_at_once(store: Store) -> None:
    store.put("owner/000003.json", b"")

    with claim(store) as ownership:
        assert ownership.generation == 4


def test_who_claims_in_vain_leaves_nothing(store: Store) -> None:
    with claim(store):
        before = store.list()

        with pytest.raises(StudyLocked, match="is being run"):
            claim(store)

        assert store.list() == before


def wait_until(holds: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(2000):
        if holds():
            return
        waiting.wait(0.01)
    raise AssertionError("it did not come")


def test_an_owner_shows_life_until_it_says_that_it_has_ended(store: Store) -> None:
    def sign() -> Sign:
        (found,) = look(store).signs
        assert found.sign is not None
        return found.sign

    with claim(store, pace=Pace(beat_seconds=0.01)):
        wait_until(lambda: sign().counter >= 3)
        assert not sign().is_released

    assert sign().is_released


class Cut(LocalFiles):
    """A storage that can be cut off."""

    is_cut = False
    calls = 0

    def scan(self, path: str) -> list[tuple[str, bool]]:
        self.calls += 1
        if self.is_cut:
            raise OSError(5, "cut off")
        return super().scan(path)


def test_nothing_is_decided_on_a_lease_in_doubt_while_the_storage_is_away(tmp_path: Path) -> None:
    files, clock = Cut(), FakeClock()
    ownership = claim(Store(tmp_path, files=files), pace=clock.pace(beat_seconds=600.0))
    files.is_cut, files.calls = True, 0

    clock.sleep(14.0)
    ownership.ensure()
    assert files.calls == 0

    clock.sleep(2.0)
    with pytest.raises(StorageError, match="cut off"):
        ownership.ensure()
    files.is_cut = False
    ownership.ensure()
    ownership.release()


def test_a_machine_that_slept_doubts_its_lease(tmp_path: Path) -> None:
    files, clock = Cut(), FakeClock()
    with claim(Store(tmp_path, files=files), pace=clock.pace()) as ownership:
        files.calls = 0

        clock.wall_now += 20.0  # what counts from the start of a virtual machine misses a pause
        ownership.ensure()

        assert files.calls == 1


def test_an_owner_that_cannot_show_life_for_a_while_goes_on(tmp_path: Path) -> None:
    files = Cut()
    store = Store(tmp_path, files=files)
    with claim(store, pace=Pace(beat_seconds=0.01)) as ownership:
        files.is_cut, files.calls = True, 0
        wait_until(lambda: files.calls >= 3)
        files.is_cut = False
        before = ownership._renewed
        wait_until(lambda: ownership._renewed > before)

        ownership.check()


def test_an_owner_whose_study_is_removed_does_not_bring_it_back(tmp_path: Path) -> None:
    files = Cut()
    store = Store(tmp_path / "study", files=files)
    with claim(store, pace=Pace(beat_seconds=0.01)):
        Store(tmp_path).delete("study")
        files.calls = 0
        wait_until(lambda: files.calls >= 3)

    assert list(tmp_path.iterdir()) == []


def test_a_release_does_not_wait_for_a_storage_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search.record.ownership, "RELEASE_SECONDS", 0.05)
    let_go = threading.Event()

    class Hangs(LocalFiles):
        hangs = False

        def scan(self, path: str) -> list[tuple[str, bool]]:
            assert not self.hangs or let_go.wait(60)
            return super().scan(path)

    files = Hangs()
    ownership = claim(Store(tmp_path, files=files))
    files.hangs = True

    ownership.release()

    with pytest.raises(StudyLocked, match="was released by this process"):
        ownership.check()
    let_go.set()
    ownership._thread.join()


def test_a_forked_child_neither_shows_life_nor_ends_the_lease(tmp_path: Path) -> None:
    code = """
import os, sys
from search.errors import StudyLocked
from search.record.ownership import claim
from trainables.storage.store import Store
store = Store(sys.argv[1])
with claim(store) as ownership:
    child = os.fork()
    if child == 0:
        try:
            ownership.ensure()
        except StudyLocked as error:
            print(error, flush=True)
        ownership.release()
        try:
            claim(store)
        except StudyLocked as error:
            print(error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    ownership.check()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert "was released by this process" in first
    assert re.search(r"is being run by process \d+ on", second)
    assert str(os.getpid()) not in second
