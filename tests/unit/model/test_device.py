"""What a GPU's driver says of its memory; the driver here is a stand-in with its calls."""

import ctypes

import pytest

from trainables.errors import UnfitNode
from trainables.model import device

TOTAL, FREE = 16 * 2**30, 10 * 2**30


class Driver:
    """As much of CUDA's driver as is called, with a GPU of its own."""

    def __init__(self, fails=""):
        self.calls = []
        self.fails = fails

    def __getattr__(self, name):
        def call(*given):
            self.calls.append(name)
            values = {
                "cuDeviceTotalMem_v2": [TOTAL],
                "cuMemGetInfo_v2": [FREE, TOTAL],
                "cuDeviceGet": [0],
                "cuDevicePrimaryCtxRetain": [77],
            }.get(name, [])
            for place, value in zip(given, values, strict=False):
                place._obj.value = value
            return 100 if name == self.fails else 0

        return call


@pytest.fixture(name="drive", autouse=True)
def stand_in(monkeypatch):
    monkeypatch.delenv(device.SIMULATED_GPU, raising=False)

    def load(driver):
        monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
        return driver

    return load


def test_the_memory_of_a_gpu_is_asked_without_taking_any(drive):
    driver = drive(Driver())

    assert device.gpu_bytes() == TOTAL
    assert driver.calls == ["cuInit", "cuDeviceGet", "cuDeviceTotalMem_v2"]


def test_what_is_taken_is_what_is_not_free_and_the_context_is_given_back(drive):
    driver = drive(Driver())

    assert device.gpu_taken() == TOTAL - FREE
    assert driver.calls[-2:] == ["cuCtxPopCurrent_v2", "cuDevicePrimaryCtxRelease_v2"]


@pytest.mark.parametrize(
    "fails", ["cuInit", "cuDeviceGet", "cuDeviceTotalMem_v2"], ids=["start", "device", "memory"]
)
def test_a_driver_that_refuses_makes_its_node_unfit(drive, fails):
    drive(Driver(fails))

    with pytest.raises(UnfitNode, match=rf"needs a GPU whose memory can be read .*{fails} return"):
        device.gpu_bytes()


def test_a_node_without_a_driver_is_unfit(monkeypatch):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)

    with pytest.raises(UnfitNode, match=r"got none \(libcuda.so.1: cannot open .*set a number"):
        device.gpu_bytes()


def test_a_simulated_gpu_has_the_memory_that_its_environment_says(monkeypatch):
    monkeypatch.setenv(device.SIMULATED_GPU, "1")
    monkeypatch.setenv(device.SIMULATED_BYTES, "123")

    assert device.gpu_bytes() == 123
