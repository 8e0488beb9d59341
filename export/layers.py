"""In which layers of a network operations stand, for errors that name them."""

import contextlib
import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from export.signatures import generator_function
from pipeline.base.errors import MirageError
from serving.contract.manifest import ModelInfo

# Which only the process that defined them can run; and which draw numbers, so that a latent has no picture of its own.
PYTHON = {"EagerPyFunc": "tf.py_function", "PyFunc": "tf.numpy_function", "PyFuncStateless": "tf.numpy_function"}
RANDOM = {"RandomStandardNormal", "RandomUniform", "RandomUniformInt", "TruncatedNormal", "Multinomial"}
RANDOM |= {"StatefulStandardNormalV2", "StatefulUniform", "StatefulUniformFullInt", "StatefulTruncatedNormal"}
_NAMED = 3  # layers that an error names


class Layers:
    """What TensorFlow calls the operations of each layer. The network is traced again for it."""

    def __init__(self, model: keras.Model, info: ModelInfo) -> None:
        """Traces a generator."""
        generate, signature = generator_function(model, info)
        with _watched(model) as scopes:
            graph = tf.function(generate, input_signature=signature).get_concrete_function().graph
        self._scopes: Mapping[str, str] = scopes
        self._graph = graph.as_graph_def()

    def of_node(self, name: str) -> str:
        """Says which layer holds a node, such as `'block/mine' (MyLayer)`."""
        parts = name.split("/")
        for end in range(len(parts), 0, -1):
            if layer := self._scopes.get("/".join(parts[:end])):
                return layer
        return f"that makes {name!r}"

    def with_operations(self, operations: Collection[str]) -> dict[str, list[str]]:
        """Returns those of these operations that each layer holds, in functions and loops too."""
        functions = {each.signature.name: each.node_def for each in self._graph.library.function}
        found: dict[str, list[str]] = {}
        for node in self._graph.node:
            for operation in sorted(operations_of([node], functions) & {*operations}):
                held = found.setdefault(self.of_node(node.name), [])
                held += [operation] if operation not in held else []
        return found


def operations_of(nodes: Iterable[Any], functions: Mapping[str, Iterable[Any]]) -> set[str]:
    """Names the operations of TensorFlow's nodes, and of the functions that they call.

    Args:
      nodes: `NodeDef`s.
      functions: the nodes of each function.
    """
    found, called, left = set[str](), set[str](), list(nodes)
    while left:
        node = left.pop()
        found.add(node.op)
        for value in node.attr.values():
            for name in [value.func.name, *(each.name for each in value.list.func)]:
                if name in functions and name not in called:
                    called.add(name)
                    left += functions[name]
    return found


def named(layers: Mapping[str, Iterable[str]]) -> str:
    """Names layers and what they hold, as `with_operations` returns them, in a part of a sentence."""
    parts = [f"{' and '.join(operations)} in the layer {layer}" for layer, operations in layers.items()]
    more = f" and {len(parts) - _NAMED} more" if len(parts) > _NAMED else ""
    return ", ".join(parts[:_NAMED]) + more


def calls_python(layers: Mapping[str, Iterable[str]]) -> MirageError:
    """Makes the error of a network that no other process could compute."""
    where = named({layer: [PYTHON.get(each, each) for each in held] for layer, held in layers.items()})
    return MirageError(
        f"the generator calls Python by {where}, which is in this process only, so that nothing exported could; write "
        "the layer with TensorFlow's operations or keras.ops."
    )


def is_random(layers: Mapping[str, Iterable[str]]) -> MirageError:
    """Makes the error of a network that draws numbers."""
    where = named(layers)
    return MirageError(
        f"the generator draws random numbers by {where}, so that a latent and its label have no picture of their own; "
        "make the noise from the latent instead."
    )


@contextlib.contextmanager
def _watched(model: keras.Model) -> Iterator[dict[str, str]]:
    """Notes in which name scope TensorFlow puts each layer while it is called."""
    scopes: dict[str, str] = {}
    path: list[str] = []

    def watching(layer: keras.Layer, call: Callable) -> Callable:
        @functools.wraps(call)
        def watched(*args: Any, **more: Any) -> Any:
            path.append(layer.name)
            # The network's own name says nothing.
            shown = "/".join(path[1:]) or layer.name
            scopes[tf.compat.v1.get_default_graph().get_name_scope()] = f"{shown!r} ({type(layer).__name__})"
            try:
                return call(*args, **more)
            finally:
                path.pop()

        return watched

    layers = {id(layer): layer for layer in model._flatten_layers()}.values()
    own = {id(layer) for layer in layers if "call" in vars(layer)}
    calls = {id(layer): layer.call for layer in layers}
    try:
        for layer in layers:
            object.__setattr__(layer, "call", watching(layer, calls[id(layer)]))
        yield scopes
    finally:
        for layer in layers:
            if id(layer) in own:
                object.__setattr__(layer, "call", calls[id(layer)])
            else:
                object.__delattr__(layer, "call")
