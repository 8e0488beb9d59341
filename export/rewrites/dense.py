"""A dense layer whose output becomes a picture."""

import functools
from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from export.rewrites.graph import ELEMENTWISE, Graph, attribute

_WIDE = 5  # a kernel


def reorder_dense(model: onnx.ModelProto) -> onnx.ModelProto:
    """Removes the transposition behind a MatMul whose output becomes a picture, by reordering its columns.

    MatMul, perhaps Add and activations, Reshape to [N, h, w, c], Transpose to [N, c, h, w].
    """
    graph = Graph(model)
    for node in graph.nodes:
        shape, dense = _dense_picture(graph, node)
        if shape is None:
            continue
        reshape = graph.maker(node.input[0])
        assert reshape is not None
        order = np.arange(np.prod(shape)).reshape(shape).transpose(2, 0, 1).ravel()
        fresh = _with_columns(graph, dense, functools.partial(np.take, indices=order, axis=-1))
        target = graph.add_constant(np.array([-1, shape[2], shape[0], shape[1]]))
        picture = helper.make_node("Reshape", [fresh[-1].output[0], target], [node.output[0]])
        graph.replace([*dense, reshape, node], [*fresh, picture])
    return graph.finish()


def _dense_picture(graph: Graph, node: onnx.NodeProto) -> tuple[tuple[int, int, int] | None, list[onnx.NodeProto]]:
    """Returns ((h, w, c), the nodes from the MatMul to before the Reshape), or (None, [])."""
    if node.op_type != "Transpose" or list(attribute(node, "perm", [])) != [0, 3, 1, 2]:
        return None, []
    reshape = graph.maker(node.input[0])
    if reshape is None or reshape.op_type != "Reshape" or graph.only_user(reshape.output[0]) is None:
        return None, []
    target = graph.constant(reshape.input[1])
    if target is None or len(target) != 4 or (target[1:] < 1).any():
        return None, []
    height, width, channels = (int(each) for each in target[1:])
    chain = _chain(graph, reshape.input[0], height * width * channels)
    return ((height, width, channels), chain) if chain else (None, [])


def _chain(graph: Graph, name: str, count: int) -> list[onnx.NodeProto]:
    """Nodes of a dense layer of `count` outputs, from the MatMul to what makes a value, used only once; [] if none."""
    chain: list[onnx.NodeProto] = []
    while True:
        each = graph.maker(name)
        if each is None or graph.only_user(name) is None:
            return []
        chain.insert(0, each)
        if each.op_type == "MatMul":
            weights = graph.constant(each.input[1])
            return chain if weights is not None and weights.shape[1:] == (count,) else []
        if each.op_type == "Add":
            bias = graph.constant(each.input[1])
            if bias is None or bias.shape[-1:] != (count,):
                return []
        elif each.op_type not in ELEMENTWISE:
            return []
        name = each.input[0]


def _with_columns(
    graph: Graph, chain: list[onnx.NodeProto], change: Callable[[NDArray], NDArray]
) -> list[onnx.NodeProto]:
    """A copy of a dense layer with other columns of its weights and its bias; values in between get other names."""
    changed: dict[str, str] = {}
    copies = []
    for each in chain:
        copy = onnx.NodeProto()
        copy.CopyFrom(each)
        for index, name in enumerate(each.input):
            values = graph.constant(name)
            if values is not None and name not in changed:
                changed[name] = graph.add_constant(np.ascontiguousarray(change(values)))
            copy.input[index] = changed.get(name, name)
        copies.append(copy)
    return copies


def widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """Lets a dense layer whose output becomes a picture make zeros at its left and right, as a wide Conv pads it with.

    onnxruntime computes the pixels at those edges one by one, which are most of those of a small picture. The dense
    layer grows, and what follows it must leave zeros as they are.
    """
    graph = Graph(model)
    for node in graph.nodes:
        reshape = graph.maker(node.input[0]) if node.op_type == "Conv" else None
        target = graph.constant(reshape.input[1]) if reshape is not None and reshape.op_type == "Reshape" else None
        if reshape is None or target is None or len(target) != 4 or (target[1:] < 1).any():
            continue
        weights, pads = graph.constant(node.input[1]), list(attribute(node, "pads", [0, 0, 0, 0]))
        if weights is None or weights.shape[3] < _WIDE or not (pads[1] or pads[3]):
            continue
        if attribute(node, "auto_pad", b"NOTSET") != b"NOTSET" or graph.only_user(reshape.output[0]) is None:
            continue
        chain = _chain(graph, reshape.input[0], int(np.prod(target[1:])))
        if not chain or any(each.op_type == "Sigmoid" for each in chain):
            continue
        shape = [int(each) for each in target[1:]]

        def wider(values: NDArray, shape: list[int] = shape, pads: list[int] = pads) -> NDArray:
            pictures = values.reshape(-1, *shape)
            return np.pad(pictures, [(0, 0)] * 3 + [(pads[1], pads[3])]).reshape(*values.shape[:-1], -1)

        dense = _with_columns(graph, chain, wider)
        size = graph.add_constant(np.array([-1, *shape[:2], shape[2] + pads[1] + pads[3]]))
        picture = helper.make_node("Reshape", [dense[-1].output[0], size], list(reshape.output))
        conv = onnx.NodeProto()
        conv.CopyFrom(node)
        kept = [each for each in node.attribute if each.name != "pads"]
        del conv.attribute[:]
        conv.attribute.extend([*kept, helper.make_attribute("pads", [pads[0], 0, pads[2], 0])])
        graph.replace([*chain, reshape, node], [*dense, picture, conv])
    return graph.finish()
