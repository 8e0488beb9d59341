"""Exact rewrites of transposed convolutions, for CPUs.

onnxruntime's own works image by image, so that a larger batch gains little, and has no int8. An output pixel of a
transposed convolution of stride s has one of s * s phases; each phase is a plain convolution, and DepthToSpace
interleaves them.
"""

from collections.abc import Callable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from export.rewrites.graph import ELEMENTWISE, Graph, attribute


def one_padded_kernel(model: onnx.ModelProto) -> onnx.ModelProto:
    """Turns each ConvTranspose of stride s into one Conv to s * s * C channels and DepthToSpace.

    Its kernel covers what any output phase needs, so that it is padded with zeros where one needs less. A stride of
    1 becomes a Conv with the kernel turned round.
    """
    return _without_conv_transpose(model, _padded)


def one_kernel_per_phase(model: onnx.ModelProto, least: int = 1) -> onnx.ModelProto:
    """As `one_padded_kernel`, but with a small Conv for each of the s * s output phases, which multiplies no zeros.

    Args:
      model: any model.
      least: output channels that a ConvTranspose has that isn't left as it is.
    """
    return _without_conv_transpose(model, _phases, least)


# One output phase along one axis: weights' indices of its taps, first to last, None for zero; and both paddings.
_Taps = tuple[list[int | None], int, int]


def _taps(kernel: int, stride: int, begin: int, extra: int, phase: int) -> _Taps:
    """Taps of the convolution that makes outputs phase, phase + stride, ...

    Output o = s q + r gathers x[i] w[k] where k = o + begin - s i. So k = r + begin (mod s), and with c =
    floor((r + begin) / s) the input is i = q + c - m for the m-th such k. Every phase has q = 0 .. I + extra - 1.

    Args:
      kernel: its size.
      stride: s.
      begin: padding taken off the output's start.
      extra: outputs of each phase, less the number of inputs.
      phase: r.
    """
    first, offset = (phase + begin) % stride, (phase + begin) // stride
    by_offset = {offset - m: k for m, k in enumerate(range(first, kernel, stride))}
    # Zero taps keep paddings from being negative.
    low, high = min([0, *by_offset]), max([0, -extra, *by_offset])
    return [by_offset.get(i) for i in range(low, high + 1)], -low, high + extra


