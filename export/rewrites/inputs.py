"""Latents and labels: how they enter a graph, and which of them are refused."""

import numpy as np
import onnx
from onnx import helper

from export.rewrites.affine import bias_of
from export.rewrites.graph import Graph, attribute, shapes_of

_RECASTING = ("Cast", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")


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
        bias, chain = bias_of(graph, node, weights.shape[1])
        table = weights[-classes:] + (np.float32(0) if bias is None else bias)
        product, row = graph.fresh("product"), graph.fresh("row")
        nodes = [
            helper.make_node("MatMul", [joined.input[0], graph.add_constant(weights[:-classes])], [product]),
            helper.make_node("Gather", [graph.add_constant(table), label], [row], axis=0),
            helper.make_node("Add", [product, row], [chain[-1].output[0]]),
        ]
        graph.replace([joined, *chain], nodes)
    return graph.finish()


def direct_labels(model: onnx.ModelProto) -> onnx.ModelProto:
    """Looks labels up as they are, without what only moves or recasts them before.

    A table so looked up refuses labels that are no classes, so that a product with ones that does the same goes.
    """
    graph, shapes = Graph(model), shapes_of(model)
    for node in graph.nodes:
        table = graph.constant(node.input[0]) if node.op_type == "Gather" else None
        moved = 0
        label = node.input[1] if table is not None and table.ndim == 2 and attribute(node, "axis", 0) == 0 else ""
        while label != "label" and (before := graph.maker(label)) is not None and before.op_type in _RECASTING:
            label, moved = before.input[0], moved + 1
        shape = shapes.get(node.output[0], [])
        if label != "label" or not moved or table is None or any(size != 1 for size in shape[1:-1]) or not shape:
            continue
        row = graph.fresh("row")
        target = graph.add_constant(np.array([-1, *shape[1:]]))
        nodes = [
            helper.make_node("Gather", [node.input[0], "label"], [row]),
            helper.make_node("Reshape", [row, target], list(node.output)),
        ]
        graph.replace([node], nodes)
    _drop_ones(graph)
    return graph.finish()


def _drop_ones(graph: Graph) -> None:
    """Drops products with ones looked up by label, where another table refuses the same labels."""
    rows = {}
    for node in graph.nodes:
        table = graph.constant(node.input[0]) if node.op_type == "Gather" else None
        if table is not None and node.input[1] == "label" and attribute(node, "axis", 0) == 0:
            rows[node.output[0]] = table
    for name, ones in rows.items():
        product = graph.only_user(name)
        if not np.all(ones == 1) or not any(len(each) <= len(ones) for other, each in rows.items() if other != name):
            continue
        if product is None or product.op_type != "Mul":
            continue
        value, result = next(each for each in product.input if each != name), product.output[0]
        if graph.only_user(value) is not None:
            graph.replace([product], [])
            graph.rename(value, result)


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
    source = graph.model.graph.input[0]
    z, negative, place = (graph.fresh(stem) for stem in (source.name, "negative", "place"))
    # Of nothing, the -1 can't be inferred.
    rest = [dim.dim_value for dim in source.type.tensor_type.shape.dim[2:]]
    as_it_is = graph.add_constant(np.array([0, -1, *rest]))
    zero, beyond = graph.add_constant(np.array(0)), graph.add_constant(np.array(2**31 - 1))
    checks = [
        helper.make_node("Reshape", [source.name, as_it_is], [z]),
        helper.make_node("Less", ["label", zero], [negative]),
        helper.make_node("Where", [negative, beyond, "label"], [place]),
    ]
    for node in graph.nodes:
        checked = {source.name: z, **({"label": place} if node.op_type == "Gather" else {})}
        if checked.keys() & set(node.input):
            changed = onnx.NodeProto()
            changed.CopyFrom(node)
            changed.input[:] = [checked.get(name, name) for name in node.input]
            graph.replace([node], [*checks, changed])
            checks = []
    return graph.finish()
