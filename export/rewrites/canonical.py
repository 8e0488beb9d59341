"""Equal graphs are equal bytes."""

import onnx

from export.rewrites.graph import Graph


def canonical(model: onnx.ModelProto) -> onnx.ModelProto:
    """Orders nodes and names values by their place, so that equal graphs are equal bytes; drops unused operator sets.

    How nodes follow each other that don't depend on each other is how Python orders tf2onnx's sets, in each process
    otherwise.
    """
    graph = Graph(model).finish().graph
    _order_nodes(graph)
    fixed = {value.name for value in [*graph.input, *graph.output]}
    names: dict[str, str] = {name: name for name in (*fixed, "")}  # "": an input or output that is left out
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
        node.name = next(filter(None, node.output))
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


def _order_nodes(graph: onnx.GraphProto) -> None:
    """Puts each node behind those that make its inputs, first to last, from the outputs on."""
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    order = dict[int, None]()
    left = [makers[output.name] for output in reversed(graph.output) if output.name in makers]
    while left:
        before = [makers[name] for name in graph.node[left[-1]].input if name in makers]
        missing = [index for index in reversed(before) if index not in order]
        if missing:
            left += missing
        else:
            order[left.pop()] = None
    nodes = [graph.node[index] for index in order]
    del graph.node[:]
    graph.node.extend(nodes)
