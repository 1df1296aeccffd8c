"""A storage that fails at any of its calls, for any time: right results or a typed end."""

import errno
import random
import threading
from collections.abc import Callable, Iterator

import pytest

from search.errors import SearchError, StudyLocked
from search.record.reader import StudyReader
from tests.support.clocks import FakeClock
from tests.support.faulty_files import MemoryFiles, empty_disk
from tests.support.scripted_study import EPOCHS, STATES, Player, measured, small_packs, table
from tests.unit.storage.faulty_storage import URI, FaultyHandler, faulty_store
from trainables.errors import StorageError
from trainables.storage import retry
from trainables.storage.remote import RemoteFolder
from trainables.storage.retry import Retrying
from trainables.storage.store import Store

AWAY = "AWS Error NETWORK_CONNECTION during PutObject operation: curlCode: 28, Timeout"


@pytest.fixture(autouse=True)
def _pack_soon() -> Iterator[None]:
    with small_packs():
        yield


@pytest.fixture
def _in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare each call its thread, where no call hangs: hundreds of thousands of them."""
    monkeypatch.setattr(retry, "within", lambda seconds, function, progress: function())


class RemotePlayer(Player):
    """Plays the script on a storage that fails."""

    def __init__(self, handler: FaultyHandler) -> None:
        super().__init__(MemoryFiles(empty_disk()))
        self.handler = handler
        self.clock = FakeClock()

    def store(self) -> Store:
        return faulty_store(self.handler, self.clock)

    def play(self, between: Callable[[], None] = lambda: None) -> None:
        """Play it, read it, and let one more owner look whether all is done."""
        super().play(between)
        StudyReader(self.store()).read()
        self.finish()


def fail_at(
    number: int, error: Callable[[], Exception], *, times: int = 1
) -> Callable[[str], None]:
    calls = iter(range(10**9))

    def fault(operation: str) -> None:
        if number <= next(calls) < number + times:
            raise error()

    return fault


def away() -> Exception:
    return OSError(AWAY)


def num_calls() -> int:
    counted: list[str] = []
    RemotePlayer(FaultyHandler(counted.append)).play()
    return len(counted)


def check_played(handler: FaultyHandler) -> None:
    handler.fault = lambda operation: None
    history = StudyReader(faulty_store(handler)).read()
    assert history.is_closed
    assert {t.number: t.state for t in history.trials} == STATES
    assert table(history) == [
        (number, STATES[number], epoch, dict(measured(number, 1, epoch, 1).losses))
        for number, epochs in EPOCHS.items()
        for epoch in range(1, epochs + 1)
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("_in_one_thread")
def test_a_study_survives_the_failure_of_any_call_to_its_storage() -> None:
    calls = num_calls()
    draw, failed = random.Random(1), []

    for number in range(calls):
        handler = FaultyHandler(fail_at(number, away, times=draw.choice([1, 4])))
        try:
            RemotePlayer(handler).play()
            check_played(handler)
        except (AssertionError, SearchError, KeyError) as error:
            failed.append(f"call {number}: {error!r}")

    assert failed == []
    assert calls >= 450


@pytest.mark.slow
@pytest.mark.usefixtures("_in_one_thread")
def test_a_study_whose_storage_refuses_for_good_ends_typed_and_is_finished_later() -> None:
    numbers = range(0, num_calls(), 3)
    failed = []
    refused = 0

    for number in numbers:
        denied = fail_at(number, lambda: OSError("AWS Error ACCESS_DENIED"), times=10**9)
        handler = FaultyHandler(denied)
        player = RemotePlayer(handler)
        try:
            refused += is_refused(player)
            handler.fault = lambda operation: None
            player.finish()
            check_played(handler)
        except (AssertionError, SearchError, KeyError) as error:
            failed.append(f"call {number}: {error!r}")

    assert failed == []
    assert len(numbers) - refused <= 2  # the last sign of the last owner, which is let go


def is_refused(player: RemotePlayer) -> bool:
    refusal = ""
    try:
        player.play()
    except StorageError as error:
        refusal = str(error)
    assert "ACCESS_DENIED" in refusal or not refusal
    assert player.clock.slept == []
    return bool(refusal)


def put_new_as_one_call(folder: RemoteFolder, path: str, data: bytes) -> bool:
    def put_new() -> bool:
        target = folder._full(path)
        if folder.filesystem.get_file_info(target).type.name != "NotFound":
            return False
        folder._write(target, [data])
        return True

    return folder.retrying.call(put_new)


@pytest.mark.slow
@pytest.mark.usefixtures("_in_one_thread")
@pytest.mark.parametrize(
    "part",
    [
        pytest.param((Retrying, "call", lambda self, do, **_: do()), id="no_retries"),
        pytest.param((RemoteFolder, "put_new", put_new_as_one_call), id="retried_as_a_whole"),
    ],
)
def test_a_missing_precaution_is_found(
    part: tuple[object, str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = num_calls()
    monkeypatch.setattr(*part)

    assert any(does_harm(number) for number in range(0, calls, 7))


def does_harm(number: int) -> bool:
    handler = FaultyHandler(fail_at(number, away))
    try:
        RemotePlayer(handler).play()
        check_played(handler)
    except (AssertionError, SearchError, KeyError):
        return True
    return False


@pytest.mark.parametrize("seconds", [5.0, 60.0])
@pytest.mark.parametrize("start", [0, 40, 200])
def test_an_outage_of_a_minute_is_survived(start: int, seconds: float) -> None:
    calls = iter(range(10**9))
    begun: list[float] = []

    def fault(operation: str) -> None:
        if next(calls) >= start:
            begun.append(player.clock.up)
            if player.clock.up < begun[0] + seconds:
                raise away()

    handler = FaultyHandler(fault)
    player = RemotePlayer(handler)

    player.play()

    check_played(handler)
    assert sum(player.clock.slept) >= seconds


def test_an_outage_of_ten_minutes_ends_typed() -> None:
    handler, clock = FaultyHandler(), FakeClock()
    store = faulty_store(handler, clock)
    store.put("a", b"1")
    handler.fault = fail_at(0, away, times=10**9)

    with pytest.raises(StorageError, match=r"cannot read .*/a: .*NETWORK.* \(tried for 1\d\d s\)"):
        store.get("a")

    assert 150.0 <= sum(clock.slept) <= 170.0


LASTING = [
    OSError("AWS Error ACCESS_DENIED during HeadObject operation: No response body."),
    OSError("AWS Error NO_SUCH_BUCKET during PutObject operation: It does not exist"),
    OSError("AWS Error INVALID_ACCESS_KEY_ID during PutObject operation"),
    OSError("AWS Error SIGNATURE_DOES_NOT_MATCH during PutObject operation"),
    OSError("AWS Error UNKNOWN (HTTP status 400) during PutObject: ExpiredToken"),
    OSError("AWS Error UNKNOWN (HTTP status 301) during HeadBucket operation"),
    OSError("google::cloud::Status(UNAUTHENTICATED: no)"),
    PermissionError(errno.EACCES, "denied"),
    OSError(errno.ENOSPC, "no space"),
]


@pytest.mark.parametrize("error", LASTING, ids=str)
def test_what_cannot_mend_is_told_at_once(error: OSError) -> None:
    handler, clock = FaultyHandler(), FakeClock()
    store = faulty_store(handler, clock)

    def refuse(operation: str) -> None:
        raise error

    handler.fault = refuse
    with pytest.raises(StorageError, match=f"cannot write {URI}/a"):
        store.put("a", b"1")

    assert clock.slept == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(AWAY),
        OSError("AWS Error SLOW_DOWN during PutObject operation: Reduce your request rate"),
        OSError("AWS Error UNKNOWN (HTTP status 503) during PutObject operation"),
        OSError("AWS Error NO_SUCH_UPLOAD during UploadPart operation"),
        ConnectionResetError(errno.ECONNRESET, "reset"),
        TimeoutError("too long"),
        OSError(errno.EIO, "error"),
    ],
    ids=str,
)
def test_what_may_mend_is_tried_again(error: OSError) -> None:
    handler = FaultyHandler(fail_at(0, lambda: error, times=3))
    store = faulty_store(handler)

    store.put("a", b"1")

    assert store.get("a") == b"1"


def test_what_is_missing_is_told_at_once() -> None:
    clock = FakeClock()

    with pytest.raises(FileNotFoundError, match="no such file"):
        faulty_store(FaultyHandler(), clock).get("a")

    assert clock.slept == []


def test_a_call_that_hangs_for_ever_ends_typed() -> None:
    let_go = threading.Event()
    handler = FaultyHandler(lambda operation: let_go.wait(60) and None)
    store = faulty_store(handler, call_seconds=0.02, patience_seconds=0.0)

    with pytest.raises(StorageError, match=r"cannot read .* has not answered within 0 s"):
        store.get("a")
    let_go.set()


def test_pauses_grow_to_a_limit_and_are_drawn_apart() -> None:
    clock = FakeClock()
    retrying = Retrying(clock=clock.uptime, sleep=clock.sleep)

    def fail() -> None:
        raise away()

    with pytest.raises(OSError, match="NETWORK_CONNECTION"):
        retrying.call(fail)

    assert clock.slept[0] <= 0.2
    assert max(clock.slept) <= 10.0
    assert len(set(clock.slept)) == len(clock.slept) <= 40


def test_a_trouble_that_lasts_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    store = faulty_store(FaultyHandler(fail_at(0, away, times=8)))

    store.put("a", b"1")

    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "NETWORK_CONNECTION" in caplog.text


def test_an_owner_that_cannot_ask_its_storage_is_not_told_that_it_lost(tmp_path: object) -> None:
    player = RemotePlayer(FaultyHandler())
    with player.owner(player.store()) as ownership:
        player.handler.fault = fail_at(0, away, times=10**9)

        with pytest.raises(StorageError, match="cannot list") as caught:
            ownership.check()

        assert not isinstance(caught.value, StudyLocked)
        player.handler.fault = lambda operation: None
