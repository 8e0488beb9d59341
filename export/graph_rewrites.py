"""Exact rewrites of an ONNX graph, for CPUs.

tf2onnx leaves batch norm as a multiplication and an addition behind each layer, and transpositions where TensorFlow
and ONNX order axes differently. Each function here returns a new model that computes the same function, up to float
rounding.
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from export.graph import ELEMENTWISE, Graph, attribute

# Of layers with weights: the axis along which output channels lie.
_OUTPUT_AXIS = {"MatMul": 1, "Conv": 0, "ConvTranspose": 1}


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
        if node.op_type not in _OUTPUT_AXIS or attribute(node, "group", 1) != 1:
            continue
        weights = graph.constant(node.input[1])
        if weights is None:
            continue
        axis = _OUTPUT_AXIS[node.op_type]
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


def labels_as_rows(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replaces a one-hot label, joined to the input of a MatMul, by the row of weights that it picks.

    [z, one_hot(label)] W + b = z W_z + (W_label + b)[label]: fewer operators, and no weights of other labels are read.
    """
    graph = Graph(model)
    for node in graph.nodes:
        weights = graph.constant(node.input[1]) if node.op_type == "MatMul" else None
        joined = graph.maker(node.input[0])
        if weights is None or joined is None or joined.op_type != "Concat" or len(joined.input) != 2:
            continue
        label, classes = _one_hot(graph, joined.input[1])
        if not label or attribute(joined, "axis", 0) not in (1, -1) or graph.only_user(joined.output[0]) is None:
            continue
        bias, chain = _bias_of(graph, node, weights.shape[1])
        table = weights[-classes:] + (np.float32(0) if bias is None else bias)
        product, row = graph.fresh("product"), graph.fresh("row")
        nodes = [
            helper.make_node("MatMul", [joined.input[0], graph.add_constant(weights[:-classes])], [product]),
            helper.make_node("Gather", [graph.add_constant(table), label], [row], axis=0),
            helper.make_node("Add", [product, row], [chain[-1].output[0]]),
        ]
        graph.replace([joined, *chain], nodes)
    return graph.finish()


def _one_hot(graph: Graph, name: str) -> tuple[str, int]:
    """Returns (the label that a value is one-hot of, number of classes), or ("", 0)."""
    node = graph.maker(name)
    if node is None or node.op_type != "OneHot" or attribute(node, "axis", -1) != -1:
        return "", 0
    depth, values = graph.constant(node.input[1]), graph.constant(node.input[2])
    if depth is None or values is None or values.tolist() != [0, 1]:
        return "", 0
    label = node.input[0]
    while (before := graph.maker(label)) is not None and before.op_type == "Cast":
        label = before.input[0]
    return label, int(depth.item())


def scalar_depths(model: onnx.ModelProto) -> onnx.ModelProto:
    """Makes the depths of one-hot values scalars; with one axis, ONNX's reference implementation refuses them."""
    graph = Graph(model)
    for node in graph.nodes:
        depth = graph.constant(node.input[1]) if node.op_type == "OneHot" else None
        if depth is not None:
            changed = onnx.NodeProto()
            changed.CopyFrom(node)
            changed.input[1] = graph.add_constant(depth.reshape(()))
            graph.replace([node], [changed])
    return graph.finish()


def guarded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Refuses what other formats refuse: empty batches, and negative labels.

    In ONNX, unlike TensorFlow, -1 would be the last class, since it counts from the end of the table that is looked up;
    so it is moved beyond the end.
    """
    graph = Graph(model)
    z, negative, place = (graph.fresh(stem) for stem in ("z", "negative", "place"))
    # Of nothing, the -1 can't be inferred.
    as_it_is = graph.add_constant(np.array([0, -1]))
    zero, beyond = graph.add_constant(np.array(0)), graph.add_constant(np.array(2**31 - 1))
    checks = [
        helper.make_node("Reshape", ["z", as_it_is], [z]),
        helper.make_node("Less", ["label", zero], [negative]),
        helper.make_node("Where", [negative, beyond, "label"], [place]),
    ]
    for node in graph.nodes:
        checked = {"z": z, "label": place} if node.op_type == "Gather" else {"z": z}
        if checked.keys() & set(node.input):
            changed = onnx.NodeProto()
            changed.CopyFrom(node)
            changed.input[:] = [checked.get(name, name) for name in node.input]
            graph.replace([node], [*checks, changed])
            checks = []
    return graph.finish()


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
