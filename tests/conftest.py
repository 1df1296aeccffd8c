"""What holds for all tests; without the slow ones, neither TensorFlow nor Ray is started."""

import importlib.abc
import importlib.machinery
import signal
import sys
from pathlib import Path

import hypothesis
import pytest

CLUSTER = Path(__file__).parent / "cluster"
"""On simulated machines, and slow as a whole."""
WHOLLY_SLOW = "\npytestmark = pytest.mark.slow\n"
"""In files of which nothing is collected where the slow tests are not wanted."""


@pytest.fixture(autouse=True, scope="session")
def _signals_of_a_terminal():
    """Let SIGHUP mean to what a test begins what it means on a terminal.

    Under ``nohup`` it is ignored, which processes inherit; a handler of Python's they do not.
    """
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda number, frame: None)


@pytest.fixture(autouse=True)
def _a_fast_test_starts_nothing(request):
    """Fail a test that is not marked slow and loads TensorFlow, or starts Ray in this process."""
    was_loaded = "tensorflow" in sys.modules
    yield
    if any(request.node.get_closest_marker(name) for name in ("slow", "cluster", "hosts")):
        return
    assert was_loaded or "tensorflow" not in sys.modules, "loads TensorFlow: mark it slow"
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        sys.modules["ray"].shutdown()
        pytest.fail("starts Ray: mark it slow")


@pytest.fixture
def drive():
    """Return what runs a study in a process of its own, which ends with the test at the latest."""
    from tests.support.driven_study import Driver
    from tests.support.processes import kill_all

    made = []

    def begin(*given, **changes):
        made.append(Driver(*given, **changes))
        return made[-1]

    yield begin
    for driver in made:
        kill_all(driver.tag)
        driver.process.wait()


def _leaves_slow_ones_out(config):
    return "not slow" in config.getoption("markexpr")


def pytest_configure(config):
    hypothesis.settings.register_profile("fast", max_examples=30)
    if _leaves_slow_ones_out(config):
        hypothesis.settings.load_profile("fast")
        sys.meta_path.insert(0, _NoTensorFlow())


def pytest_ignore_collect(collection_path, config):
    if not _leaves_slow_ones_out(config):
        return None
    is_test = collection_path.name.startswith("test_") and collection_path.suffix == ".py"
    is_slow = is_test and WHOLLY_SLOW in collection_path.read_text()
    return True if is_slow or CLUSTER in collection_path.parents else None


def pytest_collection_modifyitems(items):
    """Begin with the files of slow tests: at the end no worker waits long for another."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


class _NoTensorFlow(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds TensorFlow, as it is installed, and refuses to load it."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname != "tensorflow":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is not None:
            spec.loader = self
        return spec

    def exec_module(self, module):
        raise RuntimeError("TensorFlow is not to be loaded by tests that are not marked slow")
