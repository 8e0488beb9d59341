"""Other exporters' operators, said in those that the rewrites know: MatMul, Conv, ConvTranspose, Mul and Add."""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from export.rewrites.affine import bias_of
from export.rewrites.graph import Graph, attribute, inferred, shapes_of

_LAYERS = {"MatMul": 1, "Conv": 0, "ConvTranspose": 1}  # by the axis of their weights along which outputs lie


def without_idle(model: onnx.ModelProto) -> onnx.ModelProto:
    """Removes nodes that change nothing: Identity, Dropout, Cast to the type that a value has."""
    graph = Graph(model)
    kinds = _kinds(model)
    ends = {value.name for value in model.graph.output}
    for result in [node.output[0] for node in graph.nodes]:
        node = graph.maker(result)
        assert node is not None
        same = node.op_type in ("Identity", "Dropout") and not ends & {*node.output[1:]}
        if not same and not (node.op_type == "Cast" and kinds.get(node.input[0]) == attribute(node, "to", 0)):
            continue
        source = node.input[0]
        if result not in ends:
            graph.replace([node], [])
            graph.rename(result, source)
        elif graph.maker(source) is not None and source not in ends:
            graph.replace([node], [])
            graph.rename(source, result)  # outputs keep their names
    return graph.finish()


def _kinds(model: onnx.ModelProto) -> dict[str, int]:
    graph = inferred(model)
    values = [*graph.input, *graph.value_info, *graph.output]
    return {value.name: value.type.tensor_type.elem_type for value in values}


def gemm_as_matmul(model: onnx.ModelProto) -> onnx.ModelProto:
    """Makes a MatMul, and an Add, of a Gemm with constant weights, as PyTorch's exporter writes dense layers."""
    graph = Graph(model)
    for node in graph.nodes:
        weights = graph.constant(node.input[1]) if node.op_type == "Gemm" else None
        bias = graph.constant(node.input[2]) if weights is not None and len(node.input) > 2 and node.input[2] else None
        computed = len(node.input) > 2 and node.input[2] and bias is None
        if weights is None or weights.dtype != np.float32 or computed or attribute(node, "transA", 0):
            continue
        weights = (weights.T if attribute(node, "transB", 0) else weights) * np.float32(attribute(node, "alpha", 1.0))
        last = node.output[0] if bias is None else graph.fresh("product")
        nodes = [helper.make_node("MatMul", [node.input[0], graph.add_constant(np.ascontiguousarray(weights))], [last])]
        if bias is not None:
            bias = np.broadcast_to(bias, np.broadcast_shapes(bias.shape, (1, weights.shape[1])))
            if len(bias) > 1:  # another one for each row of a batch
                continue
            added = graph.add_constant(bias[0] * np.float32(attribute(node, "beta", 1.0)))
            nodes.append(helper.make_node("Add", [last, added], [node.output[0]]))
        graph.replace([node], nodes)
    return graph.finish()


def means_as_products(model: onnx.ModelProto) -> onnx.ModelProto:
    """Makes a MatMul of each mean over a row's numbers, [N, F] to [N, 1].

    onnxruntime adds these up in an order that depends on where a row lies in memory, and so on the rest of its batch.
    """
    graph = Graph(model)
    shapes = shapes_of(model)
    for node in graph.nodes:
        axes = graph.constant(node.input[1]) if node.op_type == "ReduceMean" and len(node.input) > 1 else None
        shape = shapes.get(node.input[0], [])
        if axes is None or axes.tolist() not in ([1], [-1]) or len(shape) != 2 or not shape[1]:
            continue
        if attribute(node, "keepdims", 1):
            weights = graph.add_constant(np.full((shape[1], 1), 1 / shape[1], np.float32))
            graph.replace([node], [helper.make_node("MatMul", [node.input[0], weights], [node.output[0]])])
    return graph.finish()


