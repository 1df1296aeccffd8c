"""What holds for all tests."""

import signal

import pytest


@pytest.fixture(autouse=True, scope="session")
def _signals_of_a_terminal():
    """Let SIGHUP mean to what a test begins what it means on a terminal.

    Under ``nohup`` it is ignored, which processes inherit; a handler of Python's they do not.
    """
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda number, frame: None)
