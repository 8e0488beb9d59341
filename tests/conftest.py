"""Shared set-up; without TensorFlow, so that tests/serving runs where there is none."""

import contextlib
import ctypes
import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# Of the processes that tests start, and of this one.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


# What two processes share, file by file, begins with these: at the end neither shall wait long for the other.
_LONGEST = ("tests/test_own_examples.py", "tests/test_end_to_end.py", "tests/pipeline/training/")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds options, which pytest finds early enough only in this file; test_conformance.py takes the first two."""
    parser.addoption("--base_url", help="server that test_conformance.py tests, instead of starting one")
    parser.addoption("--model", help="model of that server; by default generator and sampler")
    parser.addoption("--brief", action="store_true", help="endurance tests repeat, and large tables try, a fifth")
    parser.addoption("--without_gpu", action="store_true", help="tests/gpu runs on the CPU, tiny, to test the tests")
    parser.addoption("--gpu_out", help="folder for what tests/gpu has found, such as runs and bundles to compare")


def pytest_configure(config: pytest.Config) -> None:
    """Hides GPUs from this process and those that it starts, if they are not wanted, before anything looks for them."""
    if config.getoption("--without_gpu"):
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Puts what takes longest first, and leaves out most cases of slow tests that have many, if that is wanted."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONGEST))
    if not config.getoption("--brief"):
        return
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("slow"):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    left_out = {item for each in cases.values() if len(each) > 5 for place, item in enumerate(each) if place % 5}
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


def pytest_collection_finish() -> None:
    """Spares the garbage collector what stays until the end, such as TensorFlow's modules: most of its work."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def repeats(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """Returns a function that says how often an endurance test repeats something, from how often it should."""
    return lambda often: -(-often // 5) if request.config.getoption("--brief") else often


@pytest.fixture(autouse=True)
def _release_graphs() -> Iterator[None]:
    """Frees what a test has traced, of which the processes would otherwise end with gigabytes.

    TensorFlow keeps every custom gradient of every graph, and so the graph, for ever; each reduction over replicas
    makes one.
    """
    yield
    ops = sys.modules.get("tensorflow.python.framework.ops")
    registry = ops.gradient_registry._registry if ops else {}
    traced = [name for name in registry if name.startswith("CustomGradient")]
    for name in traced:
        del registry[name]
    if traced:
        _release()


@pytest.fixture(autouse=True, scope="module")
def _release_models() -> Iterator[None]:
    """Frees what the tests of a file have made."""
    yield
    if "tensorflow" in sys.modules:
        _release()


def _release() -> None:
    sys.modules["keras"].backend.clear_session(free_memory=False)  # which would collect as well
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # glibc keeps what was freed
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@pytest.fixture
def image_folder(tmp_path: Path) -> Callable[..., Path]:
    """Returns a function that writes random images into class folders (or flat, without classes)."""

    def write(classes: tuple[str, ...] = ("cat", "dog"), per_class: int = 6, size: int = 16, mode: str = "L") -> Path:
        rng = np.random.default_rng(0)
        root = tmp_path / "images"
        for name in classes or ("",):
            (root / name).mkdir(parents=True, exist_ok=True)
            for index in range(per_class):
                shape = (size, size) if mode == "L" else (size, size, 3)
                Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(root / name / f"{index}.png")
        return root

    return write
