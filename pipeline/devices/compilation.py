"""Keeps what XLA compiled, so that a run which starts again needs not wait for it again.

TensorFlow looks a program up by its text and its functions' names, and compares all of it before it uses what it finds.
It asks neither for its own version, nor for the machine, nor for options, and takes a damaged file for a failure of
the compilation: so the first are in the folder's name, and files have checksums. Needs only the standard library.
"""

import contextlib
import ctypes
import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from pipeline.base.errors import MirageError
from pipeline.base.files import write_file
from pipeline.base.folders import cache_folder
from pipeline.base.names import printable
from pipeline.devices.options import DeviceOptions
from pipeline.devices.xla_flags import add_xla_flags

_FOLDER = "compiled"
_SUFFIXES = (".pb", ".textproto")  # programs, and what XLA found in timing kernels
_SUM = ".sha256"
_UNUSABLE = "unusable"  # a file that stands where TensorFlow couldn't use what an earlier process had kept
_DIRECTORY, _READ_ONLY = "--tf_xla_persistent_cache_directory", "--tf_xla_persistent_cache_read_only"
# A program takes a few MB. What one process compiles shall fit for sure, as TensorFlow fails where it doesn't.
_LEAST_FREE_BYTES, _MOST_BYTES = 1 << 28, 1 << 29
_DAY_S = 86400
_PACKAGES = ("tensorflow", "tensorflow-cpu", "nvidia-cublas-cu12", "nvidia-cuda-nvcc-cu12", "nvidia-cudnn-cu12")


@dataclasses.dataclass(frozen=True)
class KeptCode:
    """Where compiled code is kept.

    Attributes:
      folder: where it is looked up, or None if nowhere.
      why: a clause for people, if it isn't kept in `folder`.
      writable: whether new code is added.
    """

    folder: Path | None
    why: str = ""
    writable: bool = True

    def described(self) -> str:
        """Says where code is kept, once some was compiled."""
        if self.folder is not None and not _programs(self.folder):
            return self.why or "not kept, as TensorFlow was in use before"
        return self.why or f"kept in {self.folder}"

    def seal(self) -> None:
        """Adds checksums to the files that were written since `prepare`."""
        if self.folder is None or not self.writable:
            return
        with contextlib.suppress(OSError):  # then it is compiled again next time
            for path in _programs(self.folder):
                if not _sum_of(path).exists():
                    write_file(_sum_of(path), _digest(path))

    def forget(self, *, for_good: bool = True) -> None:
        """Removes what is kept for this version and machine, which may be why a compilation has failed.

        Args:
          for_good: whether nothing is kept there any more, if an earlier process had kept something: it would fail
            each time that it is found.
        """
        if self.folder is None or not self.writable:
            return
        with contextlib.suppress(OSError):
            programs = _programs(self.folder)
            if for_good and any(_sum_of(path).exists() for path in programs):
                (self.folder / _UNUSABLE).touch()
            for path in programs:
                path.unlink(missing_ok=True)


_kept: KeptCode | None = None
# What the first call of `prepare` has set in the environment.
_set: dict[str, str] = {}
_VARIABLES = ("TF_XLA_FLAGS", "XLA_FLAGS", "CUBLAS_WORKSPACE_CONFIG")


@contextlib.contextmanager
def prepared(options: DeviceOptions, data_dir: str) -> Iterator[None]:
    """Does what `prepare` does, and in the end leaves the environment as it was.

    Args:
      options: see `prepare`.
      data_dir: likewise.
    """
    before = {name: os.environ.get(name) for name in _VARIABLES}
    try:
        prepare(options, data_dir)
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def prepare(options: DeviceOptions, data_dir: str) -> KeptCode:
    """Tells TensorFlow where to keep compiled code, and has GPUs' code compiled on all cores.

    TensorFlow reads it once, when it looks for devices, which some of its modules do as they are imported: so call
    this before; only the first call in a process counts. What the user has set in TF_XLA_FLAGS and XLA_FLAGS stays.

    Args:
      options: the numerical settings, which are part of what is compiled.
      data_dir: says where, see `pipeline.base.folders.cache_folder`.

    Returns:
      Where code is kept.
    """
    global _kept
    if _kept is None:
        before = {name: os.environ.get(name) for name in _VARIABLES}
        _kept = _set_up(options, data_dir)
        _set.clear()
        _set.update({name: os.environ[name] for name, value in before.items() if os.environ.get(name) != value})
    os.environ.update(_set)  # XLA reads it when it first compiles, which may be later than the first training
    return _kept


