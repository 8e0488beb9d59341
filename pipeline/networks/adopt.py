"""Makes a user's network exact: the same over any number of replicas, and when a run goes on.

A layer of Keras that keeps statistics of one replica, or draws from a generator of its own, becomes Mirage's of the
same name, where that computes the same; what can't be made exact is refused.
"""

import collections
from collections.abc import Iterator

import keras
from keras import layers

from pipeline.base.errors import MirageError
from pipeline.networks.batch_norm import BatchNormalization
from pipeline.networks.random_layers import OURS, forget_generator

_OURS = {**OURS, layers.BatchNormalization: BatchNormalization}
_CELLS = "ConvLSTMCell", "GRUCell", "LSTMCell", "SimpleRNNCell"
_DRAW = "draw with layers of pipeline.networks, such as Dropout and GaussianNoise"


def adopt(model: keras.Model, name: str = "") -> list[str]:
    """Changes a network's layers in place; weights, names and configuration stay as they are.

    Layers are found wherever Keras finds them: in models within models, wrappers and attributes of custom layers. Call
    it each time that the network has been built, also from a stored configuration.

    Args:
      model: the network, of any kind.
      name: how sentences call it; by default as the model is called.

    Returns:
      Sentences for the user that say what was changed; none if nothing was.

    Raises:
      MirageError: if a layer can't be made exact, in which case nothing was changed.
    """
    found = list(_layers(model))
    for layer in found:
        problem = _problem(layer)
        if problem is not None:
            kind = type(layer).__name__
            raise MirageError(f"layer {layer.name} ({kind}) of the {name or model.name} {problem}.")
    changed: collections.Counter[str] = collections.Counter()
    for layer in found:
        if _is_unused(layer):
            forget_generator(layer)
        if type(layer) in _OURS:
            changed[type(layer).__name__] += 1
            forget_generator(layer)
            layer.__class__ = _OURS[type(layer)]
    return [_sentence(name or model.name, kind, count) for kind, count in sorted(changed.items())]


def _layers(layer: layers.Layer) -> Iterator[layers.Layer]:
    """Yields a layer and all within it, each once."""
    yield from {id(each): each for each in layer._flatten_layers()}.values()


def _sentence(network: str, kind: str, count: int) -> str:
    many = count > 1
    what = (
        f"{'share' if many else 'shares'} {'their' if many else 'its'} statistics over all replicas"
        if kind == "BatchNormalization"
        else f"{'draw' if many else 'draws'} {'their' if many else 'its'} numbers from the run's seed and step"
    )
    return f"{count} {kind} layer{'s' if many else ''} of the {network} {what}"


def _problem(layer: layers.Layer) -> str | None:
    """Says why a layer can't be exact and what to do, or None if it can."""
    for find in (_of_batch_norm, _of_random_numbers, _of_state, _of_what_is_ignored):
        problem = find(layer)
        if problem is not None:
            return problem
    return None


def _of_batch_norm(layer: layers.Layer) -> str | None:
    if not isinstance(layer, layers.BatchNormalization) or isinstance(layer, BatchNormalization):
        return None
    if type(layer) is not layers.BatchNormalization:
        return (
            "inherits from keras.layers.BatchNormalization, whose statistics are those of one replica; inherit from "
            "pipeline.networks.BatchNormalization"
        )
    if layer.renorm:
        return "renormalises by statistics of one replica; leave out renorm=True"
    last = layer.axis == -1 or (layer.built and layer.axis == layer.input_spec.ndim - 1)
    return None if last else f"normalises along axis {layer.axis}; set axis=-1, with channels last"


def _of_random_numbers(layer: layers.Layer) -> str | None:
    if type(layer) in OURS or type(layer) in OURS.values():
        noise_shape = getattr(layer, "noise_shape", None)
        if noise_shape and noise_shape[0] not in (None, 1):
            return f"has noise_shape={noise_shape}, which fixes the size of the batch; give None in its place"
        if isinstance(layer, layers.GaussianDropout) and layer.rate == 1:
            return "has rate=1, whose noise is infinite; set a lower rate"
        return None
    if not layer._seed_generators or _is_unused(layer):
        return None
    remedy = _DRAW
    if type(layer).__module__.startswith("keras."):
        if "preprocessing" in type(layer).__module__:
            remedy = "leave it out and augment by --flip, --random_crop or --augment, which the step knows"
        elif hasattr(layer, "dropout"):
            remedy = "set its dropout to 0, and put a Dropout layer before or behind it"
    return f"draws random numbers that differ after a restart and repeat on every replica; {remedy}"


def _is_unused(layer: layers.Layer) -> bool:
    """Whether a layer has a generator and never draws from it, as recurrent cells without dropout."""
    kind = type(layer)
    return (
        kind.__module__.startswith("keras.") and kind.__name__ in _CELLS and not layer.dropout + layer.recurrent_dropout
    )


def _of_state(layer: layers.Layer) -> str | None:
    if getattr(layer, "stateful", False):
        return "carries its state from batch to batch; set stateful=False"
    if layer._metrics:
        return "holds a metric, which counts on each replica by itself; leave it out, and let the objective report it"
    if isinstance(layer, layers.Normalization) and layer.input_mean is None:
        return "has been adapted to data, which its configuration doesn't tell; give it mean= and variance="
    return None


def _of_what_is_ignored(layer: layers.Layer) -> str | None:
    """Regularisers and constraints are what `fit` and Keras's optimisers heed."""
    own = layer._trainable_variables
    if layer.activity_regularizer is not None or any(each.regularizer is not None for each in own):
        return "has a regulariser, which the training step doesn't add to the loss; leave it out, or write an objective"
    if any(each.constraint is not None for each in own):
        return "has a constraint, which the training step doesn't enforce; leave it out"
    return None
