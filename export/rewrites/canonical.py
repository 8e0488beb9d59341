"""Equal graphs are equal bytes."""

import onnx

from export.rewrites.graph import Graph


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
