"""Asks NVIDIA's driver what there is: NVML for all GPUs, CUDA for those that programs see here."""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.diagnosis.children.telling import tell

_MOST_PROCESSES = 64
_NOT_ENOUGH_ROOM = 7  # NVML_ERROR_INSUFFICIENT_SIZE
_UNKNOWN = 2**64 - 1  # NVML_VALUE_NOT_AVAILABLE
_NVML_ERRORS = {
    4: "this user may not",
    9: "the driver is not loaded",
    15: "a GPU has fallen off the bus",
    18: "driver and library have different versions",
}


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Process(ctypes.Structure):
    _fields_ = (
        ("pid", ctypes.c_uint),
        ("memory", ctypes.c_ulonglong),
        ("gpu_instance", ctypes.c_uint),
        ("compute_instance", ctypes.c_uint),
    )


def main() -> None:
    """Tells some fields of `pipeline.diagnosis.facts.Driver`."""
    _nvml()
    _cuda()


def _cuda() -> None:
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        tell(libcuda_failure=str(error))
        return
    tell(libcuda=_file_of("libcuda.so"))
    version, count = ctypes.c_int(), ctypes.c_int()
    if cuda.cuDriverGetVersion(ctypes.byref(version)) == 0:
        tell(cuda=[version.value // 1000, version.value % 1000 // 10])
    status = cuda.cuInit(0)
    tell(init=status)
    if status == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0:
        tell(visible=count.value)


def _file_of(stem: str) -> str:
    lines = Path("/proc/self/maps").read_text().splitlines()
    return next((f"/{line.partition('/')[2]}" for line in lines if f"/{stem}" in line), "")


def _nvml() -> None:
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError as error:
        tell(nvml_failure=str(error))
        return
    status = library.nvmlInit_v2()
    if status:
        tell(nvml_failure=_NVML_ERRORS.get(status, f"NVML's error {status}"))
        return
    text, count = ctypes.create_string_buffer(96), ctypes.c_uint()
    if library.nvmlSystemGetDriverVersion(text, 96) == 0:
        tell(version=text.value.decode(errors="replace"))
    library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    gpus = []
    for index in range(count.value):
        handle = ctypes.c_void_p()
        if library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)) == 0:
            gpus.append({"index": index, **_gpu(library, handle)})
            tell(gpus=gpus)
    library.nvmlShutdown()


def _gpu(library: ctypes.CDLL, handle: ctypes.c_void_p) -> dict[str, Any]:
    def ask(name: str, *arguments: Any) -> bool:
        function: Callable[..., int] | None = getattr(library, name, None)  # older drivers lack some
        return function is not None and function(handle, *arguments) == 0

    text = ctypes.create_string_buffer(96)
    facts: dict[str, Any] = {"name": "unknown"}
    if ask("nvmlDeviceGetName", text, 96):
        facts["name"] = text.value.decode(errors="replace")
    if ask("nvmlDeviceGetUUID", text, 96):
        facts["uuid"] = text.value.decode(errors="replace")
    memory = _Memory()
    if ask("nvmlDeviceGetMemoryInfo", ctypes.byref(memory)):
        facts |= {"total": memory.total, "free": memory.free}
    one, two = ctypes.c_int(), ctypes.c_int()
    if ask("nvmlDeviceGetCudaComputeCapability", ctypes.byref(one), ctypes.byref(two)):
        facts["capability"] = [one.value, two.value]
    current, pending, most = ctypes.c_uint(), ctypes.c_uint(), ctypes.c_uint()
    if ask("nvmlDeviceGetMigMode", ctypes.byref(current), ctypes.byref(pending)):
        facts["mig"] = bool(current.value)
    if facts.get("mig") and ask("nvmlDeviceGetMaxMigDeviceCount", ctypes.byref(most)):
        found = ctypes.c_void_p()
        facts["instances"] = sum(
            ask("nvmlDeviceGetMigDeviceHandleByIndex", number, ctypes.byref(found)) for number in range(most.value)
        )
    mode, errors = ctypes.c_int(), ctypes.c_ulonglong()
    if ask("nvmlDeviceGetComputeMode", ctypes.byref(mode)):
        facts["compute_mode"] = mode.value
    if ask("nvmlDeviceGetTotalEccErrors", 1, 0, ctypes.byref(errors)):  # uncorrected, since the driver was loaded
        facts["ecc_errors"] = errors.value
    facts["processes"] = _processes(library, handle)
    return facts


def _processes(library: ctypes.CDLL, handle: ctypes.c_void_p) -> list[tuple[int, int | None]]:
    ask = getattr(library, "nvmlDeviceGetComputeRunningProcesses_v3", None)
    if ask is None:
        return []
    count, room = ctypes.c_uint(_MOST_PROCESSES), (_Process * _MOST_PROCESSES)()
    status = ask(handle, ctypes.byref(count), room)
    if status not in (0, _NOT_ENOUGH_ROOM):
        return []
    return [
        (each.pid, None if each.memory == _UNKNOWN else each.memory) for each in room[: min(count.value, len(room))]
    ]


if __name__ == "__main__":
    main()