def batch_norms(model: onnx.ModelProto) -> onnx.ModelProto:
    """Makes a Mul and an Add of each batch norm that a layer stands behind, for `fold_affine` to take them up.

    Between the two may be a Reshape of a dense layer's output to a picture, and an enlargement of it, which are passed.
    Others stay: onnxruntime computes them in one go.
    """
    graph = Graph(model)
    for node in graph.nodes:
        if node.op_type != "BatchNormalization" or len(node.output) > 1 or attribute(node, "training_mode", 0):
            continue
        held = [graph.constant(name) for name in node.input[1:]]
        if any(each is None or each.dtype != np.float32 for each in held):
            continue
        scale, shift, mean, variance = (each.astype(np.float64) for each in held if each is not None)
        factor = scale / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
        place = _behind(graph, node, factor, shift - mean * factor)
        if place is None:
            continue
        last, between, factor, shift = place
        value = last.output[0]
        scaled, moved = graph.fresh("scaled"), graph.fresh("moved")
        affine = [
            helper.make_node("Mul", [value, graph.add_constant(factor.astype(np.float32))], [scaled]),
            helper.make_node("Add", [scaled, graph.add_constant(shift.astype(np.float32))], [moved]),
        ]
        if not between:
            affine[1].output[0] = node.output[0]
            graph.replace([node], affine)
            continue
        rest: list[onnx.NodeProto] = []
        for each in between:
            copy = onnx.NodeProto()
            copy.CopyFrom(each)
            copy.input[0] = rest[-1].output[0] if rest else moved
            rest.append(copy)
        rest[-1].output[0] = node.output[0]
        graph.replace([*between, node], [*affine, *rest])
    return graph.finish()


_Place = tuple[onnx.NodeProto, list[onnx.NodeProto], NDArray, NDArray]


def _behind(graph: Graph, norm: onnx.NodeProto, factor: NDArray, shift: NDArray) -> _Place | None:
    """Finds the layer that a batch norm goes into.

    Returns:
      (the layer's last node; what is between it and the norm; factor and shift as they are there), or None.
    """
    between: list[onnx.NodeProto] = []
    name = norm.input[0]
    while (node := graph.maker(name)) is not None and graph.only_user(name) is not None:
        if node.op_type in _LAYERS or node.op_type == "Add":
            break
        if node.op_type == "Reshape":
            target = graph.constant(node.input[1])
            if target is None or len(target) != 4 or (target[1:] < 1).any() or target[1] != len(factor):
                return None
            factor, shift = (np.repeat(each, target[2] * target[3]) for each in (factor, shift))
        elif node.op_type != "Resize":
            return None
        between.insert(0, node)
        name = node.input[0]
    if node is None or graph.only_user(name) is None:
        return None
    layer = graph.maker(node.input[0]) if node.op_type == "Add" else node
    if layer is None or layer.op_type not in _LAYERS or attribute(layer, "group", 1) != 1:
        return None
    weights = graph.constant(layer.input[1])
    if weights is None or weights.shape[_LAYERS[layer.op_type]] != len(factor):
        return None
    if node is not layer and (
        layer.op_type != "MatMul" or bias_of(graph, layer, len(factor))[1][-1].output[0] != node.output[0]
    ):
        return None
    if layer.op_type != "MatMul":
        factor, shift = (each.reshape(1, -1, 1, 1) for each in (factor, shift))
    return node, between, factor, shift


def tanh_for_sigmoid(model: onnx.ModelProto) -> onnx.ModelProto:
    """Makes a tanh of a sigmoid whose result is brought from [0, 1] to [-1, 1]: 2 / (1 + exp(-x)) - 1 = tanh(x / 2)."""
    graph = Graph(model)
    for node in graph.nodes:
        twice = graph.only_user(node.output[0]) if node.op_type == "Sigmoid" else None
        while twice is not None and twice.op_type in ("Reshape", "Transpose"):
            twice = graph.only_user(twice.output[0])
        less = graph.only_user(twice.output[0]) if twice is not None and _is(graph, twice, "Mul", 2) else None
        if twice is None or less is None or not _is(graph, less, "Add", -1):
            continue
        half, last = graph.fresh("half"), twice.input[0] if graph.constant(twice.input[0]) is None else twice.input[1]
        nodes = [
            helper.make_node("Mul", [node.input[0], graph.add_constant(np.array(0.5, np.float32))], [half]),
            helper.make_node("Tanh", [half], [node.output[0]]),
        ]
        result = less.output[0]
        graph.replace([node], nodes)
        graph.replace([twice, less], [])
        graph.rename(last, result)
    return graph.finish()


def _is(graph: Graph, node: onnx.NodeProto, operator: str, number: float) -> bool:
    """Whether a node adds, or multiplies by, one number."""
    held = [each for each in (graph.constant(name) for name in node.input) if each is not None]
    return node.op_type == operator and len(held) == 1 and held[0].size == 1 and held[0].item() == number
