"""Somebody's generator with Mirage's inputs and outputs: as an ONNX graph, and as a network of TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from export.adoption.analysis import fixed_batch, without_branches
from export.adoption.meaning import Meaning
from export.rewrites.graph import Graph
from pipeline.base.errors import MirageError
from pipeline.base.failures import in_a_line
from pipeline.foreign.conversion import named
from pipeline.foreign.network import Foreign

_INNER = "source_"


def adapted_graph(source: onnx.ModelProto, meaning: Meaning) -> onnx.ModelProto:
    """Puts Mirage's inputs before a graph, and its output behind it.

    Args:
      source: the generator, with its own inputs and outputs.
      meaning: what those mean.

    Returns:
      A checked model with inputs `z` float32 [N, latent_dim] and, if there are classes, `label` int64 [N], or
      `attributes` float32 [N, number of them], and the output `image` float32 [N, H, W, C] in [-1, 1].

    Raises:
      MirageError: if the result is no model.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(source)
    if meaning.batch is not None:
        proto = fixed_batch(proto, meaning.batch)
    inputs, outputs = ([value.name for value in values] for values in (proto.graph.input, proto.graph.output))
    named(proto, [f"{_INNER}{name}" for name in inputs], [f"{_INNER}{name}" for name in outputs])
    graph = Graph(proto)
    before = [*_latent(graph, meaning), *_label(graph, meaning)]
    for name, value in meaning.constants.items():
        before += _constant(graph, f"{_INNER}{name}", value, batched=name in meaning.batched)
    without_branches(graph.model)
    nodes = [*before, *graph.nodes, *_image(graph, meaning)]
    result = graph.model.graph
    del result.node[:], result.input[:], result.output[:], result.value_info[:]
    result.node.extend(nodes)
    info = meaning.info
    result.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, ["N", info.latent_dim]))
    if info.class_names:
        result.input.append(helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]))
    if count := len(info.attributes):
        result.input.append(helper.make_tensor_value_info("attributes", TensorProto.FLOAT, ["N", count]))
    result.output.append(helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", *info.image_shape]))
    result.name = "generator"
    proto = graph.finish()
    del proto.metadata_props[:]
    proto.producer_name = proto.producer_version = proto.doc_string = ""
    try:
        onnx.checker.check_model(proto, full_check=True)
    except Exception as error:  # it has two, and one of shape inference
        reason = in_a_line(error, 200)
        raise MirageError(f"the generator can't be given Mirage's inputs and outputs ({reason}).") from error
    return proto


def _latent(graph: Graph, meaning: Meaning) -> list[onnx.NodeProto]:
    """Nodes from `z`, and from `label` where that is in the same input, to the source's latent."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(meaning.latent.dtype))
    shape = graph.add_constant(np.array([-1, *meaning.latent_shape], np.int64))
    value, nodes = "z", []
    if meaning.joined:
        table = graph.add_constant(np.eye(meaning.joined, dtype=np.float32))
        told, value = graph.fresh("told"), graph.fresh("joined")
        nodes.append(helper.make_node("Gather", [table, "label"], [told]))
        nodes.append(helper.make_node("Concat", ["z", told], [value], axis=1))
    moved = graph.fresh("latent")
    return [
        *nodes,
        helper.make_node("Reshape", [value, shape], [moved]),
        helper.make_node("Cast", [moved], [f"{_INNER}{meaning.latent.name}"], to=kind),
    ]


def _label(graph: Graph, meaning: Meaning) -> list[onnx.NodeProto]:
    """Nodes from `label` or `attributes` to the source's."""
    if meaning.label is None or meaning.joined:
        return []
    label, name = meaning.label, f"{_INNER}{meaning.label.port.name}"
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(label.port.dtype))
    if label.form == "one_hot":
        table = graph.add_constant(np.eye(label.classes, dtype=label.port.dtype))
        return [helper.make_node("Gather", [table, "label"], [name])]
    if label.form == "attributes":
        return [helper.make_node("Cast", ["attributes"], [name], to=kind)]
    made = graph.fresh("label")
    cast = helper.make_node("Cast", ["label"], [made if label.form == "column" else name], to=kind)
    if label.form == "index":
        return [cast]
    return [cast, helper.make_node("Unsqueeze", [made, graph.add_constant(np.array([1], np.int64))], [name])]


def _constant(graph: Graph, name: str, value: NDArray, *, batched: bool) -> list[onnx.NodeProto]:
    """Nodes that make an input that stays the same, of one picture or of as many as there are latents."""
    if not batched:
        graph.model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
        return []
    count, sizes = graph.fresh("count"), graph.fresh("sizes")
    rest = graph.add_constant(np.array(value.shape[1:], np.int64))
    return [
        helper.make_node("Shape", ["z"], [count], start=0, end=1),
        helper.make_node("Concat", [count, rest], [sizes], axis=0),
        helper.make_node("Expand", [graph.add_constant(value), sizes], [name]),
    ]


