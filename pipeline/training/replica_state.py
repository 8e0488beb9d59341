"""Refuses layers whose weights would become different ones on each replica."""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from pipeline.base.errors import MirageError

_ASSIGNMENTS = ("AssignAddVariableOp", "AssignSubVariableOp", "AssignVariableOp")
# Whose layers assign what all replicas share, as far as `pipeline.networks.adopt` lets them pass.
_TRUSTED = ("keras.", "pipeline.")


@contextlib.contextmanager
def assigned_alike(model: keras.Model) -> Iterator[None]:
    """Looks at what a network does to its weights while it is traced by one of several replicas.

    A variable that a replica assigns is a copy of its own: the copies would drift apart, and a checkpoint would keep
    the first. With an aggregation, TensorFlow gives all of them the same value.

    Raises:
      MirageError: if a layer of the user's assigns a weight that has none.
    """
    graph = tf.compat.v1.get_default_graph()
    if tf.distribute.get_replica_context().num_replicas_in_sync == 1:
        yield
        return
    before = len(graph.get_operations())
    yield
    assigned = {
        id(_captured(operation.inputs[0]))
        for operation in graph.get_operations()[before:]
        if operation.type in _ASSIGNMENTS
    }
    for layer in model._flatten_layers() if assigned else ():
        if type(layer).__module__.startswith(_TRUSTED):
            continue
        for variable in (*layer._trainable_variables, *layer._non_trainable_variables):
            copies = getattr(variable.value, "values", [variable.value])
            if variable.aggregation == "none" and any(id(copy.handle) in assigned for copy in copies):
                where = f"layer {layer.name} ({type(layer).__name__}) of the {model.name}"
                raise MirageError(
                    f"{where} assigns its weight {variable.name} in training, of which every replica would keep "
                    'another value; make it with self.add_weight(..., aggregation="mean"), or train on one replica.'
                )


def _captured(handle: tf.Tensor) -> tf.Tensor:
    """Returns what stands for a variable outside of all graphs, from what stands for it in one."""
    while hasattr(handle, "graph") and hasattr(handle.graph, "captures"):
        outer = next((outside for outside, inside in handle.graph.captures if inside is handle), None)
        if outer is None:
            break
        handle = outer
    return handle
