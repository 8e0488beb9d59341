"""Reads what is installed, without importing any of it. Standard library only."""

import importlib.metadata
import re
import sys
from importlib.machinery import PathFinder
from pathlib import Path

from pipeline.diagnosis.checks.software import TOOLS
from pipeline.diagnosis.facts import Software

# Distributions that all install the package `tensorflow`.
_BUILDS = re.compile(
    r"(tensorflow(-(cpu|gpu|intel|rocm|macos|cpu-aws|aarch64))?|tf-nightly(-(cpu|gpu|intel))?"
    r"|intel-tensorflow(-avx512)?|nvidia-tensorflow|tensorflow-directml)"
)


def read_software() -> Software:
    """Reads the interpreter and the metadata of what it can import."""
    installed: dict[str, importlib.metadata.Distribution] = {}
    for each in importlib.metadata.distributions():
        name = re.sub(r"[-_.]+", "-", str(each.metadata["Name"] or "")).lower()
        installed.setdefault(name, each)  # the first one on the path is the one that is imported
    builds = {name: each.version for name, each in installed.items() if _BUILDS.fullmatch(name)}
    folder, broken = _tensorflow()
    wanted = [
        re.sub(r"\s*;.*", "", line)
        for name in builds
        for line in installed[name].requires or ()
        if re.search(r"extra == ['\"]and-cuda['\"]", line)
    ]

    def version(name: str) -> str:
        return installed[name].version if name in installed else ""

    return Software(
        python=(sys.version_info.major, sys.version_info.minor, sys.version_info.micro),
        executable=sys.executable,
        mirage=version("mirage-gan"),
        tensorflows=builds,
        tensorflow_folder=folder,
        tensorflow_broken=broken,
        wanted=tuple(wanted),
        nvidia={
            name: (each.version, str(Path(str(each.locate_file(""))).resolve()))
            for name, each in sorted(installed.items())
            if name.startswith("nvidia-")
        },
        keras=version("keras") or "unknown" * _importable("keras"),
        onnxruntime=version("onnxruntime") or version("onnxruntime-gpu") or "unknown" * _importable("onnxruntime"),
        absent=tuple(name for name, module in TOOLS.items() if name not in installed and not _importable(module)),
    )


def _importable(module: str) -> bool:
    """Whether a module is there; one that was copied, not installed, has no metadata."""
    return PathFinder.find_spec(module) is not None


def _tensorflow() -> tuple[str, bool]:
    spec = PathFinder.find_spec("tensorflow")
    if spec is None:
        return "", False
    if spec.origin is None:  # a folder is left, but not the package
        return "", True
    return str(Path(spec.origin).resolve().parents[1]), False
