"""A trial gives the same bits in a fresh process and a well-used one, alone and beside others."""

import subprocess
import sys

import pytest


def start(kind):
    command = [sys.executable, "-m", "tests.integration.repeated_trial", kind]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def answers(*kinds):
    """Return what processes print that run side by side."""
    processes = [start(kind) for kind in kinds]
    try:
        outputs = [process.communicate(timeout=240)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * len(processes)
    assert all(outputs)
    return outputs


@pytest.mark.slow
def test_a_trial_gives_the_same_bits_fresh_and_used_alone_and_packed():
    alone = answers("fresh")
    packed = answers("used", "given_up")

    assert len({*alone, *packed}) == 1, (alone, packed)
