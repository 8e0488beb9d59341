"""Opens CUDA's libraries as TensorFlow would: in LD_LIBRARY_PATH, beside itself, then where the system has them."""

import ctypes
import glob
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.diagnosis.children.telling import argument, tell

_SYSTEM = ("/usr/local/cuda*", "/opt/cuda*", os.environ.get("CUDA_HOME", ""), os.environ.get("CONDA_PREFIX", ""))
# What XLA does not take: stream_executor/cuda/subprocess_compilation.cc.
_OLDEST_PTXAS, _BROKEN_PTXAS = (11, 8, 0), (12, 3, 103)


def main() -> None:
    """Tells the fields of `pipeline.diagnosis.facts.Libraries`; the argument is (site-packages folder, names)."""
    site, names = argument()
    beside = sorted(Path(site, "nvidia").glob("*/lib")) if site else []
    path, version = _ptxas(site)
    tell(ptxas=path, ptxas_version=version, libdevice=_libdevice(site))
    opened, failed, elsewhere = {}, {}, {}
    for name in names:
        try:
            library = _open(name, beside)
            opened[name] = _file_of(name)
            if name.startswith("libcudnn."):
                number = ctypes.c_size_t(library.cudnnGetVersion()).value
                tell(cudnn=[number // 10000, number // 100 % 100, number % 100])
        except (OSError, AttributeError) as error:
            failed[name] = str(error)
            if places := _elsewhere(name):
                elsewhere[name] = places[0]
        tell(opened=opened, failed=failed, elsewhere=elsewhere)
    tell(cudart=sorted({*_versions(beside)}))  # last, since it opens others


def _open(name: str, beside: Iterable[Path]) -> ctypes.CDLL:
    folders = [*map(Path, filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":"))), *beside]
    for folder in folders:
        if (folder / name).exists():
            return ctypes.CDLL(str(folder / name))
    return ctypes.CDLL(name)


def _file_of(name: str) -> str:
    """The file that this process has mapped for a library."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.partition("/")[2]
        if f"{path}.".rpartition("/")[2].startswith(f"{name}."):  # also libx.so.1.2.3 for libx.so.1
            return f"/{path}"
    return ""


def _elsewhere(name: str) -> list[str]:
    places = ("lib64", "lib", "targets/*/lib", "lib/x86_64-linux-gnu")
    return [found for root in _SYSTEM if root for place in places for found in glob.glob(f"{root}/{place}/{name}")]


def _versions(beside: Iterable[Path]) -> Iterator[str]:
    files = [str(file) for folder in beside for file in folder.glob("libcudart.so.*")]
    for path in (*files, *_elsewhere("libcudart.so.*")):
        if match := re.search(r"\.so\.(\d+)", path):
            yield match[1]
    for major in range(10, 20):
        try:
            ctypes.CDLL(f"libcudart.so.{'11.0' if major == 11 else major}")
            yield str(major)
        except OSError:
            continue


def _roots(site: str) -> list[str]:
    """Where XLA looks for CUDA's own files: tsl/platform/default/cuda_root_path.cc."""
    roots = ["/usr/local/cuda", "/opt/cuda"]
    if site:
        roots += [f"{site}/nvidia/cuda_nvcc", f"{site}/nvidia/cu13", f"{site}/tensorflow/cuda", f"{site}/../../.."]
    return roots


def _ptxas(site: str) -> tuple[str, str]:
    folders = [*filter(None, os.environ.get("PATH", "").split(":")), *(f"{root}/bin" for root in _roots(site))]
    refused = ("", "")
    for folder in folders:
        path = os.path.normpath(os.path.join(folder, "ptxas"))
        if not os.path.isfile(path):
            continue
        try:
            output = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
        except (OSError, subprocess.SubprocessError) as error:
            refused = path, f"it does not run: {error}"
            continue
        if match := re.search(r"\bV(\d+)\.(\d+)\.(\d+)\b", output):
            version = tuple(map(int, match.groups()))
            if version >= _OLDEST_PTXAS and version != _BROKEN_PTXAS:
                return path, match[0][1:]
            refused = path, f"XLA does not take version {match[0][1:]}"
    return "", " ".join(refused).strip()


def _libdevice(site: str) -> str:
    files = (os.path.normpath(f"{root}/nvvm/libdevice/libdevice.10.bc") for root in _roots(site))
    return next((file for file in files if os.path.isfile(file)), "")


if __name__ == "__main__":
    main()
