"""What an ONNX graph says of its inputs and outputs: how many classes a label has, in what a picture ends."""

import onnx
from onnx import helper, numpy_helper

from export.rewrites.graph import Graph, attribute
from pipeline.base.errors import MirageError

# Operators that leave each value as it is.
_MOVING = {"Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Transpose", "Expand", "Slice"}
# By which frameworks bring an index into its range.
_COUNTING = {"Add", "Clip", "Max", "Min", "Mul", "Sub", "Where"}
_ENDS = {"Tanh": (-1.0, 1.0), "Sigmoid": (0.0, 1.0)}


def classes_of(proto: onnx.ModelProto, name: str) -> int:
    """Finds how many classes an input of labels may have.

    Args:
      proto: a model.
      name: the input's name.

    Returns:
      Rows of the table, or depth of the one-hot code, that it selects from; 0 if it does neither.
    """
    graph = Graph(proto)
    left, seen = [name], set[str]()
    while left:
        value = left.pop()
        for node in graph.nodes:
            if value not in node.input or node.output[0] in seen:
                continue
            seen.add(node.output[0])
            if node.op_type == "Gather" and node.input[1] == value:
                table = graph.constant(node.input[0])
                if table is not None:
                    return int(table.shape[attribute(node, "axis", 0)])
            if node.op_type == "OneHot" and node.input[0] == value:
                depth = graph.constant(node.input[1])
                if depth is not None:
                    return int(depth.reshape(-1)[0])
            if node.op_type in _MOVING or node.op_type in _COUNTING:
                left.append(node.output[0])
    return 0


def range_of(proto: onnx.ModelProto, name: str) -> tuple[float, float] | None:
    """Finds the range that an output can't leave, since it ends in a tanh or a sigmoid; None if it doesn't."""
    return _ENDS.get(ends_in(proto, name))


def ends_in(proto: onnx.ModelProto, name: str) -> str:
    """Finds the last operator that computes something for an output; empty if there is none."""
    makers = {output: node for node in proto.graph.node for output in node.output}
    while name in makers:
        node = makers[name]
        if node.op_type not in _MOVING:
            return node.op_type
        name = node.input[0]
    return ""


def fixed_batch(proto: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """Frees a graph from a batch size that it was saved with.

    Args:
      proto: a model; it is changed.
      batch: the size.

    Returns:
      The model, whose inputs, outputs and reshapes take any batch.
    """
    graph = proto.graph
    shapes = {node.input[1] for node in graph.node if node.op_type == "Reshape"}
    for tensor in graph.initializer:
        if tensor.name in shapes:
            sizes = numpy_helper.to_array(tensor).copy()
            if sizes.ndim == 1 and len(sizes) and sizes[0] == batch and -1 not in sizes:
                sizes[0] = -1
                tensor.CopyFrom(numpy_helper.from_array(sizes, tensor.name))
    for value in [*graph.input, *graph.output]:
        dims = value.type.tensor_type.shape.dim
        if dims and dims[0].dim_value == batch:
            dims[0].dim_param = "N"
    del graph.value_info[:]
    return proto


def without_branches(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Puts in place of branches whose condition is known what they then compute.

    Args:
      proto: a model; it is changed.

    Raises:
      MirageError: if other branches or loops are left, which are refused where bundles are loaded.
    """
    graph = proto.graph
    left = list(graph.node)
    del graph.node[:]
    while left:
        node = left.pop(0)
        condition = _known(proto, node.input[0]) if node.op_type == "If" else None
        if condition is None:
            graph.node.append(node)
            continue
        branch = attribute(node, "then_branch" if condition else "else_branch", None)
        graph.initializer.extend(branch.initializer)
        ends = [
            helper.make_node("Identity", [end.name], [to]) for end, to in zip(branch.output, node.output, strict=True)
        ]
        left[:0] = [*branch.node, *ends]
    kinds = sorted({node.op_type for node in graph.node if any(each.HasField("g") for each in node.attribute)})
    if kinds:
        raise MirageError(
            f"the generator holds {', '.join(kinds)}, and loops and branches are refused where bundles are loaded; "
            "save it without, such as by unrolling them."
        )
    return proto


def _known(proto: onnx.ModelProto, name: str) -> bool | None:
    """Value of a condition that is always the same; None if it isn't."""
    graph = Graph(proto)
    turned = False
    while (value := graph.constant(name)) is None:
        node = graph.maker(name)
        if node is None or node.op_type not in _MOVING | {"Not", "Constant"}:
            return None
        if node.op_type == "Constant":
            return bool(numpy_helper.to_array(attribute(node, "value", None)).all()) != turned
        turned ^= node.op_type == "Not"
        name = node.input[0]
    return bool(value.all()) != turned
