"""Reads processor, memory and disk. Linux tells most; what it doesn't tell stays unknown."""

import contextlib
import dataclasses
import os
import platform
import time
import uuid
from pathlib import Path
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.folders import cache_folder
from pipeline.diagnosis.facts import Folder, Machine

_TRIAL_BYTES = 32 * 2**20
_CGROUPS, _OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def read_machine(data_dir: str) -> Machine:
    """Reads the machine, and tries the folders that training writes.

    Args:
      data_dir: value of `--data_dir`.
    """
    cpu, instructions = _processor()
    memory = _numbers("/proc/meminfo")
    return Machine(
        architecture=platform.machine(),
        cpu=cpu,
        cores=os.cpu_count() or 1,
        allowed=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        quota=cpu_quota(),
        instructions=instructions,
        memory=memory.get("MemTotal"),
        available=memory.get("MemAvailable"),
        limit=memory_limit(),
        shm_free=_free("/dev/shm"),
        folders=tuple(_folders(data_dir)),
    )


def _processor() -> tuple[str, frozenset[str]]:
    facts: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            facts.setdefault(name.strip(), value.strip())
    instructions = facts.get("flags", facts.get("Features", ""))  # x86, ARM
    return facts.get("model name") or platform.processor() or platform.machine(), frozenset(instructions.split())


def _numbers(path: str) -> dict[str, int]:
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    fields = (line.split() for line in lines)
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in fields if len(words) == 3}


def _limits(name: str, older: str) -> list[str]:
    """What the control groups of this process say, from its own to the outermost: version 2, then version 1."""
    try:
        lines = _OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    texts = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        controller, _, file = older.partition("/")
        if controllers and controller not in controllers.split(","):
            continue
        base = _CGROUPS / controllers
        for place in (base / path.lstrip("/"), *(base / path.lstrip("/")).parents):
            with contextlib.suppress(OSError):
                texts.append((place / (file if controllers else name)).read_text(encoding="utf-8"))
            if place == base:
                break
    return texts


def cpu_quota() -> float | None:
    """Cores that control groups grant this process, or None if they set no limit."""
    quotas = []
    for text in _limits("cpu.max", "cpu/cpu.cfs_quota_us"):
        words = text.split()
        if words and words[0].isdigit():  # not "max" or "-1"
            quotas.append(int(words[0]) / (int(words[1]) if len(words) > 1 else 100_000))
    return min(quotas, default=None)


def memory_limit() -> int | None:
    """Bytes that control groups grant this process, or None if they set no limit."""
    texts = [text.strip() for text in _limits("memory.max", "memory/memory.limit_in_bytes")]
    # Version 1 says "no limit" with the largest number of pages.
    return min((int(text) for text in texts if text.isdigit() and int(text) < 2**60), default=None)


def _free(path: str | Path) -> int | None:
    try:
        found = os.statvfs(path)
    except (OSError, AttributeError):
        return None
    return found.f_bavail * found.f_frsize


def _folders(data_dir: str) -> list[Folder]:
    try:
        folder = cache_folder(data_dir)
    except MirageError as error:
        return [Folder(data_dir, failure=str(error))]
    if data_dir:
        return [try_folder(folder)]
    # Where tensorflow-datasets keeps what it prepares.
    prepared = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return [try_folder(folder), try_folder(Path(os.path.expanduser(prepared)), size=0)]


def try_folder(folder: Path, size: int = _TRIAL_BYTES) -> Folder:
    """Writes a file into a folder, or into the nearest one above it that exists, and removes it again.

    Args:
      folder: the folder.
      size: bytes to write; 0 measures no speed.
    """
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    found = Folder(str(folder), str(place), _free(place))
    if not place.is_dir():
        return dataclasses.replace(found, failure=f"{place} is no folder")
    file = place / f".mirage-doctor-{uuid.uuid4().hex}"
    room = found.free is None or found.free > 4 * size
    try:
        return dataclasses.replace(found, **_time_file(file, size if room else 0))
    except OSError as error:
        return dataclasses.replace(found, failure=error.strerror or str(error))
    finally:
        with contextlib.suppress(OSError):
            file.unlink()


def _time_file(file: Path, size: int) -> dict[str, Any]:
    block = os.urandom(2**20)  # a disk may compress what repeats, but blocks of this size it doesn't
    start = time.perf_counter()
    descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        for _ in range(size // len(block)):
            os.write(descriptor, block)
        os.fsync(descriptor)
        if not size:
            return {}
        written = time.perf_counter() - start
        if hasattr(os, "posix_fadvise"):  # or it would be read from memory
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.lseek(descriptor, 0, os.SEEK_SET)
        start = time.perf_counter()
        while os.read(descriptor, len(block)):
            pass
        return {"write": size / written, "read": size / (time.perf_counter() - start)}
    finally:
        os.close(descriptor)
