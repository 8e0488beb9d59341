"""What goes on where the phases of a transposed convolution are interleaved, as `transposed.py` leaves them."""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from export.rewrites.graph import FEW_CHANNELS, Graph, attribute, shapes_of
from export.rewrites.transposed import activation_behind, conv


def conv_before_interleaving(model: onnx.ModelProto) -> onnx.ModelProto:
    """Moves a Conv of few output channels, as the last one, from behind a DepthToSpace to before it.

    There it makes s * s times as many channels of as many fewer pixels, which vector units like better, and what is
    interleaved is the picture instead of many feature planes.
    """
    graph = Graph(model)
    for node in graph.nodes:
        weights = graph.constant(node.input[1]) if node.op_type == "Conv" else None
        space = graph.maker(node.input[0])
        if weights is None or space is None or space.op_type != "DepthToSpace" or not _keeps_size(node, weights):
            continue
        stride = attribute(space, "blocksize", 1)
        is_dcr = attribute(space, "mode", b"DCR") == b"DCR"
        if weights.shape[0] > FEW_CHANNELS or not is_dcr or graph.only_user(space.output[0]) is None:
            continue
        kernel, pads = _on_phases(weights, stride)
        bias = graph.constant(node.input[2]) if len(node.input) > 2 else None
        bias = None if bias is None else np.tile(bias, stride**2)
        activation = activation_behind(graph, node)
        nodes = conv(graph, space.input[0], kernel, bias, pads, activation)
        old = [space, node, *activation]
        nodes.append(
            helper.make_node("DepthToSpace", [nodes[-1].output[0]], [old[-1].output[0]], blocksize=stride, mode="DCR")
        )
        graph.replace(old, nodes)
    return graph.finish()


def _keeps_size(node: onnx.NodeProto, weights: NDArray) -> bool:
    size = weights.shape[2:]
    middle = [(side - 1) // 2 for side in size]
    return (
        all(side % 2 for side in size)
        and list(attribute(node, "pads", [0, 0, 0, 0])) == middle * 2
        and list(attribute(node, "strides", [1, 1])) == [1, 1]
        and list(attribute(node, "dilations", [1, 1])) == [1, 1]
        and attribute(node, "group", 1) == 1
        and attribute(node, "auto_pad", b"NOTSET") == b"NOTSET"
    )


def _on_phases(weights: NDArray, stride: int) -> tuple[NDArray, list[int]]:
    """Weights and paddings of a Conv, [out, in, K, K], for pictures whose s * s phases are channels, in DCR order.

    Output phase r at q is pixel s q + r, whose tap k looks at pixel s q + r + k - p = s (q + d) + r'.
    """
    outputs, inputs, *size = weights.shape
    middle = [(side - 1) // 2 for side in size]
    low = [-middle[axis] // stride for axis in (0, 1)]
    high = [(stride - 1 + middle[axis]) // stride for axis in (0, 1)]
    spans = [high[axis] - low[axis] + 1 for axis in (0, 1)]
    kernel = np.zeros((stride, stride, outputs, stride, stride, inputs, *spans), weights.dtype)
    for phase in np.ndindex(stride, stride):
        for tap in np.ndindex(*size):
            place, other = zip(
                *(divmod(phase[axis] + tap[axis] - middle[axis], stride) for axis in (0, 1)), strict=True
            )
            row, column = place[0] - low[0], place[1] - low[1]
            kernel[phase[0], phase[1], :, other[0], other[1], :, row, column] = weights[:, :, tap[0], tap[1]]
    pads = [-low[0], -low[1], high[0], high[1]]
    return kernel.reshape(stride**2 * outputs, stride**2 * inputs, *spans), pads


def stacked(model: onnx.ModelProto) -> onnx.ModelProto:
    """Interleaves the phases that a Concat joins by stacking them along new axes, instead of by DepthToSpace.

    onnxruntime's DepthToSpace moves value by value along six axes; joining values, then rows, takes half as long.
    """
    graph = Graph(model)
    shapes = shapes_of(model)
    for node in graph.nodes:
        joined = graph.maker(node.input[0]) if node.op_type == "DepthToSpace" else None
        if joined is None or joined.op_type != "Concat" or graph.only_user(joined.output[0]) is None:
            continue
        stride = attribute(node, "blocksize", 1)
        phases, shape = list(joined.input), shapes.get(joined.input[0], [])
        if len(phases) != stride**2 or len(shape) != 4 or not shape[3] or attribute(node, "mode", b"DCR") != b"DCR":
            continue
        graph.replace([joined, node], _stack(graph, phases, stride, shape[3], node.output[0]))
    return graph.finish()


def _stack(graph: Graph, phases: list[str], stride: int, width: int, output: str) -> list[onnx.NodeProto]:
    """Interleaves phases [N, C, h, width], row by row of them, to [N, C, s * h, s * width]."""
    last = graph.add_constant(np.array([4]))
    wide = graph.add_constant(np.array([0, 0, 0, stride * width]))
    nodes, rows = [], []
    for row in range(stride):
        columns = [graph.fresh("column") for _ in range(stride)]
        parts = phases[row * stride : (row + 1) * stride]
        nodes += [helper.make_node("Unsqueeze", [x, last], [y]) for x, y in zip(parts, columns, strict=True)]
        stack, flat = graph.fresh("stack"), graph.fresh("row")
        nodes += [
            helper.make_node("Concat", columns, [stack], axis=4),
            helper.make_node("Reshape", [stack, wide], [flat]),
        ]
        rows.append(flat)
    together = graph.fresh("rows")
    tall = graph.add_constant(np.array([0, 0, -1, stride * width]))
    nodes += [
        helper.make_node("Concat", rows, [together], axis=3),
        helper.make_node("Reshape", [together, tall], [output]),
    ]
    return nodes
