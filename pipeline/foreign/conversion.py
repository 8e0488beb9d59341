"""From a function of TensorFlow to an ONNX graph."""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from pipeline.base.errors import MirageError
from pipeline.base.failures import in_a_line
from pipeline.base.libraries import tf
from pipeline.foreign.network import Arrays, Foreign, Port

if TYPE_CHECKING:
    import onnx

OPSET = 18  # the highest that tf2onnx 1.17 writes
_OFTEN = (700, 5, 2)
_LOCK = threading.Lock()  # tf2onnx keeps functions, and logging its level, for the whole process


@contextlib.contextmanager
def converting() -> Iterator[None]:
    """Lets one thread at a time use tf2onnx, which logs nothing: what it can't convert is in what it returns."""
    logger = logging.getLogger("tf2onnx")
    with _LOCK:
        level = logger.level
        logger.setLevel(logging.CRITICAL)
        try:
            with _collecting_often():
                yield
        finally:
            logger.setLevel(level)


@contextlib.contextmanager
def _collecting_often() -> Iterator[None]:
    """Frees tf2onnx's copies of a graph soon, which are in cycles and hold its weights: Python would keep dozens."""
    thresholds, frozen = gc.get_threshold(), gc.get_freeze_count()
    if not frozen:  # else somebody else counts on what he has frozen
        gc.collect()
        gc.freeze()  # all that is there, so that it needs not be looked at each time
        gc.collect()  # else Python waits for a quarter of what it counted before
    gc.set_threshold(*_OFTEN)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        if not frozen:
            gc.unfreeze()


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Yields all nodes of a graph, those of loops and branches too."""
    for node in graph.node:
        yield node
        for each in node.attribute:
            for inner in [*([each.g] if each.HasField("g") else []), *each.graphs]:
                yield from nodes_of(inner)


def of_tensors(
    tensors: Callable[[Mapping[str, tf.Tensor]], dict[str, tf.Tensor]],
    inputs: tuple[Port, ...],
    outputs: tuple[Port, ...],
    **more: Any,
) -> Foreign:
    """Describes a network that TensorFlow computes.

    Args:
      tensors: computes it, of tensors by name, to tensors by name.
      inputs: what it takes.
      outputs: what it returns.
      **more: its `kind`, `framework` and `variables`.
    """

    def run(values: Arrays) -> dict[str, NDArray]:
        results = tensors({name: tf.constant(value) for name, value in values.items()})
        return {name: value.numpy() for name, value in results.items()}

    def graph() -> onnx.ModelProto:
        return graph_of_function(tensors, inputs, outputs)

    return Foreign(inputs=inputs, outputs=outputs, run=run, graph=graph, tensors=tensors, **more)


def graph_of_function(
    function: Callable[[Mapping[str, tf.Tensor]], dict[str, tf.Tensor]],
    inputs: Sequence[Port],
    outputs: Sequence[Port],
) -> onnx.ModelProto:
    """Converts a function.

    Args:
      function: of tensors by name, to tensors by name.
      inputs: what it takes.
      outputs: what it returns.

    Returns:
      A model with inputs and outputs of the same names, in the same order.

    Raises:
      MirageError: if it can't be converted.
    """
    import tf2onnx

    # Names that are no identifiers would be changed.
    signature = [tf.TensorSpec(port.shape, port.dtype, f"input_{i}") for i, port in enumerate(inputs)]

    @tf.function(input_signature=signature)
    def called(*values: tf.Tensor) -> list[tf.Tensor]:
        results = function({port.name: value for port, value in zip(inputs, values, strict=True)})
        return [tf.identity(results[port.name], f"output_{i}") for i, port in enumerate(outputs)]

    try:
        with converting():
            proto, _ = tf2onnx.convert.from_function(called, input_signature=signature, opset=OPSET)
        _hold_captured(proto, called.get_concrete_function())
    except Exception as error:  # it has none of its own
        raise not_converted(error) from error
    return named(proto, [port.name for port in inputs], [port.name for port in outputs])


def _hold_captured(proto: onnx.ModelProto, concrete: Any) -> None:
    """Makes initialisers of the constants that a function has from outside, of which tf2onnx makes inputs."""
    from onnx import numpy_helper

    held = {inner.name: outer for outer, inner in concrete.graph.captures if outer.dtype != tf.resource}
    given = list(proto.graph.input)
    del proto.graph.input[:]
    for value in given:
        if value.name in held:
            proto.graph.initializer.append(numpy_helper.from_array(held[value.name].numpy(), value.name))
        else:
            proto.graph.input.append(value)


def not_converted(error: Exception) -> MirageError:
    """Makes the error of what tf2onnx can't convert."""
    what = f"{type(error).__name__}: {in_a_line(error, 300)}"
    return MirageError(f"the network can't be converted to ONNX ({what}).")


def named(proto: onnx.ModelProto, inputs: Sequence[str], outputs: Sequence[str]) -> onnx.ModelProto:
    """Gives inputs and outputs, as they stand, other names; values in between that have them get others.

    Args:
      proto: a model; it is changed.
      inputs: names.
      outputs: names.
    """
    graph = proto.graph
    ports = [*zip(graph.input, inputs, strict=True), *zip(graph.output, outputs, strict=True)]
    new = {value.name: name for value, name in ports}
    taken = {*new.values()} - {*new}
    for name in [*(name for node in graph.node for name in node.output), *(each.name for each in graph.initializer)]:
        if name in taken:
            new[name] = f"{name}__inner"
    for node in nodes_of(graph):  # branches take values from outside
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    for each in [*graph.initializer, *graph.input, *graph.output]:
        each.name = new.get(each.name, each.name)
    del graph.value_info[:]
    return proto
