"""How much a graph computes."""

import math

import onnx

from export.rewrites.graph import Graph, inferred


def multiplications(model: onnx.ModelProto) -> int:
    """Counts multiplications with weights that one picture takes; of layers whose sizes aren't known, one each."""
    graph, known = Graph(model), inferred(model)
    shapes = {
        value.name: [dim.dim_value or 1 for dim in value.type.tensor_type.shape.dim]
        for value in [*known.value_info, *known.input, *known.output]
    }
    total = 0
    for node in graph.nodes:
        weights = graph.constant(node.input[1]) if len(node.input) > 1 else None
        if weights is None or node.op_type not in ("Conv", "ConvTranspose", "MatMul", "Gemm"):
            continue
        place = node.input[0] if node.op_type == "ConvTranspose" else node.output[0]
        moves = math.prod(shapes.get(place, [1, 1])[2:]) if "Conv" in node.op_type else 1
        total += weights.size * moves
    return total
