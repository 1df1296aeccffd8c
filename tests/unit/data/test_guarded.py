"""What a process that reads foreign files may do to who asks it: nothing."""

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import trainables.data.guarded as guarded
from tests.support.data_sets import request, write
from trainables.data.check import check_dataset
from trainables.data.guarded import Readers, shared_readers
from trainables.errors import InputError

WHO = "data file 'a.parquet'"


@pytest.fixture
def readers(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))  # where these functions are
    return Readers()


def numbers(num):
    yield from range(num)


def abort():
    os.abort()
    yield


def end():
    os._exit(3)
    yield


def allocate(gib):
    yield len(bytes(gib * 2**30))


def work_for_ever():
    while True:
        pass
    yield


def sleep_for_ever():
    time.sleep(600)
    yield


def fail():
    yield 1
    raise LookupError("nothing there")


class Particular(Exception):
    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def fail_particularly():
    raise Particular("one", "two")
    yield


def print_loudly():
    os.write(1, b"loud")
    print("louder", flush=True)
    yield 1


def process_id():
    yield os.getpid()
    yield os.getpid()


def test_answers_arrive_in_order(readers):
    assert list(readers.ask(WHO, numbers, 1000)) == list(range(1000))


def test_one_process_answers_one_question_after_the_other(readers):
    ids = {number for _ in range(3) for number in readers.ask(WHO, process_id)}

    assert len(ids) == 1
    assert ids != {os.getpid()}


def test_questions_at_once_have_processes_of_their_own(readers):
    first, second = readers.ask(WHO, process_id), readers.ask(WHO, process_id)

    assert next(first) != next(second)
    assert len(list(first)) == len(list(second)) == 1


def test_a_question_that_is_given_up_leaves_the_process_to_the_next(readers):
    (asked,) = {*readers.ask(WHO, process_id)}
    some = readers.ask(WHO, numbers, 1000)
    next(some)
    some.close()

    assert next(readers.ask(WHO, process_id)) == asked


@pytest.mark.parametrize(
    ("function", "message"),
    [
        pytest.param(abort, "the reader ended by signal SIGABRT", id="abort"),
        pytest.param(end, "the reader ended with status 3", id="end"),
    ],
)
def test_a_process_that_ends_is_told_with_the_file(readers, function, message):
    with pytest.raises(InputError, match=f"{WHO} cannot be read: {message}"):
        list(readers.ask(WHO, function))

    assert list(readers.ask(WHO, numbers, 2)) == [0, 1]


def test_a_process_that_ended_while_it_had_nothing_to_do_is_no_matter(readers):
    (number, _) = readers.ask(WHO, process_id)
    os.kill(number, signal.SIGKILL)
    os.waitid(os.P_PID, number, os.WEXITED | os.WNOWAIT)

    assert list(readers.ask(WHO, numbers, 2)) == [0, 1]


def test_a_process_takes_no_more_memory_than_it_may(readers, monkeypatch):
    monkeypatch.setattr(guarded, "LARGEST_LIMIT", 2**30)

    with pytest.raises(InputError, match=r"the reader used more than 1\.0 GiB: make room"):
        list(readers.ask(WHO, allocate, 2))
    assert list(readers.ask(WHO, numbers, 2)) == [0, 1]


def test_a_process_that_is_busy_for_ever_is_ended(readers, monkeypatch):
    monkeypatch.setattr(guarded, "ANSWER_SECONDS", 1)

    for function in (work_for_ever, sleep_for_ever):
        with pytest.raises(InputError, match="the reader took longer than 1 s"):
            list(readers.ask(WHO, function))


BUSY = """
import sys
import trainables.data.guarded as guarded
from tests.unit.data.test_guarded import work_for_ever

guarded.CPU_SECONDS = 0
list(guarded._messages(work_for_ever, ()))
"""


def test_the_kernel_ends_a_process_that_nobody_waits_for():
    found = subprocess.run([sys.executable, "-c", BUSY], check=False, timeout=60)

    assert found.returncode == -signal.SIGXCPU


def test_errors_arrive_as_they_were_raised(readers):
    answers = readers.ask(WHO, fail)

    assert next(answers) == 1
    with pytest.raises(LookupError, match="nothing there"):
        next(answers)
    with pytest.raises(ValueError, match="one and two"):
        list(readers.ask(WHO, fail_particularly))


def test_what_is_printed_is_no_answer(readers):
    assert list(readers.ask(WHO, print_loudly)) == [1]


@pytest.mark.usefixtures("readers")
def test_the_processes_end_with_who_asks():
    made = Readers()
    (number, _) = made.ask(WHO, process_id)
    assert os.path.exists(f"/proc/{number}")
    del made
    gc.collect()

    assert not os.path.exists(f"/proc/{number}")


def test_all_sources_of_a_process_share_their_readers(tmp_path):
    held = shared_readers()
    uri = write(tmp_path / "a.parquet")

    check_dataset(request(uri))

    assert shared_readers() is held


@pytest.mark.parametrize(("free", "limit"), [(2**40, 16 * 2**30), (2**20, 2**30), (2**33, 2**32)])
def test_the_limit_is_half_of_what_is_free(monkeypatch, free, limit):
    monkeypatch.setattr(guarded, "_free_bytes", lambda: free)

    assert guarded._memory_limit() == limit
