"""Files of Keras 2, by way of tf-keras in a process of its own, since two Kerases in one process don't mix.

The other process, `python -m pipeline.foreign.legacy_worker`, opens the file, saves it as a SavedModel and computes
some pictures; here that SavedModel is opened, and must make the same ones.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.base.children import environment_without_gpus
from pipeline.base.errors import MirageError
from pipeline.base.names import printable
from pipeline.foreign.network import Foreign, Opening
from pipeline.foreign.saved_models import open_saved_model

_CLOSE = 1e-5


def open_legacy(path: Path, opening: Opening, kind: str) -> Foreign:
    """Opens a file of Keras 2.

    Args:
      path: the file.
      opening: how.
      kind: what it is called in what is said of it.

    Raises:
      MirageError: if tf-keras is missing, or can't open it.
    """
    if importlib.util.find_spec("tf_keras") is None:
        raise MirageError(
            f"{printable(str(path))} is of Keras 2, which tf-keras opens; pip install 'mirage-gan[legacy]', or beside "
            "tensorflow-cpu: pip install --no-deps 'tf-keras>=2.20,<2.22'."
        )
    with tempfile.TemporaryDirectory(prefix="mirage-") as folder:
        answer = _answer(_converted(path, Path(folder), opening), path)
        network = open_saved_model(Path(folder), kind=kind, framework=f"tf-keras {answer['version']}")
        with np.load(Path(folder) / "probe.npz") as probe:
            given = {port.name: probe[f"given {port.name}"] for port in network.inputs}
            made = {port.name: probe[f"made {port.name}"] for port in network.outputs}
    for name, value in network.run(given).items():
        if not np.allclose(value, made[name], rtol=_CLOSE, atol=_CLOSE):
            raise MirageError(f"{printable(str(path))} computes something else once it is saved as a SavedModel.")
    places = {name: place for place, name in enumerate(answer["inputs"])}
    return dataclasses.replace(network, inputs=tuple(sorted(network.inputs, key=lambda port: places[port.name])))


def _converted(path: Path, folder: Path, opening: Opening) -> subprocess.CompletedProcess:
    """Has the other process open a file, and save what it found in a folder."""
    order = {
        "path": str(path.resolve()),
        "folder": str(folder),
        "trust": opening.trust,
        "names": {name: f"{each.__module__}:{each.__qualname__}" for name, each in opening.custom_objects.items()},
    }
    return subprocess.run(
        [sys.executable, "-m", "pipeline.foreign.legacy_worker"],
        env=environment_without_gpus(),
        input=json.dumps(order),
        capture_output=True,
        text=True,
        check=False,
    )


def not_loaded(name: str, error: Exception | str) -> MirageError:
    """Makes the error of a model that Keras can't load, which names the layer that it doesn't know."""
    text = " ".join(str(error).split())
    unknown = re.search(r"Unknown (?:layer|object|activation function|custom object)[^'\"]*['\"]([\w>.]+)['\"]", text)
    unknown = unknown or re.search(r"Could not locate class '([\w>.]+)'", text)
    if unknown:
        return MirageError(
            f"{name} has {unknown[1]}, which Keras doesn't know; pass --custom_objects=module, a module that has it."
        )
    return MirageError(f"{name} can't be opened by Keras ({text[:200]}).")


def _answer(child: subprocess.CompletedProcess, path: Path) -> dict[str, Any]:
    lines = [line for line in child.stdout.splitlines() if line.startswith("{")]
    if child.returncode == 0 and lines:
        return json.loads(lines[-1])
    error = json.loads(lines[-1])["error"] if lines else (child.stderr.strip().splitlines() or ["it said nothing"])[-1]
    raise not_loaded(printable(str(path)), error)
