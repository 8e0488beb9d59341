"""A small view of an ONNX graph for rewriting it: who makes a value, who uses it, what is constant."""

import math
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

FEW_CHANNELS = 4  # of a layer whose output is a picture
_MOST_OF_A_SHAPE = 1024  # numbers in a constant that shapes may be inferred from
# Operators of one value each, which commute with moving values around.
ELEMENTWISE = ("Relu", "LeakyRelu", "Tanh", "Sigmoid")


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """Value of a node's attribute, or what it is if it is left out."""
    for each in node.attribute:
        if each.name == name:
            return helper.get_attribute_value(each)
    return default


def shapes_of(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Infers the shapes of inner values, by their names; 0 stands for a size that isn't known."""
    values = inferred(model).value_info
    return {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}


def inferred(model: onnx.ModelProto) -> onnx.GraphProto:
    """Infers shapes and kinds of inner values.

    Returns:
      The graph with them, and with inputs in place of its large constants: onnx writes and reads the whole model twice.
    """
    graph = model.graph
    inputs, kept = {value.name: value for value in graph.input}, []
    for tensor in graph.initializer:
        if math.prod(tensor.dims) <= _MOST_OF_A_SHAPE:
            kept.append(tensor)
        elif tensor.name not in inputs:
            inputs[tensor.name] = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
    light_graph = helper.make_graph(
        graph.node, graph.name, list(inputs.values()), graph.output, kept, value_info=graph.value_info
    )
    light_graph.sparse_initializer.extend(graph.sparse_initializer)
    light = helper.make_model(
        light_graph, opset_imports=model.opset_import, ir_version=model.ir_version, functions=model.functions
    )
    return onnx.shape_inference.infer_shapes(light).graph


class Graph:
    """An editable copy of a model.

    Attributes:
      model: the copy; `finish` returns it.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        """Copies a model."""
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self._count = 0

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        """The nodes as they stand, in topological order."""
        return list(self.model.graph.node)

    def constant(self, name: str) -> NDArray | None:
        """Value of an initialiser, or None if `name` is computed or an input."""
        for tensor in self.model.graph.initializer:
            if tensor.name == name:
                return numpy_helper.to_array(tensor)
        return None

    def add_constant(self, value: NDArray) -> str:
        """Adds an initialiser; returns its name."""
        name = self.fresh("constant")
        self.model.graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def fresh(self, stem: str) -> str:
        """A name that no value has yet."""
        taken = {name for node in self.nodes for name in (*node.input, *node.output)}
        taken |= {tensor.name for tensor in self.model.graph.initializer}
        while True:
            self._count += 1
            if f"{stem}_{self._count}" not in taken:
                return f"{stem}_{self._count}"

    def maker(self, name: str) -> onnx.NodeProto | None:
        """The node that computes a value."""
        return next((node for node in self.model.graph.node if name in node.output), None)

    def only_user(self, name: str) -> onnx.NodeProto | None:
        """The node that uses a value, if it is the only one and the value is not an output."""
        if any(output.name == name for output in self.model.graph.output):
            return None
        users = [node for node in self.model.graph.node for each in node.input if each == name]
        return users[0] if len(users) == 1 else None

    def replace(self, old: list[onnx.NodeProto], new: list[onnx.NodeProto]) -> None:
        """Puts `new` where the last of `old` stood, and removes `old`."""
        nodes, place = self.nodes, max(self._index(node) for node in old)
        gone = {self._index(node) for node in old}
        kept_before = [node for i, node in enumerate(nodes[:place]) if i not in gone]
        del self.model.graph.node[:]
        self.model.graph.node.extend([*kept_before, *new, *nodes[place + 1 :]])

    def rename(self, old: str, new: str) -> None:
        """Gives a value another name, where it is made and where it is used."""
        for node in self.model.graph.node:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]

    def finish(self) -> onnx.ModelProto:
        """Removes what nothing uses, and returns the model."""
        graph = self.model.graph
        needed = {output.name for output in graph.output}
        kept = []
        for node in reversed(self.nodes):
            if needed & set(node.output):
                kept.append(node)
                needed |= {*filter(None, node.input)}  # "" is an input that is left out
        del graph.node[:]
        graph.node.extend(reversed(kept))
        constants = [tensor for tensor in graph.initializer if tensor.name in needed]
        del graph.initializer[:]
        graph.initializer.extend(constants)
        return self.model

    def _index(self, node: onnx.NodeProto) -> int:
        # Every node has an output, and no two nodes share one.
        return next(i for i, each in enumerate(self.model.graph.node) if each.output[0] == node.output[0])