def _without_conv_transpose(model: onnx.ModelProto, form: Callable, least: int = 1) -> onnx.ModelProto:
    graph = Graph(model)
    for node in graph.nodes:
        weights = graph.constant(node.input[1]) if node.op_type == "ConvTranspose" else None
        if weights is None or not _is_plain(node) or weights.shape[1] < least:
            continue
        size, stride = weights.shape[2:], attribute(node, "strides", [1, 1])[0]
        pads = attribute(node, "pads", [0, 0, 0, 0])
        more = attribute(node, "output_padding", [0, 0])
        # The output's side is stride * input + surplus.
        surplus = [size[axis] - pads[axis] - pads[axis + 2] + more[axis] - stride for axis in (0, 1)]
        extra = [-(-each // stride) for each in surplus]
        taps = [[_taps(size[axis], stride, pads[axis], extra[axis], r) for r in range(stride)] for axis in (0, 1)]
        bias = graph.constant(node.input[2]) if len(node.input) > 2 else None
        activation = activation_behind(graph, node)
        nodes, last = form(graph, node.input[0], weights, bias, taps, activation)
        old = [node, *activation]
        crop = [extra[axis] * stride - surplus[axis] for axis in (0, 1)]
        nodes += _finish_phases(graph, last, stride, crop)
        nodes[-1].output[0] = old[-1].output[0]
        graph.replace(old, nodes)
    return graph.finish()


def activation_behind(graph: Graph, node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The activation behind a layer, which onnxruntime computes along with a Conv, or nothing."""
    user = graph.only_user(node.output[0])
    return [user] if user is not None and user.op_type in ELEMENTWISE else []


def _is_plain(node: onnx.NodeProto) -> bool:
    strides = attribute(node, "strides", [1, 1])
    return (
        attribute(node, "group", 1) == 1
        and attribute(node, "auto_pad", b"NOTSET") == b"NOTSET"
        and not attribute(node, "output_shape", [])
        and list(attribute(node, "dilations", [1, 1])) == [1, 1]
        and len(strides) == 2
        and strides[0] == strides[1]
    )


def _kernel(weights: NDArray, rows: list[int | None], columns: list[int | None]) -> NDArray:
    """Gathers taps of a ConvTranspose's weights [in, out, H, W] into those of a Conv [out, in, h, w]."""
    padded = np.pad(weights, [(0, 0), (0, 0), (0, 1), (0, 1)])  # index -1 is zero
    picked = padded[:, :, [-1 if k is None else k for k in rows]]
    return picked[:, :, :, [-1 if k is None else k for k in columns]].transpose(1, 0, 2, 3)


def _phases(
    graph: Graph, x: str, weights: NDArray, bias: NDArray | None, taps: list[list[_Taps]], activation: list
) -> tuple[list[onnx.NodeProto], str]:
    nodes: list[onnx.NodeProto] = []
    outputs = []
    for rows, top, bottom in taps[0]:
        for columns, left, right in taps[1]:
            pads = [top, left, bottom, right]
            nodes += conv(graph, x, _kernel(weights, rows, columns), bias, pads, activation)
            outputs.append(nodes[-1].output[0])
    if len(outputs) == 1:
        return nodes, outputs[0]
    joined = graph.fresh("phases")
    return [*nodes, helper.make_node("Concat", outputs, [joined], axis=1)], joined


def _padded(
    graph: Graph, x: str, weights: NDArray, bias: NDArray | None, taps: list[list[_Taps]], activation: list
) -> tuple[list[onnx.NodeProto], str]:
    common = []
    for axis in taps:
        low, high = max(begin for _, begin, _ in axis), max(end for _, _, end in axis)
        common.append(
            (
                [[None] * (low - begin) + each + [None] * (high - end) for each, begin, end in axis],
                low,
                high,
            )
        )
    (rows, top, bottom), (columns, left, right) = common
    kernel = np.concatenate([_kernel(weights, r, c) for r in rows for c in columns])
    repeated = None if bias is None else np.tile(bias, len(rows) * len(columns))
    nodes = conv(graph, x, kernel, repeated, [top, left, bottom, right], activation)
    return nodes, nodes[-1].output[0]


def conv(
    graph: Graph, x: str, kernel: NDArray, bias: NDArray | None, pads: list[int], activation: list
) -> list[onnx.NodeProto]:
    """Nodes of a Conv of stride 1 with that activation behind it; the output of the last one is new.

    Args:
      graph: what they are for; gets the constants.
      x: the input.
      kernel: [out, in, h, w].
      bias: [out], or None.
      pads: at top, left, bottom and right.
      activation: nodes like those of `activation_behind`.
    """
    inputs = [x, graph.add_constant(np.ascontiguousarray(kernel))]
    if bias is not None:
        inputs.append(graph.add_constant(bias))
    last = graph.fresh("convolved")
    nodes = [helper.make_node("Conv", inputs, [last], kernel_shape=list(kernel.shape[2:]), pads=pads, strides=[1, 1])]
    for each in activation:
        nodes.append(
            onnx.NodeProto(op_type=each.op_type, input=[last], output=[graph.fresh("active")], attribute=each.attribute)
        )
    return nodes


def _finish_phases(graph: Graph, last: str, stride: int, crop: list[int]) -> list[onnx.NodeProto]:
    """Puts phases, [N, s * s * C, h, w], side by side, and cuts off what is too much at bottom and right."""
    nodes = []
    if stride > 1:
        nodes.append(helper.make_node("DepthToSpace", [last], [graph.fresh("space")], blocksize=stride, mode="DCR"))
        last = nodes[-1].output[0]
    if any(crop):
        ends = np.array([-each or np.iinfo(np.int64).max for each in crop])
        bounds = [graph.add_constant(np.array(each)) for each in ([0, 0], ends, [2, 3])]
        nodes.append(helper.make_node("Slice", [last, *bounds], [graph.fresh("cropped")]))
    return nodes