def _image(graph: Graph, meaning: Meaning) -> list[onnx.NodeProto]:
    """Nodes from the source's output to `image`."""
    nodes: list[onnx.NodeProto] = []
    value = f"{_INNER}{meaning.output.name}"

    def add(operator: str, *more: str, **attributes: Any) -> None:
        nonlocal value
        made = graph.fresh("image")
        nodes.append(helper.make_node(operator, [value, *more], [made], **attributes))
        value = made

    def constant(number: Any, kind: type) -> str:
        return graph.add_constant(np.array(number, kind))

    if meaning.output.dtype != "float32":
        add("Cast", to=TensorProto.FLOAT)
    if len(meaning.output.shape) != 4:
        add("Reshape", constant([-1, *meaning.image_shape], np.int64))
    elif meaning.layout == "NCHW":
        add("Transpose", perm=[0, 2, 3, 1])
    factor, offset = meaning.affine
    one = (1, 1, 1, 1)
    if factor != 1:
        add("Mul", constant(np.full(one, factor), np.float32))
    if offset != 0:
        add("Add", constant(np.full(one, offset), np.float32))
    if meaning.clipped:
        add("Clip", constant(-1, np.float32), constant(1, np.float32))
    if meaning.label is not None:  # others are refused, as by `export.signatures`
        place, more = _place(graph, meaning)
        ones = constant(np.ones((max(1, meaning.label.classes), 1, 1, 1)), np.float32)
        known = graph.fresh("known")
        nodes += [*more, helper.make_node("Gather", [ones, place], [known])]
        add("Mul", known)
    nodes.append(helper.make_node("Identity", [value], ["image"]))
    return nodes


def _place(graph: Graph, meaning: Meaning) -> tuple[str, list[onnx.NodeProto]]:
    """A value that is a place in a table of ones, or beyond its end: (its name, the nodes that make it)."""
    if not meaning.attributes:
        return "label", []
    low, high = (np.array([getattr(each, end) for each in meaning.attributes], np.float32) for end in ("low", "high"))
    above, below, inside, number, least, place = (graph.fresh("within") for _ in range(6))
    one, axis = (graph.add_constant(np.array(value, np.int64)) for value in (1, [1]))
    return place, [
        helper.make_node("GreaterOrEqual", ["attributes", graph.add_constant(low)], [above]),
        helper.make_node("LessOrEqual", ["attributes", graph.add_constant(high)], [below]),
        helper.make_node("And", [above, below], [inside]),
        helper.make_node("Cast", [inside], [number], to=TensorProto.INT64),
        helper.make_node("ReduceMin", [number, axis], [least], keepdims=0),
        helper.make_node("Sub", [one, least], [place]),
    ]


class AdaptedNetwork:
    """Somebody's generator as a network of TensorFlow that is called as Mirage's are.

    Attributes:
      variables: those of TensorFlow.
    """

    def __init__(self, network: Foreign, meaning: Meaning) -> None:
        """Takes a generator that TensorFlow computes, and what its inputs and outputs mean."""
        self._network, self._meaning = network, meaning
        self.variables = [_Held(each) for each in network.variables]

    def __call__(self, inputs: Any, training: bool = False) -> Any:
        """Computes float32 [N, H, W, C] in [-1, 1] of z, or of [z, label] or [z, attributes]."""
        import tensorflow as tf

        assert self._network.tensors is not None
        meaning = self._meaning
        z, *labels = inputs if isinstance(inputs, Sequence) else [inputs]
        count = tf.shape(z)[0]
        values = {
            name: tf.repeat(value, count, axis=0) if name in meaning.batched else tf.constant(value)
            for name, value in meaning.constants.items()
        }
        if meaning.joined:
            z = tf.concat([z, tf.one_hot(labels[0], meaning.joined)], axis=1)
        values[meaning.latent.name] = tf.cast(tf.reshape(z, [-1, *meaning.latent_shape]), meaning.latent.dtype)
        if meaning.label is not None and not meaning.joined:
            form, port = meaning.label.form, meaning.label.port
            (label,) = labels
            told = tf.one_hot(label, meaning.label.classes) if form == "one_hot" else label
            values[port.name] = tf.cast(told[:, None] if form == "column" else told, port.dtype)
        image = tf.cast(self._network.tensors(values)[meaning.output.name], tf.float32)
        image = tf.reshape(image, [-1, *meaning.raw_shape])
        if meaning.layout == "NCHW":
            image = tf.transpose(image, [0, 2, 3, 1])
        factor, offset = meaning.affine
        image = tf.reshape(image, [-1, *meaning.image_shape])
        image = image if (factor, offset) == (1, 0) else image * factor + offset
        return tf.clip_by_value(image, -1, 1) if meaning.clipped else image

    def _flatten_layers(self) -> list[Any]:
        """The layers that errors may name: none is known."""
        return []


class _Held:
    """A variable as Keras wraps them."""

    def __init__(self, value: Any) -> None:
        self.value = value
