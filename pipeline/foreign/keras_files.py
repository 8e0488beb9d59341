"""Opens what Keras has saved: .keras and .h5 files of Keras 3 here, those of Keras 2 by tf-keras in another process."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.failures import reason
from pipeline.base.libraries import keras, tf
from pipeline.base.names import printable
from pipeline.foreign.apart import is_memory
from pipeline.foreign.conversion import of_tensors
from pipeline.foreign.hdf5 import look_at, look_at_weights
from pipeline.foreign.legacy import not_loaded
from pipeline.foreign.network import Foreign, Legacy, Opening, Port
from pipeline.foreign.safety import by_registered_names, check_config, parsed_config


def open_keras(path: Path, opening: Opening, config: Any, version: str, legacy: Legacy) -> Foreign:
    """Opens a .keras file.

    Args:
      path: the file.
      opening: how.
      config: its description of the model.
      version: of the Keras that wrote it.
      legacy: opens those of Keras 2.

    Raises:
      MirageError: as `open_network`.
    """
    name, size = printable(str(path)), path.stat().st_size
    check_config(config, name, size, opening)
    with zipfile.ZipFile(path) as archive:
        look_at_weights(archive, name, size)
    kind = f".keras file of Keras {version}"
    if not version.startswith("3"):
        return legacy(path, opening, kind)
    return of_model(_loaded(path, opening, name, config), kind)


def open_hdf5(path: Path, opening: Opening, legacy: Legacy) -> Foreign:
    """Opens an HDF5 file of any Keras.

    Args:
      path: the file.
      opening: how.
      legacy: opens those of Keras 2.

    Raises:
      MirageError: as `open_network`.
    """
    name, size = printable(str(path)), path.stat().st_size
    look = look_at(path, name, size)
    if look.config is None:
        if not look.is_of_keras:
            raise MirageError(f"{name} holds data, but neither a network nor weights that Keras has written.")
        return _with_weights(path, opening, name, legacy)
    config = parsed_config(look.config, name)
    check_config(config, name, size, opening)
    if look.version.startswith("1."):
        raise MirageError(
            f"{name} is of Keras {look.version}, which no Keras of today reads; load and save it with Keras 2.2 first."
        )
    kind = f"HDF5 file of Keras {look.version or '2'}"
    if not look.version.startswith("3"):
        return legacy(path, opening, kind)
    return of_model(_loaded(path, opening, name, config), kind)


def _loaded(path: Path, opening: Opening, name: str, config: Any) -> keras.Model:
    custom = by_registered_names(config, opening.custom_objects)
    try:
        model = keras.saving.load_model(str(path), custom_objects=custom, compile=False, safe_mode=not opening.trust)
        return in_float32(model)
    except Exception as error:  # of many kinds
        if is_memory(error):
            raise
        raise not_loaded(name, error, config) from None


def computes_narrowly(layer: Any) -> bool:
    """Whether a layer of Keras computes in floats of 16 bits, which are other ones on each device."""
    return "16" in str(getattr(layer, "compute_dtype", ""))


def in_float32(model: keras.Model) -> keras.Model:
    """Has a model that was trained in mixed precision computed in float32; it is changed."""
    for layer in model._flatten_layers() if isinstance(model, keras.Model) else ():
        if computes_narrowly(layer):
            layer.dtype_policy = "float32"
    return model


def _with_weights(path: Path, opening: Opening, name: str, legacy: Legacy) -> Foreign:
    """Opens a file of weights only, with a function that makes their network."""
    kind = "HDF5 file of weights"
    if opening.build is None:
        raise MirageError(
            f"{name} holds weights only; pass --model=module:function, whose function makes their network."
        )
    try:
        model = opening.build()
    except Exception as error:
        raise MirageError(f"--model fails ({reason(error)}); mend it.") from error
    if any(kind.__module__.startswith("tf_keras.") for kind in type(model).__mro__):
        return legacy(path, opening, kind)
    if not isinstance(model, keras.Model):
        raise MirageError(f"--model made a {type(model).__name__}; expected a keras.Model.")
    try:
        model.load_weights(str(path))
    except Exception as error:
        raise not_loaded(name, error) from None
    return of_model(in_float32(model), kind)


def of_model(model: keras.Model, kind: str = "Keras model") -> Foreign:
    """Describes a model of Keras 3.

    Args:
      model: the model; its inputs must be known, as those of functional and of built sequential ones are, and of
        others that were called.
      kind: what it was saved as.

    Raises:
      MirageError: if its inputs aren't known.
    """
    model = model if _is_functional(model) else _called(model, kind)
    given, made = list(model.inputs), list(model.outputs)
    inputs = tuple(Port(each.name, str(each.dtype), tuple(each.shape)) for each in given)
    outputs = tuple(Port(f"output_{i}", str(each.dtype), tuple(each.shape)) for i, each in enumerate(made))

    def tensors(values: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        arguments = [values[port.name] for port in inputs]
        results = model(arguments if len(arguments) > 1 else arguments[0], training=False)
        results = results if isinstance(results, list | tuple) else [results]
        return {port.name: value for port, value in zip(outputs, results, strict=True)}

    variables = tuple(variable.value for variable in model.variables)
    return of_tensors(tensors, inputs, outputs, kind=kind, framework=f"Keras {keras.__version__}", variables=variables)


def _is_functional(model: keras.Model) -> bool:
    try:
        return bool(list(model.inputs)) and bool(list(model.outputs))
    except (AttributeError, ValueError):
        return False


def _called(model: keras.Model, kind: str) -> keras.Model:
    """Makes a functional model of one that computes in its own code, and was called with a tensor or a list of them."""
    shapes = (getattr(model, "_build_shapes_dict", None) or {}).get("input_shape")
    unknown = MirageError(
        f"the inputs of the {kind} aren't known, since {type(model).__name__} computes them in its own code; pass "
        "keras.Model([z, label], generator([z, label])) with a keras.Input for each, or a SavedModel with a signature."
    )
    if not isinstance(shapes, list | tuple) or not shapes:
        raise unknown
    several = isinstance(shapes[0], list | tuple)
    inputs = [
        keras.Input(shape[1:], name=f"input_{i}", dtype="float32" if len(shape) > 1 else "int32")
        for i, shape in enumerate(shapes if several else [shapes])
    ]
    try:
        return keras.Model(inputs, model(inputs if several else inputs[0], training=False))
    except Exception as error:  # of their code
        raise unknown from error
