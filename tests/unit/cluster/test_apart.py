"""Calls in a process of their own."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from search.cluster.child_process import _answer, apart
from trainables.data import decode as data_decode
from trainables.data.request import DataInfo, DataRequest
from trainables.errors import InputError, SearchError
from trainables.model.user_model import user_parameters
from trainables.spec.heads import DeclaredHead

HEADS = (DeclaredHead(name="c_output", kind="classification"),)
ROOT = Path(__file__).resolve().parents[3]


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_call_answers_from_another_process():
    with apart(os.getpid) as wait:
        other = wait()

    assert other != os.getpid()
    assert not is_alive(other)


def test_the_process_takes_our_packages_wherever_the_parent_has_them_from(tmp_path):
    other = tmp_path / "other"
    for name in ("search", "trainables"):
        (other / name).mkdir(parents=True)
        (other / name / "__init__.py").write_text("raise ImportError('another package')")
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from search.cluster.child_process import apart\n"
        "with apart(abs, -3) as answer: print(answer())"
    )
    environment = {**os.environ, "PYTHONPATH": str(other)}

    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )

    assert found.stdout == "3\n", found.stderr


def test_what_is_printed_meanwhile_is_no_part_of_the_answer():
    with apart(os.system, "echo loud") as wait:
        assert wait() == 0


def test_an_error_of_ours_arrives_as_it_was_raised(tmp_path):
    request = DataRequest(uri=str(tmp_path / "gone.parquet"), heads=HEADS, image_size=None)
    info = DataInfo(fingerprint="f", image_shape=(8, 8, 1), heads=(), rows={}, baselines={})

    with (
        apart(data_decode.decode_dataset, request, info.fingerprint, str(tmp_path)) as wait,
        pytest.raises(InputError, match=r"gone\.parquet"),
    ):
        wait()


def test_an_error_of_others_says_where_it_arose():
    with apart(os.stat, "/no/such/file") as wait, pytest.raises(FileNotFoundError) as caught:
        wait()

    assert any("_answer" in note for note in caught.value.__notes__)


def test_an_error_that_cannot_be_pickled_arrives_as_text():
    class Local(Exception):
        pass

    def fail():
        raise Local("of no module")

    answer, error = pickle.loads(_answer(fail, ()))

    assert answer is None
    assert isinstance(error, SearchError)
    assert str(error) == "Local: of no module"


def test_a_process_that_dies_is_told_as_lost():
    with (
        apart(os.kill, 0, signal.SIGKILL) as wait,  # 0: its own process group
        pytest.raises(SearchError, match=r"process of kill was lost \(status -9\)"),
    ):
        wait()


def test_nothing_is_left_of_a_call_that_nobody_waits_for():
    def leave_early():
        with apart(time.sleep, 300.0):
            raise LookupError("something else went wrong")

    with pytest.raises(LookupError, match="something else"):
        leave_early()

    assert children() == []


THREADS = """
import threading

threading.Thread(target=threading.Event().wait).start()


def build(*, image_shape, heads, units=4): ...
"""


@pytest.mark.timeout(120)
def test_threads_of_a_users_module_that_never_end_keep_nobody_waiting(tmp_path):
    (tmp_path / "busy.py").write_text(THREADS)

    with apart(user_parameters, "busy:build", str(tmp_path)) as wait:
        assert wait() == {"units": 4}

    assert children() == []


def children():
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return file.read().split()
