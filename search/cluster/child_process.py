"""Calls a function in a process of its own, on this machine.

For what may crash or take all memory, such as decoding images that come from anywhere, and for
what is not to stay: a user's module, TensorFlow with its threads.
"""

import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from trainables.errors import SearchError

Answer = TypeVar("Answer")

CODE = """
import sys
sys.path.insert(0, sys.argv[1])
import search, trainables
del sys.path[0]
from search.cluster.child_process import main
main()
"""
"""Without the folders that the parent imports from: other packages of our names may lie there."""
ENDING_SECONDS = 10.0
"""How long the process may take to clean up when nobody waits for it any more."""


@contextmanager
def apart(function: Callable[..., Answer], *arguments: Any) -> Iterator[Callable[[], Answer]]:
    """Call a function in a process that begins now; yield what waits for its answer.

    That returns what the function returned, and raises what it raised; `SearchError` if the
    process was lost. It ends with the block, finished or not, and with this process.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", CODE, str(Path(__file__).parents[2])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a Ctrl-C is ours to take; it ends when its input does
    )
    try:
        with suppress(BrokenPipeError):  # it has ended already: whoever waits hears of it
            assert process.stdin is not None
            process.stdin.write(pickle.dumps((function, arguments)))
            process.stdin.flush()
        yield lambda: _wait(process, function.__name__)
    finally:
        _end(process)


def _wait(process: "subprocess.Popen[bytes]", name: str) -> Any:
    assert process.stdout is not None
    try:
        answer, error = pickle.load(process.stdout)
    except (EOFError, pickle.UnpicklingError) as cut_off:
        raise SearchError(
            f"the process of {name} was lost (status {process.wait()}); if memory was short, make "
            "room, and run it again"
        ) from cut_off
    if error is not None:
        raise error
    return answer


def _end(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):
                pipe.close()
    try:
        process.wait(ENDING_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> None:
    """Do what the parent asks; the process' own code."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job may ignore it
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever is printed is no answer
    function, arguments = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with, args=(sys.stdin.fileno(),), daemon=True).start()
    try:
        data = _answer(function, arguments)
        answer.write(data)
        answer.flush()
    finally:
        os._exit(0)  # what a user's module has begun in other threads may never end


def _end_with(asked: int) -> None:
    """Interrupt this process when its input ends: nobody waits for it any more."""
    os.read(asked, 1)
    main_thread = threading.main_thread().ident
    assert main_thread is not None
    signal.pthread_kill(main_thread, signal.SIGINT)


def _answer(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    """Return what a function returned, and what it raised, as bytes."""
    try:
        return pickle.dumps((function(*arguments), None))
    except SearchError as error:
        return pickle.dumps((None, error))
    except Exception as error:
        error.add_note("".join(traceback.format_exception(error)))
        with suppress(Exception):
            data = pickle.dumps((None, error))
            pickle.loads(data)  # an error with arguments of its own may not come back
            return data
        return pickle.dumps((None, SearchError(f"{type(error).__name__}: {error}")))
