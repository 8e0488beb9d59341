"""Opens what Keras has saved: .keras and .h5 files of Keras 3 here, those of Keras 2 by tf-keras in another process."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.failures import in_a_line
from pipeline.base.libraries import keras, tf
from pipeline.base.names import printable
from pipeline.foreign.conversion import of_tensors
from pipeline.foreign.legacy import not_loaded, open_legacy
from pipeline.foreign.network import Foreign, Opening, Port
from pipeline.foreign.safety import check_config, check_size, parsed_config


def open_keras(path: Path, opening: Opening, config: Any, version: str) -> Foreign:
    """Opens a .keras file.

    Args:
      path: the file.
      opening: how.
      config: its description of the model.
      version: of the Keras that wrote it.

    Raises:
      MirageError: as `open_network`.
    """
    name = printable(str(path))
    check_config(config, name, opening.custom_objects, opening.trust)
    with zipfile.ZipFile(path) as archive:
        weights = archive.getinfo("model.weights.h5")
        if weights.file_size > 2**32 or weights.file_size > 200 * max(2**20, path.stat().st_size):
            raise MirageError(f"{name} announces {weights.file_size:,} bytes of weights; it is damaged.")
    if not version.startswith("3"):
        return open_legacy(path, opening, f".keras file of Keras {version}")
    return of_model(_loaded(path, opening, name), f".keras file of Keras {version}")


def open_hdf5(path: Path, opening: Opening) -> Foreign:
    """Opens an HDF5 file of any Keras.

    Args:
      path: the file.
      opening: how.

    Raises:
      MirageError: as `open_network`.
    """
    import h5py

    name = printable(str(path))
    shapes: list[tuple[int, ...]] = []

    def note(_: str, thing: Any) -> None:
        if isinstance(thing, h5py.Dataset):
            shapes.append(thing.shape or ())

    try:
        with h5py.File(path, "r") as file:
            config, version = file.attrs.get("model_config"), file.attrs.get("keras_version", b"")
            file.visititems(note)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise MirageError(f"{name} is a damaged HDF5 file ({in_a_line(error, 200)}).") from None
    check_size(shapes, name, path.stat().st_size)
    version = version.decode("utf-8", "replace") if isinstance(version, bytes) else str(version)
    if config is None:
        if opening.build is None:
            raise MirageError(
                f"{name} holds weights only; pass --model=module:function, whose function makes their network."
            )
        return of_model(_with_weights(opening.build, path, name), "HDF5 file of weights")
    check_config(parsed_config(config, name), name, opening.custom_objects, opening.trust)
    kind = f"HDF5 file of Keras {version or '2'}"
    if not version.startswith("3"):
        return open_legacy(path, opening, kind)
    return of_model(_loaded(path, opening, name), kind)


def _loaded(path: Path, opening: Opening, name: str) -> keras.Model:
    try:
        return keras.saving.load_model(
            str(path), custom_objects=dict(opening.custom_objects), compile=False, safe_mode=not opening.trust
        )
    except Exception as error:  # of many kinds
        raise not_loaded(name, error) from None


def _with_weights(build: Any, path: Path, name: str) -> keras.Model:
    model = build()
    if not isinstance(model, keras.Model):
        raise MirageError(f"--model made a {type(model).__name__}; expected a keras.Model.")
    try:
        model.load_weights(str(path))
    except Exception as error:
        raise not_loaded(name, error) from None
    return model


def of_model(model: keras.Model, kind: str = "Keras model") -> Foreign:
    """Describes a model of Keras 3.

    Args:
      model: the model; its inputs must be known, as those of functional and of built sequential ones are.
      kind: what it was saved as.

    Raises:
      MirageError: if its inputs aren't known.
    """
    try:
        given, made = list(model.inputs), list(model.outputs)
    except (AttributeError, ValueError):
        given, made = [], []
    if not given or not made:
        raise MirageError(
            f"the inputs of the {kind} aren't known, since {type(model).__name__} computes them in its own code; "
            "export it as a SavedModel with a signature, and pass that."
        )
    inputs = tuple(Port(each.name, str(each.dtype), tuple(each.shape)) for each in given)
    outputs = tuple(Port(f"output_{i}", str(each.dtype), tuple(each.shape)) for i, each in enumerate(made))

    def tensors(values: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        arguments = [values[port.name] for port in inputs]
        results = model(arguments if len(arguments) > 1 else arguments[0], training=False)
        results = results if isinstance(results, list | tuple) else [results]
        return {port.name: value for port, value in zip(outputs, results, strict=True)}

    variables = tuple(variable.value for variable in model.variables)
    return of_tensors(tensors, inputs, outputs, kind=kind, framework=f"Keras {keras.__version__}", variables=variables)
