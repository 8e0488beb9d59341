"""Whatever the bytes of an image file are, it is read or named, and nothing else reaches the terminal."""

import re
import subprocess
import sys

import pytest

from tests.processes import ENVIRONMENT, ROOT


@pytest.mark.parametrize("count", [400, pytest.param(30_000, marks=pytest.mark.slow)])
def test_damaged_images_are_read_or_named(tmp_path, count, repeats):
    count = repeats(count)
    command = [sys.executable, "-m", "tests.pipeline.data.image_fuzz", str(tmp_path / "images"), str(count), "1"]
    result = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=3600)
    assert (result.returncode, result.stderr) == (0, "")
    read, named = map(int, re.fullmatch(r"(\d+) read, (\d+) named\n", result.stdout).groups())
    assert read + named == count
    assert min(read, named) > count / 10  # neither kind is missing
