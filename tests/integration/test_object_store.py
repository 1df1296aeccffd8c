"""Studies on a real S3 server, which is stopped, cut off and started again."""

import random
import signal
import threading
from collections.abc import Iterator

import pytest

import trainables.storage.remote
from search.errors import StudyLocked
from search.record.ownership import Ownership, claim, holder
from search.record.reader import StudyReader
from tests.integration.object_store import BUCKET, CREDENTIALS, ObjectStore, object_store
from tests.support.clocks import FakeClock
from tests.support.faulty_files import MemoryFiles, empty_disk
from tests.support.scripted_study import EPOCHS, STATES, Player, small_packs
from trainables.errors import StorageError
from trainables.storage.retry import Retrying
from trainables.storage.store import Store

pytestmark = pytest.mark.slow

pytest.importorskip("moto.server", reason="no S3 server to test against")


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStore]:
    with object_store() as store:
        yield store


def test_a_store_on_s3_is_as_any_other(server: ObjectStore) -> None:
    store = Store(server.uri("plain"))

    store.put("a/b", b"1")
    store.put("a/c/d", b"x" * 12 * 2**20)

    assert store.put_new("new", b"2")
    assert not store.put_new("new", b"3")
    assert store.list() == ["a/b", "a/c/d", "new"]
    assert len(store.get("a/c/d")) == 12 * 2**20
    store.delete("a")
    assert store.list() == ["new"]
    with pytest.raises(FileNotFoundError, match="no such file"):
        store.get("a/b")


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_the_usual_environment_names_server_and_keys(
    name: str, server: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in {**CREDENTIALS, name: server.endpoint}.items():
        monkeypatch.setenv(key, value)

    Store(f"s3://{BUCKET}/environment").put("a", b"1")

    assert Store(server.uri("environment")).get("a") == b"1"


def test_a_bucket_that_is_missing_is_told_at_once(server: ObjectStore) -> None:
    clock = FakeClock()
    uri = server.uri("x").replace(BUCKET, "missing")
    store = Store(uri, retrying=Retrying(clock=clock.uptime, sleep=clock.sleep))

    with pytest.raises(StorageError, match=r"cannot write s3://missing/x/a: .*NO_SUCH_BUCKET"):
        store.put("a", b"1")

    assert clock.slept == []


def test_a_study_on_s3_has_one_owner(server: ObjectStore) -> None:
    store = Store(server.uri("owned"))

    with claim(store) as first:
        with pytest.raises(StudyLocked, match=r"is being run by process \d+ on"):
            claim(Store(server.uri("owned")))
        assert holder(store) is not None
        first.check()

    assert claim(store).generation == 2


@pytest.mark.parametrize("turn", range(5))
def test_of_many_that_claim_a_study_at_once_one_gets_it(turn: int, server: ObjectStore) -> None:
    start = threading.Barrier(3)
    won: list[Ownership] = []
    refused: list[str] = []

    def race() -> None:
        store = Store(server.uri(f"race-{turn}"))
        start.wait()
        try:
            won.append(claim(store))
        except StudyLocked as error:
            refused.append(str(error))

    racers = [threading.Thread(target=race) for _ in range(3)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()

    assert (len(won), len(refused)) == (1, 2), (won, refused)


class S3Player(Player):
    def __init__(self, uri: str) -> None:
        super().__init__(MemoryFiles(empty_disk()))
        self.uri = uri

    def store(self) -> Store:
        return Store(self.uri)


def stop_for_a_while(server: ObjectStore, draw: random.Random, is_over: threading.Event) -> None:
    server.server.send_signal(signal.SIGSTOP)
    is_over.wait(draw.uniform(1.0, 2.5))
    server.server.send_signal(signal.SIGCONT)


def cut_off_for_a_while(
    server: ObjectStore, draw: random.Random, is_over: threading.Event
) -> None:
    server.relay.kill()
    server.relay.wait()
    is_over.wait(draw.uniform(0.0, 2.0))
    server.start_relay()


TROUBLES = [stop_for_a_while, cut_off_for_a_while] * 4


def test_a_study_survives_all_troubles_of_its_server(
    server: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainables.storage.remote, "READ_SECONDS", 1.0)
    draw, is_over, left = random.Random(7), threading.Event(), list(TROUBLES)

    def make_trouble() -> None:
        while left and not is_over.wait(draw.uniform(0.3, 1.0)):
            left[0](server, draw, is_over)
            del left[0]

    thread = threading.Thread(target=make_trouble)
    thread.start()
    try:
        with small_packs():
            for turn in range(100):
                if not left:
                    break
                uri = server.uri(f"troubled-{turn}")
                S3Player(uri).play()
                check(uri)
    finally:
        is_over.set()
        thread.join()
    assert not left


def check(uri: str) -> None:
    history = StudyReader(Store(uri)).read()
    assert history.is_closed
    assert {trial.number: trial.state for trial in history.trials} == STATES
    assert [len(trial.measurements) for trial in history.trials] == list(EPOCHS.values())
