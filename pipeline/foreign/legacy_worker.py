"""Opens a file of Keras 2 with tf-keras, and saves it as a SavedModel: `pipeline.foreign.legacy` starts this.

`pipeline.foreign.apart` has the words that they exchange.
"""

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.base.names import printable
from pipeline.foreign import apart
from pipeline.foreign.files import size_of
from pipeline.foreign.legacy import not_loaded
from pipeline.foreign.network import Opening
from pipeline.foreign.safety import by_registered_names
from pipeline.foreign.trial import from_order

_PROBES = 3


def main() -> int:
    """Serves; returns the exit status."""
    from pipeline.base.quiet_tensorflow import quiet_tensorflow

    quiet_tensorflow()
    apart.serve(_saved)
    return 0


def _saved(order: dict[str, Any]) -> dict[str, Any]:
    """Opens and saves."""
    path, opening = from_order(order)
    apart.limit_memory(size_of(path))
    try:
        return _saved_by_tf_keras(_loaded(path, opening), Path(order["folder"]))
    except MirageError:
        raise
    except Exception as error:
        name = printable(str(path))
        said = MirageError(apart.no_memory(name, "opened")) if apart.is_memory(error) else not_loaded(name, error)
        raise said from error


def _loaded(path: Path, opening: Opening) -> Any:
    import tf_keras

    config = _config(path)
    try:
        if config is None:
            assert opening.build is not None
            model = opening.build()
            model.load_weights(str(path))
            return model
        custom = by_registered_names(config, opening.custom_objects)
        return tf_keras.models.load_model(str(path), custom_objects=custom, compile=False, safe_mode=not opening.trust)
    except Exception as error:  # of many kinds
        if apart.is_memory(error):
            raise
        raise not_loaded(printable(str(path)), error, config) from None


def _config(path: Path) -> Any:
    """The model's description; None in a file of weights."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return json.loads(archive.read("config.json"))
    import h5py

    with h5py.File(path, "r") as file:
        config = file.attrs.get("model_config")
    return None if config is None else json.loads(config)


def _saved_by_tf_keras(model: Any, folder: Path) -> dict[str, Any]:
    import tensorflow as tf
    import tf_keras

    for layer in model._flatten_layers():
        if "16" in str(getattr(layer, "compute_dtype", "")):  # as `keras_files.in_float32`
            layer._set_dtype_policy("float32")
    inputs = [_plain(each.name) for each in model.inputs]
    given = [_probe(each) for each in model.inputs]
    made = _listed(model(given if len(given) > 1 else given[0], training=False))
    called = _function(model, inputs)
    try:
        called(*given)
    except tf.errors.OpError as error:
        if "Fusion is not implemented" not in str(error):
            raise
        # TensorFlow joins a batch norm and what follows it, and then lacks that for some activations, such as tanh.
        for layer in model._flatten_layers():
            if hasattr(layer, "fused"):
                layer.fused = False
        called = _function(model, inputs)
    module = tf.Module()
    module.model = model
    tf.saved_model.save(module, str(folder), signatures={"serving_default": called})
    probe = {f"given {name}": value for name, value in zip(inputs, given, strict=True)}
    probe |= {f"made output_{i}": np.asarray(value) for i, value in enumerate(made)}
    np.savez(folder / "probe.npz", **probe)  # type: ignore[arg-type]
    return {"version": tf_keras.__version__, "inputs": inputs}


def _function(model: Any, inputs: list[str]) -> Any:
    """A model as a function of TensorFlow, of inputs of these names."""
    import tensorflow as tf

    signature = [tf.TensorSpec(each.shape, each.dtype, name) for each, name in zip(model.inputs, inputs, strict=True)]

    @tf.function(input_signature=signature)
    def called(*values: Any) -> dict[str, Any]:
        results = _listed(model(list(values) if len(values) > 1 else values[0], training=False))
        return {f"output_{i}": value for i, value in enumerate(results)}

    return called


def _listed(results: Any) -> list[Any]:
    return list(results) if isinstance(results, list | tuple) else [results]


def _plain(name: str) -> str:
    """A name that TensorFlow takes for an argument."""
    return "".join(each if each.isalnum() else "_" for each in name)


def _probe(tensor: Any) -> np.ndarray:
    shape = [_PROBES if size is None else size for size in tensor.shape]
    if tensor.dtype.is_integer or (len(shape) == 2 and shape[1] == 1):
        return (np.arange(np.prod(shape)).reshape(shape) % 2).astype(tensor.dtype.as_numpy_dtype)
    return np.random.default_rng(0).standard_normal(shape).astype(tensor.dtype.as_numpy_dtype)


if __name__ == "__main__":
    sys.exit(main())
