"""A dense layer whose output becomes a picture."""

import numpy as np
import onnx
from onnx import helper

from export.rewrites.graph import ELEMENTWISE, Graph, attribute


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
        renamed = {}
        for each in dense:
            for name in each.input:
                values = graph.constant(name)
                if values is not None and name not in renamed:
                    renamed[name] = graph.add_constant(np.ascontiguousarray(values[..., order]))
        fresh = [onnx.NodeProto() for _ in dense]
        for copy, each in zip(fresh, dense, strict=True):
            copy.CopyFrom(each)
            for index, name in enumerate(copy.input):
                copy.input[index] = renamed.get(name, name)
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
    chain: list[onnx.NodeProto] = []
    name = reshape.input[0]
    while True:
        each = graph.maker(name)
        if each is None or graph.only_user(name) is None:
            return None, []
        chain.insert(0, each)
        if each.op_type == "MatMul":
            weights = graph.constant(each.input[1])
            fits = weights is not None and weights.shape[1] == height * width * channels
            return ((height, width, channels), chain) if fits else (None, [])
        if each.op_type == "Add":
            bias = graph.constant(each.input[1])
            if bias is None or bias.shape[-1:] != (height * width * channels,):
                return None, []
        elif each.op_type not in ELEMENTWISE:
            return None, []
        name = each.input[0]
