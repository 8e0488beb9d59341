"""Shared set-up; without TensorFlow, so that tests/serving runs where there is none."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# Of the processes that tests start, and of this one.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds what test_conformance.py takes: only in this file pytest finds options early enough."""
    parser.addoption("--base_url", help="server that test_conformance.py tests, instead of starting one")
    parser.addoption("--model", help="model of that server; by default generator and sampler")


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
