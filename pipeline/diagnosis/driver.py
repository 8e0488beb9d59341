"""Reads what the system says of NVIDIA's hardware and driver. Standard library only."""

import contextlib
import glob
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.diagnosis.child import run_child
from pipeline.diagnosis.facts import Driver, Gpu

_PATIENCE_S = 90.0  # a driver that nobody uses is initialised first, GPU by GPU
_NVIDIA = "0x10de"
_DISPLAYS = "0x03"  # VGA controllers (0x0300) and 3D controllers (0x0302)
_WSL_LIBRARY = "/usr/lib/wsl/lib/libcuda.so.1"


def read_driver(environment: Mapping[str, str]) -> Driver:
    """Reads the bus, the device files and the kernel's module, and asks the driver in a process of its own.

    Args:
      environment: such as `os.environ`.
    """
    outcome = run_child("see_driver", patience_s=_PATIENCE_S, environment=environment)
    told: dict[str, Any] = dict(outcome.facts)
    gpus = told.pop("gpus", ())
    if told.get("cuda"):
        told["cuda"] = tuple(told["cuda"])
    return Driver(
        pci=_on_the_bus(),
        nodes=_nodes(),
        module=_module(),
        container=_is_container(environment),
        gpus=tuple(_gpu(each) for each in gpus),
        failure=outcome.failure,
        **told,
    )


def _gpu(told: dict[str, Any]) -> Gpu:
    capability = told.pop("capability", None)
    processes = tuple((pid, used) for pid, used in told.pop("processes", ()))
    return Gpu(capability=tuple(capability) if capability else None, processes=processes, **told)


def _on_the_bus() -> tuple[str, ...]:
    found = []
    for device in sorted(Path("/sys/bus/pci/devices").glob("*")):
        with contextlib.suppress(OSError):
            kind = (device / "class").read_text()
            if (device / "vendor").read_text().strip() == _NVIDIA and kind.startswith(_DISPLAYS):
                driver = device / "driver"
                found.append(driver.resolve().name if driver.exists() else "")
    return tuple(found)


def _nodes() -> dict[str, bool]:
    paths = [path for path in sorted(glob.glob("/dev/nvidia*")) if not os.path.isdir(path)]
    if os.path.exists(_WSL_LIBRARY):
        paths += glob.glob("/dev/dxg")
    return {path: _usable(path) for path in paths if not path.startswith(("/dev/nvidia-modeset", "/dev/nvidia-nvs"))}


def _usable(path: str) -> bool:
    # Not by its mode alone: a control group may forbid a device that looks open.
    try:
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def _module() -> str:
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    version = re.search(r"\s(\d{3,}\.\d+(?:\.\d+)*)\s", text)
    return version[1] if version else "unknown"


def _is_container(environment: Mapping[str, str]) -> bool:
    if any(os.path.exists(path) for path in ("/.dockerenv", "/run/.containerenv")):
        return True
    if "KUBERNETES_SERVICE_HOST" in environment or "SINGULARITY_CONTAINER" in environment:
        return True
    try:
        return re.search(r"docker|kubepods|containerd|libpod|lxc", Path("/proc/1/cgroup").read_text()) is not None
    except OSError:
        return False
