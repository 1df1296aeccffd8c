"""A measurement in a process of its own, whatever becomes of that."""

import os
import signal

import pytest

from trainables.probing.measure import Child


def answer_of(work):
    child = Child(work)
    try:
        return child.answer()
    finally:
        child.end()


def dying_by(number):
    return lambda pipe: os.kill(os.getpid(), number)


def raising(error):
    def work(pipe):
        raise error

    return work


def test_what_a_process_found_is_its_answer():
    assert answer_of(lambda pipe: pipe.send({"peak_bytes": 3})) == {"peak_bytes": 3}


@pytest.mark.parametrize(
    ("work", "failed", "is_memory"),
    [
        pytest.param(dying_by(signal.SIGKILL), "was killed by SIGKILL", True, id="by_the_kernel"),
        pytest.param(dying_by(signal.SIGABRT), "was killed by SIGABRT", True, id="no_allocation"),
        pytest.param(dying_by(signal.SIGSEGV), "was killed by SIGSEGV", False, id="a_crash"),
        pytest.param(lambda pipe: os._exit(3), "ended with status 3", False, id="an_exit"),
    ],
)
def test_a_process_that_died_says_how_and_whether_memory_may_have_been_short(
    work, failed, is_memory
):
    told = {"failed": f"the process that tried it {failed}", "is_memory": is_memory}

    assert answer_of(work) == told


@pytest.mark.parametrize(
    ("error", "failed", "is_memory"),
    [
        pytest.param(MemoryError("3 PB"), "out of memory: 3 PB", True, id="memory"),
        pytest.param(SystemExit(4), "SystemExit: 4", False, id="exit"),
    ],
)
def test_what_is_raised_in_a_process_is_its_answer(error, failed, is_memory):
    told = answer_of(raising(error))

    assert told["failed"].startswith(failed)
    assert told["is_memory"] is is_memory
