"""Processes that Mirage starts of itself. Needs only the standard library."""

import os
import sys
from pathlib import Path


def environment_without_gpus() -> dict[str, str]:
    """Variables for a process that finds the modules that are found here, and no GPU from the first import on."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, *filter(None, sys.path)])
    return {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "-1"}