def _set_up(options: DeviceOptions, data_dir: str) -> KeptCode:
    context = sys.modules.get("tensorflow.python.eager.context")
    if context is not None and context.context()._context_handle is not None:
        return KeptCode(None, "not kept, as TensorFlow was in use before")
    gpus = _gpus()
    if gpus:
        add_xla_flags(
            f"--xla_gpu_force_compilation_parallelism={_cores()}",
            "--xla_gpu_enable_llvm_module_compilation_parallelism=true",
        )
    if _DIRECTORY in os.environ.get("TF_XLA_FLAGS", ""):
        return KeptCode(None, "kept where TF_XLA_FLAGS says")
    try:
        folder = cache_folder(data_dir).absolute() / _FOLDER / _key(options, gpus)
        if re.search(r'["\\\n]|\s\s', str(folder)):
            return KeptCode(None, f"not kept, as XLA takes no folder with such a name: {printable(str(folder))}")
        if (folder / _UNUSABLE).exists():
            return KeptCode(None, f"not kept, as TensorFlow failed with what was; to try again, remove {folder}")
        writable = _make_ready(folder)
        if gpus and writable:
            folder.mkdir(parents=True, exist_ok=True)  # XLA makes no folder whose parent is missing
    except (OSError, MirageError) as error:
        return KeptCode(None, f"not kept ({str(error).rstrip('.')})")
    if gpus and writable:  # what XLA can't write fails a compilation
        # Of use where XLA times kernels to choose among them, which it does with --nodeterministic.
        add_xla_flags(f'--xla_gpu_per_fusion_autotune_cache_dir="{folder}"')
    add_xla_flags(f'{_DIRECTORY}="{folder}"', f"{_READ_ONLY}={str(not writable).lower()}", variable="TF_XLA_FLAGS")
    return KeptCode(folder, "" if writable else f"not kept, as {folder} can't be written", writable)


def _key(options: DeviceOptions, gpus: list[str]) -> str:
    """Names all that decides what a program is compiled to, and that TensorFlow doesn't ask for."""
    processor: dict[str, str] = {}
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").partition("\n\n")[0].splitlines()
        processor = {name.strip(): value for name, _, value in (line.partition(":") for line in lines)}
    facts = {
        "packages": {name: _version(name) for name in _PACKAGES},
        "libraries": _sizes_of_libraries(),
        "gpus": gpus,
        "processor": [platform.machine(), *(processor.get(name) for name in ("model name", "flags", "Features"))],
        "threads": _cores(),
        "settings": [options.deterministic, options.tf32],
        "environment": {
            name: value for name, value in os.environ.items() if re.match(r"XLA_|TF_(?!CONFIG|CPP_)|NVIDIA_TF32", name)
        },
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _sizes_of_libraries() -> dict[str, int]:
    """Tells builds of one version of TensorFlow apart, without importing it."""
    spec = importlib.util.find_spec("tensorflow")
    folder = Path(spec.origin).parent if spec and spec.origin else None
    return {path.name: path.stat().st_size for path in sorted(folder.glob("libtensorflow*"))} if folder else {}


def _gpus() -> list[str]:
    """Returns model and driver of each GPU that CUDA shows, without starting TensorFlow."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    count, driver = ctypes.c_int(), ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return []
    cuda.cuDriverGetVersion(ctypes.byref(driver))
    found = []
    for index in range(count.value):
        name, device = ctypes.create_string_buffer(256), ctypes.c_int()
        cuda.cuDeviceGet(ctypes.byref(device), index)
        cuda.cuDeviceGetName(name, len(name), device)
        found.append(f"{name.value.decode(errors='replace')}, driver {driver.value}")
    return found


def _make_ready(folder: Path) -> bool:
    """Sees that all files of a folder, if it is there, are as they were written; returns whether it can be written.

    Raises:
      OSError: if it can neither be made nor used as it is.
    """
    try:
        present = next(path for path in (folder, *folder.parents) if path.exists())
        with tempfile.TemporaryFile(dir=present):
            pass
        writable = shutil.disk_usage(present).free >= _LEAST_FREE_BYTES
    except OSError:
        if not folder.is_dir():
            raise
        writable = False
    for path in _programs(folder):
        # Whose seal is missing was written by a process that is still at it, or that was ended too early.
        if not _sum_of(path).exists() or _sum_of(path).read_bytes() != _digest(path):
            path.unlink(missing_ok=True)
    if writable:
        with contextlib.suppress(OSError):  # another process does the same
            _prune(folder.parent)
    return writable


def _prune(compiled: Path) -> None:
    """Removes the oldest files until the rest is small, and what is left of processes that were killed."""
    files = [(path.stat(), path) for path in compiled.glob("*/*") if path.is_file()]
    total = sum(status.st_size for status, _ in files)
    for status, path in sorted(files, key=lambda each: each[0].st_mtime):
        lasting = path.suffix in (*_SUFFIXES, _SUM) or path.name == _UNUSABLE
        unfinished = not lasting and time.time() - status.st_mtime > _DAY_S
        if total > _MOST_BYTES or unfinished:
            path.unlink(missing_ok=True)
            total -= status.st_size


def _programs(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*") if path.suffix in _SUFFIXES]


def _sum_of(path: Path) -> Path:
    return path.with_name(path.name + _SUM)


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().encode()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
