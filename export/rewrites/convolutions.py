"""Exact rewrites between convolutions, transposed convolutions and matrix products.

A transposed convolution gathers what a matrix product makes of each input pixel; so onnxruntime computes it, without
laying out every pixel's neighbours as for a convolution.
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from export.rewrites.graph import FEW_CHANNELS, Graph, attribute, shapes_of

_MANY_CHANNELS = 16
_BLOCK = 4


def enlarged_convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Makes a transposed convolution of each Conv of a picture enlarged by whole factors.

    Every pixel enlarged by s has s * s equal neighbours, whose weights can be added: out[o] = sum over k of W[k] up[o +
    k - p], up[j] = x[floor(j / s)], is sum over i of x[i] V[o + K - 1 - p - s i] where V[t] sums W[u + K - 1 - t] over
    u = 0 .. s - 1. A kernel of one pixel goes before the enlargement instead.
    """
    graph = Graph(model)
    for node in graph.nodes:
        weights = graph.constant(node.input[1]) if node.op_type == "Conv" else None
        resize = graph.maker(node.input[0])
        if weights is None or resize is None or not is_plain(node, weights):
            continue
        scales = _nearest(graph, resize)
        if scales is None:
            continue
        size, pads = weights.shape[2:], attribute(node, "pads", [0, 0, 0, 0])
        rest = list(node.input[2:])
        if size == (1, 1) and not any(pads):
            before, made = onnx.NodeProto(), graph.fresh("convolved")
            before.CopyFrom(node)
            before.input[0], before.output[0] = resize.input[0], made
            after = helper.make_node("Resize", [made, *resize.input[1:]], [node.output[0]])
            after.attribute.extend(resize.attribute)
            graph.replace([node], [before, after])
            continue
        more = [size[axis % 2] - 1 - pads[axis] for axis in range(4)]
        if scales[0] != scales[1] or min(more) < 0:
            continue
        kernel = graph.add_constant(_summed(weights, scales[0]))
        transposed = helper.make_node(
            "ConvTranspose", [resize.input[0], kernel, *rest], [node.output[0]], strides=scales, pads=more
        )
        graph.replace([node], [transposed])
    return graph.finish()


def _nearest(graph: Graph, node: onnx.NodeProto) -> list[int] | None:
    """Whole factors by which a Resize repeats rows and columns; None if it does anything else."""
    if node.op_type != "Resize" or attribute(node, "mode", b"nearest") != b"nearest":
        return None
    if attribute(node, "coordinate_transformation_mode", b"half_pixel") != b"asymmetric":
        return None
    scales = graph.constant(node.input[2]) if len(node.input) == 3 else None
    if scales is None or len(scales) != 4 or attribute(node, "axes", []):
        return None
    if attribute(node, "nearest_mode", b"round_prefer_floor") != b"floor" or np.any(scales != np.round(scales)):
        return None
    return [int(each) for each in scales[2:]] if list(scales[:2]) == [1, 1] and scales.min() >= 1 else None


def _summed(weights: NDArray, scale: int) -> NDArray:
    """V of `enlarged_convolutions`, [in, out, H, W], of a Conv's W, [out, in, h, w]."""
    height, width = weights.shape[2:]
    flipped = weights[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)  # so that V[t] sums flipped[t - u]
    result = np.zeros((*flipped.shape[:2], height + scale - 1, width + scale - 1), np.float64)
    for row in range(scale):
        for column in range(scale):
            result[:, :, row : row + height, column : column + width] += flipped
    return np.ascontiguousarray(result.astype(weights.dtype))


