"""The last layers of somebody's networks: Mirage's images lie in [-1, 1], and its objectives want logits."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from pipeline.base.errors import MirageError

# Which change the form of their input, and no number in it.
_FORMS = (layers.Reshape, layers.Flatten, layers.Permute, layers.Cropping2D)


def images(model: keras.Model, inputs: Sequence[Any], output: Any, say: Any) -> Any:
    """Brings images into [-1, 1] where they lie in [0, 1].

    Args:
      model: the generator, which may not say what it consists of.
      inputs: its inputs.
      output: its images.
      say: told what was changed.

    Returns:
      Images in [-1, 1].
    """
    last = _last(model, output)
    name = _activation(last)
    if name == "sigmoid":
        say("note: the generator ends in a sigmoid; its images are brought from [0, 1] to [-1, 1], which are Mirage's.")
        return layers.Rescaling(2.0, -1.0, dtype="float32", name="to_mirages_range")(output)
    if last is None:
        if not any(_activation(each) == "tanh" for each in model._flatten_layers()):
            say("note: Mirage's images lie in [-1, 1], and whether the generator's do can't be seen; end it in tanh.")
    elif name not in ("tanh", "softsign"):
        say("note: nothing holds the generator's images in [-1, 1]; what lies beyond is cut off in pictures.")
    return output


def logits(model: keras.Model, inputs: Sequence[Any], output: Any, say: Any) -> Any:
    """Takes a final sigmoid off.

    Args:
      model: the discriminator.
      inputs: its inputs.
      output: what it says of each image, [N] or [N, J].
      say: told what was changed.

    Returns:
      Logits of the same shape.

    Raises:
      MirageError: if there is one that can't be taken off, or a softmax.
    """
    last = _last(model, output)
    if last is None:
        if any(_activation(each) == "sigmoid" and getattr(each, "units", 0) == 1 for each in model._flatten_layers()):
            raise MirageError(
                "the discriminator's last layer seems to be a sigmoid, and objectives take logits; leave out "
                'activation="sigmoid".'
            )
        return output
    if _activation(last) == "softmax":
        raise MirageError(
            "the discriminator ends in a softmax, which shares one between classes, and objectives take logits of "
            "images being real; end it in Dense(1)."
        )
    if _activation(last) != "sigmoid":
        return output
    if not hasattr(last, "activation"):
        raise MirageError("the discriminator ends in a sigmoid, and objectives take logits; leave it out.")
    last.activation = keras.activations.linear
    say("note: the discriminator's last sigmoid is taken off, because objectives take logits.")
    return output


def _last(model: keras.Model, output: Any) -> Any:
    """Finds the operation that computes an output's numbers; None if that can't be seen."""
    while True:
        operation, node, _ = output._keras_history
        if isinstance(operation, keras.Model):
            if not getattr(operation, "outputs", None):
                return None
            output = operation.outputs[0]
        elif isinstance(operation, _FORMS):
            output = operation._inbound_nodes[node].input_tensors[0]
        else:
            return operation


def _activation(operation: Any) -> str:
    """Name of the activation that an operation ends with, or is."""
    if operation is None:
        return ""
    activation = getattr(operation, "activation", None)
    if activation is not None:
        return getattr(activation, "__name__", "")
    return type(operation).__name__.lower()
