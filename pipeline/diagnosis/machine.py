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
from pipeline.base.hardware import cpu_quota, memory, memory_limit, processor
from pipeline.diagnosis.facts import Folder, Machine

_TRIAL_BYTES = 32 * 2**20


def read_machine(data_dir: str) -> Machine:
    """Reads the machine, and tries the folders that training writes.

    Args:
      data_dir: value of `--data_dir`.
    """
    cpu, instructions = processor()
    found = memory()
    return Machine(
        architecture=platform.machine(),
        cpu=cpu,
        cores=os.cpu_count() or 1,
        allowed=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        quota=cpu_quota(),
        instructions=instructions,
        memory=found.get("MemTotal"),
        available=found.get("MemAvailable"),
        limit=memory_limit(),
        shm_free=_free("/dev/shm"),
        folders=tuple(_folders(data_dir)),
    )


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
