"""Opens a file of Keras 2 with tf-keras, and saves it as a SavedModel: `pipeline.foreign.legacy` starts this.

It reads from its standard input, in JSON, what it shall open, and prints what it found.
"""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

_PROBES = 3


def main() -> int:
    """Opens and saves; returns the exit status."""
    order = json.load(sys.stdin)
    from pipeline.base.quiet_tensorflow import quiet_tensorflow

    quiet_tensorflow()
    import tensorflow as tf
    import tf_keras

    custom = {}
    for name, address in order["names"].items():
        module, _, attribute = address.partition(":")
        custom[name] = getattr(importlib.import_module(module), attribute)
    try:
        model = tf_keras.models.load_model(
            order["path"], custom_objects=custom, compile=False, safe_mode=not order["trust"]
        )
    except Exception as error:  # of many kinds; the other process says it
        print(json.dumps({"error": str(error)[:2000]}))
        return 1
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
    tf.saved_model.save(module, order["folder"], signatures={"serving_default": called})
    probe = {f"given {name}": value for name, value in zip(inputs, given, strict=True)}
    probe |= {f"made output_{i}": np.asarray(value) for i, value in enumerate(made)}
    np.savez(Path(order["folder"]) / "probe.npz", **probe)  # type: ignore[arg-type]
    print(json.dumps({"version": tf_keras.__version__, "inputs": inputs}))
    return 0


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
