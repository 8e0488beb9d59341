"""Files of Keras 2, by way of tf-keras in a process of its own, since two Kerases in one process don't mix.

The other process, `python -m pipeline.foreign.legacy_worker`, opens the file, saves it as a SavedModel and computes
some pictures; here that SavedModel is opened, and must make the same ones.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.base.failures import in_a_line
from pipeline.base.names import printable
from pipeline.foreign.apart import ask
from pipeline.foreign.network import Foreign, Opening
from pipeline.foreign.safety import layer_of
from pipeline.foreign.saved_models import open_saved_model
from pipeline.foreign.trial import as_order

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
    order = as_order(path, opening)
    if order is None:
        raise MirageError(
            "--custom_objects and --model of a script or notebook can't go to the process that opens files of Keras 2; "
            "put them into a module."
        )
    with tempfile.TemporaryDirectory(prefix="mirage-") as folder:
        answer = ask("legacy_worker", {**order, "folder": folder}, printable(str(path)))
        network = open_saved_model(Path(folder), kind=kind, framework=f"tf-keras {answer['version']}")
        with np.load(Path(folder) / "probe.npz") as probe:
            given = {port.name: probe[f"given {port.name}"] for port in network.inputs}
            made = {port.name: probe[f"made {port.name}"] for port in network.outputs}
    for name, value in network.run(given).items():
        if not np.allclose(value, made[name], rtol=_CLOSE, atol=_CLOSE):
            raise MirageError(f"{printable(str(path))} computes something else once it is saved as a SavedModel.")
    places = {name: place for place, name in enumerate(answer["inputs"])}
    return dataclasses.replace(network, inputs=tuple(sorted(network.inputs, key=lambda port: places[port.name])))


def not_loaded(name: str, error: Exception | str, config: Any = None) -> MirageError:
    """Makes the error of a model that Keras can't load, which names the layer that it doesn't know.

    Args:
      name: the file's.
      error: what Keras says.
      config: the model's description, if it has one.
    """
    text = " ".join(str(error).split())
    unknown = re.search(r"Unknown (?:layer|object|activation function|custom object)[^'\"]*['\"]([\w>.]+)['\"]", text)
    unknown = unknown or re.search(r"Could not locate (?:class|function) '([\w>.]+)'", text)
    if unknown:
        layer = layer_of(config, unknown[1])
        bare = unknown[1].rpartition(">")[2]
        what = f"the layer {layer} ({bare})" if layer else bare
        return MirageError(
            f"{name} can't be opened: {what} is not known; pass --custom_objects=module, of a module that has it."
        )
    # Keras puts the reason behind what it was doing, with all of a layer's settings.
    for start in ("Error encountered during deserialization:", "Exception encountered:", "Exception message:"):
        text = text.rpartition(start)[2].strip()
    return MirageError(f"{name} can't be opened by Keras ({in_a_line(text, 200)}).")