def thin_convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Makes a transposed convolution of each Conv of few output channels, as the last one often is.

    onnxruntime's Conv computes no less than 16 output channels, or lays out all neighbours.
    """
    graph = Graph(model)
    for node in graph.nodes:
        weights = graph.constant(node.input[1]) if node.op_type == "Conv" else None
        if weights is None or not is_plain(node, weights) or weights.shape[0] > FEW_CHANNELS:
            continue
        size, pads = weights.shape[2:], attribute(node, "pads", [0, 0, 0, 0])
        more = [size[axis % 2] - 1 - pads[axis] for axis in range(4)]
        if min(more) < 0:
            continue
        kernel = graph.add_constant(_summed(weights, 1))
        inputs = [node.input[0], kernel, *node.input[2:]]
        graph.replace([node], [helper.make_node("ConvTranspose", inputs, list(node.output), pads=more)])
    return graph.finish()


def is_plain(node: onnx.NodeProto, weights: NDArray) -> bool:
    """Whether a Conv is of two axes, dense, of stride 1, and says how it pads."""
    return (
        weights.ndim == 4
        and attribute(node, "group", 1) == 1
        and attribute(node, "auto_pad", b"NOTSET") == b"NOTSET"
        and list(attribute(node, "dilations", [1, 1])) == [1, 1]
        and list(attribute(node, "strides", [1, 1])) == [1, 1]
    )


def dense_of_pixels(model: onnx.ModelProto) -> onnx.ModelProto:
    """Makes a matrix product of each transposed convolution of a single pixel, which takes a batch in one go."""
    graph = Graph(model)
    shapes = shapes_of(model)
    for node in graph.nodes:
        weights = graph.constant(node.input[1]) if node.op_type == "ConvTranspose" else None
        if weights is None or shapes.get(node.input[0], [])[2:] != [1, 1] or attribute(node, "group", 1) != 1:
            continue
        pads, more = attribute(node, "pads", [0, 0, 0, 0]), attribute(node, "output_padding", [0, 0])
        if any(more) or attribute(node, "auto_pad", b"NOTSET") != b"NOTSET" or attribute(node, "output_shape", []):
            continue
        if list(attribute(node, "dilations", [1, 1])) != [1, 1]:
            continue
        height, width = weights.shape[2:]
        kept = weights[:, :, pads[0] : height - pads[2], pads[1] : width - pads[3]]
        bias = graph.constant(node.input[2]) if len(node.input) > 2 else None
        if len(node.input) > 2 and bias is None:
            continue
        flat, product = graph.fresh("flat"), graph.fresh("product")
        rows = graph.add_constant(np.array([-1, len(weights)]))
        nodes = [
            helper.make_node("Reshape", [node.input[0], rows], [flat]),
            helper.make_node("MatMul", [flat, graph.add_constant(kept.reshape(len(weights), -1))], [product]),
        ]
        if bias is not None:
            repeated = graph.add_constant(np.repeat(bias, kept.shape[2] * kept.shape[3]))
            nodes.append(helper.make_node("Add", [product, repeated], [graph.fresh("sum")]))
        target = graph.add_constant(np.array([-1, *kept.shape[1:]]))
        nodes.append(helper.make_node("Reshape", [nodes[-1].output[0], target], list(node.output)))
        graph.replace([node], nodes)
    return graph.finish()


def channels_in_fours(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fills up the input channels of convolutions with zeros to a multiple of four.

    For others onnxruntime lays out all neighbours, instead of computing in blocks of channels.
    """
    graph = Graph(model)
    filled: dict[str, str] = {}
    for node in graph.nodes:
        weights = graph.constant(node.input[1]) if node.op_type == "Conv" else None
        if weights is None or weights.ndim != 4 or attribute(node, "group", 1) != 1:
            continue
        more, source, nodes = -weights.shape[1] % _BLOCK, node.input[0], []
        if not more or weights.shape[1] < _MANY_CHANNELS:
            continue
        if source not in filled:
            filled[source] = graph.fresh("filled")
            pads = graph.add_constant(np.array([0, 0, 0, 0, 0, more, 0, 0]))
            nodes = [helper.make_node("Pad", [source, pads], [filled[source]])]
        wider = onnx.NodeProto()
        wider.CopyFrom(node)
        wider.input[0] = filled[source]
        wider.input[1] = graph.add_constant(np.pad(weights, [(0, 0), (0, more), (0, 0), (0, 0)]))
        graph.replace([node], [*nodes, wider])
    return graph.finish()
