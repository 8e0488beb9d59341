"""Exports in a process of its own: where this one has GPUs, on which nothing that a bundle holds is computed."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from pipeline.base.errors import MirageError

_ERROR = "error: "


def export_apart(flags: Mapping[str, object]) -> None:
    """Runs `python -m export`, which hides all GPUs from itself.

    Args:
      flags: of the command, by name.

    Raises:
      MirageError: with what the command says if it fails.
    """
    root = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    child = subprocess.Popen(
        [sys.executable, "-m", "export", *(f"--{name}={value}" for name, value in flags.items())],
        env={**os.environ, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _, errors = child.communicate()
    except BaseException:  # such as Ctrl-C: it removes what it has begun
        child.terminate()
        child.communicate()
        raise
    lines = errors.splitlines()
    last = lines.pop() if child.returncode and lines else ""
    print(*lines, sep="\n", end="\n" * bool(lines), file=sys.stderr, flush=True)
    if child.returncode:
        what = f"the export, in a process of its own, ended with status {child.returncode}: {last}"
        raise MirageError(last.removeprefix(_ERROR) if last.startswith(_ERROR) else what)
