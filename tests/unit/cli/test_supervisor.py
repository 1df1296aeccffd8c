"""The parent process of a command: what it hands on, what it bounds, and what it says."""

import os
import pty
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.support.processes import is_alive, kill, wait_until
from tests.support.stub_study import ROOT

pytestmark = pytest.mark.slow

CODE = """
import atexit, os, signal, subprocess, sys, time
from pathlib import Path
from search.cli import supervisor
from search.cluster.watchdog import tell, tell_folder

folder = Path(sys.argv[1])
def note(name, text=""):
    (folder / "new").write_text(str(text))
    (folder / "new").rename(folder / name)  # it is there with its text
{limits}
def drive():
{body}

sys.exit(supervisor.supervise(drive, lambda line: print(line, file=sys.stderr)))
"""
SLEEP = "time.sleep(100)"
INTERRUPTED_AT_ONCE = f"""
note("ready", os.getpid())
try:
    {SLEEP}
except KeyboardInterrupt:
    print("heard")
    return 130
"""
DEAF = f"""
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
note("ready", os.getpid())
{SLEEP}
"""


def command_of(folder, body, limits=""):
    body = textwrap.indent(textwrap.dedent(body), "    ")
    return [sys.executable, "-c", CODE.format(body=body, limits=limits), str(folder)]


@pytest.fixture(name="begin")
def begun_processes(tmp_path):
    begun = []

    def begin(body, limits="", **options):
        process = subprocess.Popen(
            command_of(tmp_path, body, limits),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )
        begun.append(process)
        return process

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


@pytest.fixture(name="complete")
def completed_processes(begin):
    def complete(body, limits=""):
        process = begin(body, limits)
        _, err = process.communicate(timeout=60)
        return process.returncode, err.strip()

    return complete


def wait_for(path):
    wait_until(path.exists, 60)
    return path.read_text()


@pytest.mark.parametrize("status", [0, 1, 2, 130])
def test_the_exit_status_is_that_of_the_child_and_no_word_is_added(complete, status):
    assert complete(f"return {status}") == (status, "")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            "tell('running'); tell_folder('/my s/digits'); os.kill(os.getpid(), signal.SIGKILL)",
            "was ended by SIGKILL while the study ran; perhaps memory was short, or a process of "
            "Ray's was killed; what was recorded is kept: `twohead resume '/my s/digits'` goes on "
            "with it",
            id="killed",
        ),
        pytest.param(
            "tell('leaving'); os._exit(1)",
            "Ray ended the process that drives the study (status 1) while it left Ray; perhaps",
            id="exit_below_python",
        ),
        pytest.param(
            "os.abort()",
            "was ended by SIGABRT while it prepared the study; perhaps memory was short, or a "
            "process of Ray's was killed; what was recorded is kept: the same command goes on",
            id="aborted",
        ),
    ],
)
def test_a_child_that_ends_without_a_word_is_spoken_for(complete, body, expected):
    status, err = complete(body)

    assert status == 1
    assert expected in err
    assert len(err.splitlines()) == 1


def test_a_child_that_is_ended_while_ray_starts_is_started_once_more(complete, tmp_path):
    status, err = complete(
        """
        tell("starting")
        if not (folder / "first").exists():
            note("first")
            os._exit(1)
        return 0
        """
    )

    assert status == 0
    assert err.endswith("(status 1) while Ray started; it is started once more")


def test_a_child_that_hangs_while_ray_starts_is_started_once_more_and_then_given_up(complete):
    # As Ray's C++ does: the interpreter's lock is held, and nothing of Python's is run.
    hang = (
        "tell('starting'); signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()); "
        + SLEEP
    )

    status, err = complete(hang, "supervisor.LIMITS['starting'] = 0.2")

    assert status == 1
    first, last = err.splitlines()
    assert first.endswith("did not go on while Ray started; it is started once more")
    assert "did not go on while Ray started; perhaps" in last


def test_a_child_that_hangs_when_all_is_said_is_ended_and_its_status_kept(complete):
    late = f"atexit.register(lambda: {SLEEP}); return 0"

    assert complete(late, "supervisor.LIMITS['told'] = 0.2") == (0, "")
    assert complete("atexit.register(os.abort); return 0") == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_goes_on_to_the_child_alone_which_may_end_in_order(begin, tmp_path, number):
    process = begin(
        """
        heard = []
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *given: heard.append(given[0]))
        note("ready")
        while not heard:
            time.sleep(0.01)
        time.sleep(0.2)
        print(heard)
        return 130
        """
    )
    wait_for(tmp_path / "ready")

    os.killpg(process.pid, number)  # as a terminal and `timeout` do
    process.send_signal(number)

    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, f"[{int(number)}]\n", "")


@pytest.mark.parametrize(
    ("grace", "num"), [pytest.param(0.2, 2, id="second"), pytest.param(1000, 3, id="third")]
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_two_signals_end_a_child_that_hears_none_and_three_at_once(
    begin, tmp_path, grace, num, number
):
    process = begin(DEAF, f"supervisor.GRACE_SECONDS = {grace}; supervisor.SAME_SECONDS = 0.01")
    child = int(wait_for(tmp_path / "ready"))

    for _ in range(num):
        process.send_signal(number)
        time.sleep(0.1)  # else they are one

    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "interrupted; what was recorded is kept\n")
    assert not is_alive(child)


