"""Refuses a step that uses state which a run doesn't save: it would be lost, or differ between replicas."""

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.training.trainee import Trainee

# What draws from a generator that TensorFlow keeps to itself, as names of operations begin.
_DRAWS = (
    "Multinomial",
    "ParameterizedTruncatedNormal",
    "RandomGamma",
    "RandomPoisson",
    "RandomShuffle",
    "RandomStandardNormal",
    "RandomUniform",
    "TruncatedNormal",
)


def refuse_unknown(graph: tf.Graph, trainee: Trainee) -> None:
    """Looks at what a traced step uses.

    Args:
      graph: the step's.
      trainee: the state that a run saves.

    Raises:
      MirageError: if the step uses a variable that is no part of it, or random numbers that can't be drawn again.
    """
    known = {id(part) for variable in trainee.state().values() for part in _parts(variable)}
    for variable in graph.variables:
        if not known.issuperset(id(part) for part in _parts(variable)):
            raise MirageError(_unknown(variable, trainee.networks))
    definition = graph.as_graph_def()
    nodes = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
    for node in nodes:
        if node.op.startswith(_DRAWS):
            raise MirageError(
                f"the training step draws random numbers by {node.op} (in {node.name}), which can't be drawn again "
                "when a run goes on; use a layer of pipeline.networks, such as Dropout or GaussianNoise, or, in "
                "an objective, what its batch is given."
            )


def _parts(variable: Any) -> list[tf.Variable]:
    """A variable, or its copies on each replica."""
    return list(getattr(variable, "values", None) or [variable])


def _unknown(variable: tf.Variable, networks: Mapping[str, keras.Model]) -> str:
    name, shape = variable.name.partition(":")[0], tuple(variable.shape)
    what = f"the training step uses the variable {name} {shape}"
    if "seed_generator_state" in name:
        return (
            f"{what}, the state of a keras.random.SeedGenerator, whose numbers would be the same on every replica and "
            "others after a restart; use a layer of pipeline.networks, such as Dropout or GaussianNoise."
        )
    place = next(_places(variable, networks), None)
    if place is not None:
        return f"{what} ({place}), which the run wouldn't save; make it there with self.add_weight(...)."
    return (
        f"{what}, which is no weight of the networks and which the run wouldn't save; make it with "
        "self.add_weight(...) in the layer that uses it, or use a constant, and report with the loss what a "
        "keras.metrics object would count."
    )


def _places(variable: tf.Variable, networks: Mapping[str, keras.Model]) -> Iterator[str]:
    """Says in which attributes of which layers a variable is, also within plain lists, dictionaries and objects."""
    for network, model in networks.items():
        for layer in model._flatten_layers():
            for attribute, value in vars(layer).items():
                if not attribute.startswith("_") and _holds(value, variable):
                    yield f"{attribute} of layer {layer.name} of the {network}"


def _holds(value: Any, variable: tf.Variable, depth: int = 3) -> bool:
    if isinstance(value, (keras.Variable, tf.Variable)):
        inner = value.value if isinstance(value, keras.Variable) else value
        return any(part is variable for part in [inner, *_parts(inner)])
    if not depth or isinstance(value, (keras.layers.Layer, tf.Tensor, str, type)):
        return False
    if isinstance(value, Mapping):
        within = list(value.values())
    elif isinstance(value, (list, tuple, set)):
        within = list(value)
    else:
        within = list(getattr(value, "__dict__", {}).values())
    return any(_holds(each, variable, depth - 1) for each in within)
