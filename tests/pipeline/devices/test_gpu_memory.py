import ctypes

import pytest

from pipeline.devices import gpu_memory
from pipeline.devices.gpu_memory import GpuMemory


class Driver:
    """NVIDIA's driver, as far as it is asked: `memory` is (free, total) of each GPU; functions in `broken` fail."""

    def __init__(self, memory, broken=()):
        self.memory, self.broken, self.retained, self.current = memory, broken, [], []

    def _status(self, name):
        return 100 if name in self.broken else 0

    def cuInit(self, flags):  # noqa: N802
        return self._status("cuInit")

    def cuDeviceGetCount(self, count):  # noqa: N802
        count._obj.value = len(self.memory)
        return self._status("cuDeviceGetCount")

    def cuDeviceGet(self, device, index):  # noqa: N802
        device._obj.value = 10 + index
        return self._status("cuDeviceGet")

    def cuDevicePrimaryCtxRetain(self, context, device):  # noqa: N802
        if not (status := self._status("cuDevicePrimaryCtxRetain")):
            self.retained.append(device.value)
            context._obj.value = 1000 + device.value
        return status

    def cuDevicePrimaryCtxRelease_v2(self, device):  # noqa: N802
        self.retained.remove(device.value)
        return 0

    def cuCtxPushCurrent_v2(self, context):  # noqa: N802
        if not (status := self._status("cuCtxPushCurrent_v2")):
            self.current.append(context.value)
        return status

    def cuCtxPopCurrent_v2(self, context):  # noqa: N802
        context._obj.value = self.current.pop()
        return 0

    def cuMemGetInfo_v2(self, free, total):  # noqa: N802
        free._obj.value, total._obj.value = self.memory[self.current[-1] - 1010]
        return self._status("cuMemGetInfo_v2")


def ask(monkeypatch, driver):
    def load(name):
        assert name == "libcuda.so.1"
        if isinstance(driver, Exception):
            raise driver
        return driver

    monkeypatch.setattr(ctypes, "CDLL", load)
    return gpu_memory.gpu_memory()


def test_each_gpu_tells_its_memory_and_is_left_as_it_was(monkeypatch):
    driver = Driver([(30 << 30, 80 << 30), (70 << 30, 81 << 30)])
    assert ask(monkeypatch, driver) == [GpuMemory(80 << 30, 30 << 30), GpuMemory(81 << 30, 70 << 30)]
    assert driver.retained == driver.current == []


@pytest.mark.parametrize(
    "function",
    [
        "cuInit",
        "cuDeviceGetCount",
        "cuDeviceGet",
        "cuDevicePrimaryCtxRetain",
        "cuCtxPushCurrent_v2",
        "cuMemGetInfo_v2",
    ],
)
def test_what_the_driver_refuses_is_unknown_and_nothing_stays_open(monkeypatch, function):
    driver = Driver([(1, 2)], broken=[function])
    assert ask(monkeypatch, driver) == []
    assert driver.retained == driver.current == []


@pytest.mark.parametrize("error", [OSError("no such file"), AttributeError("no such symbol")])
def test_without_a_driver_nothing_is_known(monkeypatch, error):
    assert ask(monkeypatch, error) == []