def test_a_key_that_is_held_down_is_more_than_one_signal(begin, tmp_path):
    process = begin(DEAF, "supervisor.GRACE_SECONDS = 1000")
    wait_for(tmp_path / "ready")

    for _ in range(1000):
        process.send_signal(signal.SIGINT)
        time.sleep(0.03)
        if process.poll() is not None:
            break

    assert process.wait(1) == 130


def test_two_signals_end_a_child_that_was_stopped(begin, tmp_path):
    process = begin(DEAF, "supervisor.GRACE_SECONDS = 0.2")
    os.kill(int(wait_for(tmp_path / "ready")), signal.SIGSTOP)

    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)

    process.communicate(timeout=60)
    assert process.returncode == 130


def test_a_shell_that_has_its_jobs_ignore_sigint_keeps_none_from_the_child(begin, tmp_path):
    process = begin(
        INTERRUPTED_AT_ONCE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)
    )
    wait_for(tmp_path / "ready")

    process.send_signal(signal.SIGINT)

    assert process.communicate(timeout=60) == ("heard\n", "")
    assert process.returncode == 130


def test_under_nohup_a_lost_terminal_ends_nothing(begin, tmp_path):
    process = begin(
        """
        note("ready")
        while not (folder / "go").exists():
            time.sleep(0.01)
        return 0
        """,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    wait_for(tmp_path / "ready")

    os.killpg(process.pid, signal.SIGHUP)
    (tmp_path / "go").touch()

    process.communicate(timeout=60)
    assert process.returncode == 0


def test_when_the_terminal_is_lost_the_child_ends_in_order_though_it_still_writes(tmp_path):
    pid, terminal = pty.fork()
    if pid == 0:
        body = """
            from search.cluster.signals import catch_signals
            with catch_signals() as flag, flag.patiently():
                note("ready")
                while not flag.is_set:
                    time.sleep(0.01)
                print("interrupted", flush=True)
            note("ended")
            return 130
        """
        os.environ["PYTHONPATH"] = ROOT
        os.execv(sys.executable, command_of(tmp_path, body))
    wait_for(tmp_path / "ready")

    os.close(terminal)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    assert (tmp_path / "ended").exists()


def test_a_child_ends_with_its_parent_however_that_ends(begin, tmp_path):
    process = begin(DEAF)
    child = int(wait_for(tmp_path / "ready"))

    process.kill()

    wait_until(lambda: not is_alive(child), 60)


def test_what_a_child_leaves_ends_before_the_command_does(begin, tmp_path):
    process = begin(
        f"""
        command = [sys.executable, "-c", "{SLEEP}".replace("time", "__import__('time')")]
        left = subprocess.Popen(command, start_new_session=True)
        note("left", left.pid)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        "supervisor.ORPHANS_SECONDS = 0.2",
    )

    process.communicate(timeout=60)

    assert not is_alive(int(wait_for(tmp_path / "left")))


def test_what_a_shell_had_begun_before_it_became_the_command_is_left_alone(tmp_path):
    command = shlex.join(command_of(tmp_path, "print('said'); return 0"))
    late = f"sleep 1; cat > {tmp_path}/log; touch {tmp_path}/complete"
    shell = f"exec > >({late}); exec {command}"

    done = subprocess.run(["bash", "-c", shell], cwd=ROOT, check=False, timeout=60)

    assert done.returncode == 0
    wait_until((tmp_path / "complete").exists, 60)
    assert (tmp_path / "log").read_text() == "said\n"


def state(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_ctrl_z_stops_the_child_as_well_and_a_stopped_child_does_not_count_as_hanging(
    begin, tmp_path
):
    process = begin(
        'tell("starting")' + INTERRUPTED_AT_ONCE, "supervisor.LIMITS['starting'] = 1000"
    )
    child = int(wait_for(tmp_path / "ready"))

    process.send_signal(signal.SIGTSTP)
    wait_until(lambda: state(child) == state(process.pid) == "T", 60)
    process.send_signal(signal.SIGCONT)
    wait_until(lambda: "T" not in state(child) + state(process.pid), 60)

    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0] == "heard\n"


def test_ctrl_z_gives_the_cursor_of_a_terminal_back(tmp_path):
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["PYTHONPATH"] = ROOT
        os.execv(sys.executable, command_of(tmp_path, INTERRUPTED_AT_ONCE))
    child = int(wait_for(tmp_path / "ready"))

    os.kill(pid, signal.SIGTSTP)

    assert os.read(terminal, 100).startswith(b"\x1b[?25h")
    wait_until(lambda: state(child) == state(pid) == "T", 60)
    kill(pid)
    os.waitpid(pid, 0)
    os.close(terminal)


def test_a_child_that_was_stopped_for_longer_than_a_limit_goes_on(begin, tmp_path):
    process = begin(
        """
        tell("starting")
        note("ready", os.getpid())
        while not (folder / "go").exists():
            time.sleep(0.01)
        tell("running")
        return 0
        """,
        "supervisor.LIMITS['starting'] = 1.0; supervisor.LOOK_SECONDS = 0.05",
    )
    child = int(wait_for(tmp_path / "ready"))

    os.kill(child, signal.SIGSTOP)
    time.sleep(1.5)
    (tmp_path / "go").touch()
    os.kill(child, signal.SIGCONT)

    assert process.communicate(timeout=60) == ("", "")
    kill(child)
