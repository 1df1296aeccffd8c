"""The memory of this process' GPU, asked of its driver: TensorFlow tells only of its own part."""

import ctypes
import os
import socket
from typing import Any

from trainables.errors import UnfitNode

SIMULATED_GPU = "TWOHEAD_SIMULATED_GPU"
"""Set to 1 where the node's processes start, a trial that asked for a GPU and sees none trains on
the CPU (for tests); a driver's own environment reaches the node that it starts, and no other."""
SIMULATED_BYTES = "TWOHEAD_SIMULATED_GPU_BYTES"
"""The memory of each such GPU; a training then needs what its process takes of the machine's."""
LIBRARY = "libcuda.so.1"


def is_simulated() -> bool:
    """Tell whether GPUs that are not there are to be trained on the CPU."""
    return os.environ.get(SIMULATED_GPU) == "1"


def gpu_bytes() -> int:
    """Return the memory of the first GPU that this process may use; takes none of it.

    Raises UnfitNode if there is none, or its driver does not say.
    """
    simulated = os.environ.get(SIMULATED_BYTES, "")
    if is_simulated() and simulated.isdecimal():
        return int(simulated)
    total = ctypes.c_size_t()
    cuda, device = _device()
    _call(cuda, "cuDeviceTotalMem_v2", ctypes.byref(total), device)
    return total.value


def gpu_taken() -> int:
    """Return what is taken of that GPU, by whomever, with what this process itself takes.

    The driver's context of this process is the one that TensorFlow made, or is made. Raises
    UnfitNode if there is no GPU, or its driver does not say.
    """
    cuda, device = _device()
    context = ctypes.c_void_p()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    _call(cuda, "cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    _call(cuda, "cuCtxPushCurrent_v2", context)
    try:
        _call(cuda, "cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
    finally:
        _call(cuda, "cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))
        _call(cuda, "cuDevicePrimaryCtxRelease_v2", device)
    return total.value - free.value


def _device() -> tuple[Any, ctypes.c_int]:
    try:
        cuda = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise _unfit(str(error)) from None
    device = ctypes.c_int()
    _call(cuda, "cuInit", 0)
    _call(cuda, "cuDeviceGet", ctypes.byref(device), 0)
    return cuda, device


def _call(cuda: Any, name: str, *arguments: Any) -> None:
    status = getattr(cuda, name)(*arguments)
    if status:
        raise _unfit(f"{name} returned {status}")


def _unfit(why: str) -> UnfitNode:
    return UnfitNode(
        f"resources.gpu 'auto' needs a GPU whose memory can be read on node "
        f"{socket.gethostname()}, got none ({why}): install its driver there, or set a number"
    )
