"""Exact rewrites of an ONNX graph, for CPUs.

tf2onnx leaves batch norm as a multiplication and an addition behind each layer, and onnxruntime's transposed
convolution works image by image, without int8. Each function here returns a new model that computes the same
function, up to float rounding.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from export.graph import Graph

# Of layers with weights: the axis of the weights, and of the output, along which output channels lie.
_OUTPUT_AXIS = {"MatMul": (1, 1), "Conv": (0, 1), "ConvTranspose": (1, 1)}
_ELEMENTWISE = ("Relu", "LeakyRelu", "Tanh", "Sigmoid", "Clip")


def fold_affine(model: onnx.ModelProto) -> onnx.ModelProto:
    """Folds multiplications and additions of constants, one per channel, into the layers beside them.

    Behind a MatMul, Conv or ConvTranspose they go into its weights and bias; before a MatMul too: (x s + t) W =
    x (s W) + t W. A MatMul keeps an addition, which onnxruntime computes along with it.
    """
    graph = Graph(model)
    while _fold_behind(graph) or _fold_before(graph):
        pass
    return graph.finish()


def _fold_behind(graph: Graph) -> bool:
    for node in graph.nodes:
        if node.op_type not in _OUTPUT_AXIS or _attribute(node, "group", 1) != 1:
            continue
        weights = graph.constant(node.input[1])
        if weights is None:
            continue
        axis = _OUTPUT_AXIS[node.op_type][0]
        bias, chain = _bias_of(graph, node, weights.shape[axis])
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


def _bias_of(graph: Graph, node: onnx.NodeProto, count: int) -> tuple[NDArray | None, list[onnx.NodeProto]]:
    """Returns (the layer's bias or None, its node and the addition that is its bias)."""
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
        if data is None:
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


def one_padded_kernel(model: onnx.ModelProto) -> onnx.ModelProto:
    """Turns each ConvTranspose of stride s into one Conv to s * s * C channels and DepthToSpace.

    Its kernel covers what any output phase needs, so that it is padded with zeros where one needs less. A stride of
    1 becomes a Conv with the kernel turned round.
    """
    return _without_conv_transpose(model, _padded)


def one_kernel_per_phase(model: onnx.ModelProto) -> onnx.ModelProto:
    """As `one_padded_kernel`, but with a small Conv for each of the s * s output phases, which multiplies no zeros."""
    return _without_conv_transpose(model, _phases)


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


def _without_conv_transpose(model: onnx.ModelProto, form: Callable) -> onnx.ModelProto:
    graph = Graph(model)
    for node in graph.nodes:
        weights = graph.constant(node.input[1]) if node.op_type == "ConvTranspose" else None
        if weights is None or not _is_plain(node):
            continue
        size, stride = weights.shape[2:], _attribute(node, "strides", [1, 1])[0]
        pads = _attribute(node, "pads", [0, 0, 0, 0])
        more = _attribute(node, "output_padding", [0, 0])
        # The output's side is stride * input + surplus.
        surplus = [size[axis] - pads[axis] - pads[axis + 2] + more[axis] - stride for axis in (0, 1)]
        extra = [-(-each // stride) for each in surplus]
        taps = [[_taps(size[axis], stride, pads[axis], extra[axis], r) for r in range(stride)] for axis in (0, 1)]
        bias = graph.constant(node.input[2]) if len(node.input) > 2 else None
        activation = graph.only_user(node.output[0])
        old = [node]
        if activation is not None and activation.op_type in ("Relu", "LeakyRelu"):
            old.append(activation)  # commutes with moving pixels, and is computed along with a Conv
        nodes, last = form(graph, node.input[0], weights, bias, taps, old[1:])
        crop = [extra[axis] * stride - surplus[axis] for axis in (0, 1)]
        nodes += _finish_phases(graph, last, stride, crop)
        nodes[-1].output[0] = old[-1].output[0]
        graph.replace(old, nodes)
    return graph.finish()


def _is_plain(node: onnx.NodeProto) -> bool:
    strides = _attribute(node, "strides", [1, 1])
    return (
        _attribute(node, "group", 1) == 1
        and _attribute(node, "auto_pad", b"NOTSET") == b"NOTSET"
        and not _attribute(node, "output_shape", [])
        and list(_attribute(node, "dilations", [1, 1])) == [1, 1]
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
            nodes += _conv(graph, x, _kernel(weights, rows, columns), bias, pads, activation)
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
    nodes = _conv(graph, x, kernel, repeated, [top, left, bottom, right], activation)
    return nodes, nodes[-1].output[0]


def _conv(
    graph: Graph, x: str, kernel: NDArray, bias: NDArray | None, pads: list[int], activation: list
) -> list[onnx.NodeProto]:
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
    if node.op_type != "Transpose" or list(_attribute(node, "perm", [])) != [0, 3, 1, 2]:
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
        elif each.op_type not in ("Relu", "LeakyRelu"):
            return None, []
        name = each.input[0]


def canonical(model: onnx.ModelProto) -> onnx.ModelProto:
    """Names values by their place, so that equal graphs are equal bytes, and drops operator sets that nothing uses."""
    graph = Graph(model).finish().graph
    fixed = {value.name for value in [*graph.input, *graph.output]}
    names: dict[str, str] = {name: name for name in fixed}
    constants = {tensor.name for tensor in graph.initializer}
    for index, node in enumerate(graph.node):
        for position, name in enumerate(node.input):
            if name in constants and name not in names:
                names[name] = f"{node.op_type}_{index}_constant_{position}"
        for position, name in enumerate(node.output):
            names.setdefault(name, f"{node.op_type}_{index}" + (f"_{position}" if position else ""))
    for node in graph.node:
        node.input[:] = [names[name] if name else "" for name in node.input]
        node.output[:] = [names[name] for name in node.output]
        node.name = node.output[0]
        node.doc_string = ""
    for tensor in graph.initializer:
        tensor.name = names[tensor.name]
        tensor.doc_string = ""
    ordered = sorted(graph.initializer, key=lambda tensor: tensor.name)
    del graph.initializer[:]
    graph.initializer.extend(ordered)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    result.graph.CopyFrom(graph)
    del result.graph.value_info[:]
    used = {node.domain for node in graph.node}
    opsets = [each for each in model.opset_import if each.domain in used]
    del result.opset_import[:]
    result.opset_import.extend(opsets)
    return result


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    for attribute in node.attribute:
        if attribute.name == name:
            return helper.get_attribute_value(attribute)
    return default
