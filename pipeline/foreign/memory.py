"""Networks that are in memory: of Keras, of TensorFlow, or opened already."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.failures import in_a_line
from pipeline.base.libraries import keras, tf
from pipeline.foreign.conversion import of_tensors
from pipeline.foreign.keras_files import computes_narrowly, of_model
from pipeline.foreign.network import Foreign
from pipeline.foreign.saved_models import chosen_signature, input_of, port_of

_WANTED = (
    "a keras.Model, a tf.function with an input_signature, a tf.Module or a loaded SavedModel that has one, or the "
    "path of what was saved"
)


def of_object(network: Any, signature: str = "") -> Foreign:
    """Describes a network that is in memory.

    Args:
      network: what `open_network` returned; a model of Keras 3; a `tf.function` with an `input_signature`; or a
        `tf.Module` or loaded SavedModel with signatures, or with one such function.
      signature: which of its signatures; empty for the only one, or serving_default.

    Raises:
      MirageError: if it is something else, or its inputs aren't known.
    """
    if isinstance(network, Foreign):
        return network
    if isinstance(network, keras.Model):
        if any(computes_narrowly(layer) for layer in network._flatten_layers()):
            raise MirageError(
                "the model computes in floats of 16 bits; save it and adopt the file, which is computed in float32."
            )
        return of_model(network)
    if isinstance(network, tf.types.experimental.ConcreteFunction):
        return _of_function(network, network)
    if isinstance(network, tf.types.experimental.GenericFunction):
        return _of_function(_concrete(network), network)
    signatures = getattr(network, "signatures", None)
    if isinstance(signatures, Mapping) and signatures:
        kind = type(network).__name__
        return _of_function(signatures[chosen_signature(signature, list(signatures), f"the {kind}")], network)
    if isinstance(network, tf.Module):
        return _of_function(_concrete(_only_function(network)), network)
    raise MirageError(f"a {type(network).__name__} can't be adopted; expected {_WANTED}.")


def _concrete(function: Any) -> Any:
    if getattr(function, "input_signature", None) is None:
        name = getattr(function, "__name__", "function")
        raise MirageError(
            f"the inputs of the tf.function {name} aren't known; give it an input_signature, such as "
            "[tf.TensorSpec([None, 100], tf.float32, 'z')]."
        )
    try:
        return function.get_concrete_function()
    except Exception as error:  # of whatever stands in it
        raise MirageError(f"the tf.function can't be traced ({in_a_line(error, 300)}).") from error


def _only_function(module: tf.Module) -> Any:
    """The function of a module that makes something of inputs: `__call__`, or the only one."""
    functions = {}
    for name in dir(module):
        with contextlib.suppress(Exception):  # of their properties
            value = getattr(module, name)
            if isinstance(value, tf.types.experimental.GenericFunction):
                functions[name] = value
    if "__call__" in functions:
        return functions["__call__"]
    if len(functions) != 1:
        there = ", ".join(functions) or "none"
        raise MirageError(
            f"which function of the {type(module).__name__} is the generator can't be seen; there are {there}: pass "
            "that function itself, with an input_signature."
        )
    return next(iter(functions.values()))


def _of_function(concrete: Any, owner: Any) -> Foreign:
    """Describes a concrete function; its owner keeps the variables alive."""
    given, made = concrete.structured_input_signature, concrete.structured_outputs
    leaves = tf.nest.flatten(given)
    specs = [each for each in leaves if isinstance(each, tf.TensorSpec)]  # others are arguments left at their defaults
    names = [spec.name or f"input_{i}" for i, spec in enumerate(specs)]
    if len({*names}) < len(names):
        names = [f"input_{i}" for i in range(len(specs))]
    results = (
        dict(made) if isinstance(made, Mapping) else {f"output_{i}": x for i, x in enumerate(tf.nest.flatten(made))}
    )

    def tensors(values: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        assert owner is not None
        left = iter(names)
        held = [values[next(left)] if isinstance(each, tf.TensorSpec) else each for each in leaves]
        arguments, named = tf.nest.pack_sequence_as(given, held)
        found = concrete(*arguments, **named)
        return dict(found) if isinstance(found, Mapping) else dict(zip(results, tf.nest.flatten(found), strict=True))

    return of_tensors(
        tensors,
        tuple(input_of(name, spec) for name, spec in zip(names, specs, strict=True)),
        tuple(port_of(name, spec) for name, spec in results.items()),
        kind="function of TensorFlow",
        framework=f"TensorFlow {tf.__version__}",
        variables=tuple(concrete.graph.variables),
    )
