"""How much memory the GPUs have, asked of NVIDIA's driver: TensorFlow tells it only of a device that it has started."""

import ctypes
import dataclasses


@dataclasses.dataclass(frozen=True)
class GpuMemory:
    """Memory of one GPU, in bytes.

    Attributes:
      total: all of it.
      free: what no process has taken.
    """

    total: int
    free: int


def open_driver() -> tuple[ctypes.CDLL, int] | None:
    """Returns NVIDIA's driver, ready to be asked, and how many GPUs it offers to this process; None without one."""
    try:
        driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
        if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
            return None
    except (OSError, AttributeError):  # no library, or one that is too old
        return None
    return driver, count.value


def gpu_memory() -> list[GpuMemory]:
    """Asks the driver.

    It starts a context on each GPU for a moment, and ends it where nobody else in this process uses it.

    Returns:
      The GPUs' memory in CUDA's order, which is TensorFlow's: those that CUDA_VISIBLE_DEVICES leaves. Empty
      without a driver, or where one GPU doesn't answer.
    """
    opened = open_driver()
    if opened is None:
        return []
    driver, count = opened
    try:
        found = [_of_device(driver, index) for index in range(count)]
    except AttributeError:  # a library that is too old
        return []
    return [each for each in found if each is not None] if None not in found else []


def _of_device(driver: ctypes.CDLL, index: int) -> GpuMemory | None:
    device, context = ctypes.c_int(), ctypes.c_void_p()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    if driver.cuDeviceGet(ctypes.byref(device), index):
        return None
    # Only a context can tell what is free, and, of a part of a GPU, what belongs to it.
    if driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device):
        return None
    try:
        if driver.cuCtxPushCurrent_v2(context):
            return None
        failed = driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
        driver.cuCtxPopCurrent_v2(ctypes.byref(context))
    finally:
        driver.cuDevicePrimaryCtxRelease_v2(device)
    return None if failed else GpuMemory(total.value, free.value)
