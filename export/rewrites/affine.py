"""Batch norm, and whatever else multiplies and adds constants, goes into the weights beside it."""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from export.rewrites.graph import Graph, attribute

# Of layers with weights: the axis along which output channels lie.
_OUTPUT_AXIS = {"MatMul": 1, "Conv": 0, "ConvTranspose": 1}


def fold_affine(model: onnx.ModelProto) -> onnx.ModelProto:
    """Folds multiplications and additions of constants, one per channel, into the layers beside them.

    Behind a MatMul, Conv or ConvTranspose they go into its weights and bias; before a MatMul too: (x s + t) W =
    x (s W) + t W. A MatMul keeps an addition, which onnxruntime computes along with it. What brings attributes into
    one unit stays before it: of large numbers, such as years, t W would leave no digits.
    """
    graph = Graph(model)
    while _fold_behind(graph) or _fold_before(graph):
        pass
    return graph.finish()


def _fold_behind(graph: Graph) -> bool:
    for node in graph.nodes:
        if node.op_type not in _OUTPUT_AXIS or attribute(node, "group", 1) != 1:
            continue
        weights = graph.constant(node.input[1])
        if weights is None:
            continue
        axis = _OUTPUT_AXIS[node.op_type]
        bias, chain = bias_of(graph, node, weights.shape[axis])
        follower = graph.only_user(chain[-1].output[0])
        if follower is None or follower.op_type not in ("Mul", "Add"):
            continue
        values = _per_channel(graph, follower, chain[-1].output[0], weights.shape[axis], weights.ndim)
        if values is None or (node.op_type == "MatMul" and follower.op_type == "Add" and bias is None):
            continue  # the one addition that a MatMul keeps
        if follower.op_type == "Mul":
            shape = [1] * weights.ndim
            shape[axis] = -1
            weights = weights * values.reshape(shape)
            bias = None if bias is None else bias * values
        else:
            bias = values if bias is None else bias + values
        graph.replace([*chain, follower], _layer(graph, node, weights, bias, follower.output[0]))
        return True
    return False


def bias_of(graph: Graph, node: onnx.NodeProto, count: int) -> tuple[NDArray | None, list[onnx.NodeProto]]:
    """What a layer adds, and where.

    Args:
      graph: the layer's.
      node: the layer, whose weights are constant.
      count: number of its output channels.

    Returns:
      (its bias or None; its node and, if it is a MatMul, the addition that is its bias).
    """
    if node.op_type != "MatMul":
        return (graph.constant(node.input[2]) if len(node.input) > 2 else None), [node]
    addition = graph.only_user(node.output[0])
    if addition is not None and addition.op_type == "Add":
        values = _per_channel(graph, addition, node.output[0], count, 2)
        if values is not None:
            return values, [node, addition]
    return None, [node]


def _layer(
    graph: Graph, node: onnx.NodeProto, weights: NDArray, bias: NDArray | None, output: str
) -> list[onnx.NodeProto]:
    """A layer like `node` with other weights, whose output is called `output`."""
    inputs = [node.input[0], graph.add_constant(weights.astype(np.float32))]
    last = output
    nodes = []
    if bias is not None and node.op_type == "MatMul":
        last = graph.fresh("product")
        nodes = [helper.make_node("Add", [last, graph.add_constant(bias.astype(np.float32))], [output])]
    elif bias is not None:
        inputs.append(graph.add_constant(bias.astype(np.float32)))
    layer = onnx.NodeProto(op_type=node.op_type, input=inputs, output=[last], attribute=node.attribute)
    return [layer, *nodes]


def _fold_before(graph: Graph) -> bool:
    for node in graph.nodes:
        if node.op_type != "MatMul" or (weights := graph.constant(node.input[1])) is None:
            continue
        before = graph.maker(node.input[0])
        if before is None or before.op_type not in ("Mul", "Add") or graph.only_user(before.output[0]) is None:
            continue
        data = next((name for name in before.input if graph.constant(name) is None), None)
        if data is None or _is_of_attributes(graph, data):
            continue
        values = _per_channel(graph, before, data, len(weights), 2)
        if values is None:
            continue
        if before.op_type == "Mul":
            weights = weights * values[:, None]
            nodes = [helper.make_node("MatMul", [data, graph.add_constant(weights)], [node.output[0]])]
        else:
            product = graph.fresh("product")
            nodes = [
                helper.make_node("MatMul", [data, node.input[1]], [product]),
                helper.make_node("Add", [product, graph.add_constant(values @ weights)], [node.output[0]]),
            ]
        graph.replace([before, node], nodes)
        return True
    return False


def _is_of_attributes(graph: Graph, name: str) -> bool:
    """Whether a value is the attributes, or these with constants added or multiplied."""
    while (maker := graph.maker(name)) is not None and maker.op_type in ("Add", "Div", "Mul", "Sub"):
        name = next((each for each in maker.input if graph.constant(each) is None), "")
    return name == "attributes"


def _per_channel(graph: Graph, node: onnx.NodeProto, data: str, channels: int, ndim: int) -> NDArray | None:
    """The constant operand of an addition or multiplication, [channels]; None if it isn't one value per channel."""
    other = [name for name in node.input if name != data]
    values = graph.constant(other[0]) if len(other) == 1 else None
    if values is None or values.dtype != np.float32:
        return None
    shape = [1] * ndim
    shape[1] = channels
    try:
        if np.broadcast_shapes(values.shape, shape) != tuple(shape):
            return None
    except ValueError:
        return None
    return np.broadcast_to(values, shape).reshape(channels)
