"""What others need of a network: to call it, to name its weights, to hold some still, to know what it consists of."""

from collections.abc import Callable, Iterable
from typing import Any

import keras
import tensorflow as tf
from keras.src.models.functional import Functional

from pipeline.base.errors import MirageError


def function_of(model: keras.Model, *, training: bool) -> Callable[..., Any]:
    """Makes a function of a network, the same for those with labels or noise and those without.

    Args:
      model: made by `pipeline.networks.build`.
      training: whether it shall do as in training, such as normalise by the batch's own statistics.

    Returns:
      A function of `z` float32 [N, latent_dim] or images [N, H, W, C], and of labels int32 [N] or, if the model takes
      it, noise float32 [N, M], which are ignored by a model that takes neither. It returns float32: a tensor, or
      tensors by name.
    """
    takes_more = len(model.inputs) > 1

    def call(x: tf.Tensor, labels_or_noise: tf.Tensor | None = None) -> Any:
        outputs = model([x, labels_or_noise] if takes_more else x, training=training)
        return tf.nest.map_structure(lambda each: tf.cast(each, tf.float32), outputs)

    return call


def parts_of(model: keras.Model) -> dict[str, keras.Model]:
    """Finds the models within a network, such as the `mapping` and `synthesis` of a generator, by their names."""
    layers = model._flatten_layers(include_self=False)
    return {layer.name: layer for layer in layers if isinstance(layer, keras.Model)}


def noise_size(model: keras.Model) -> int:
    """Number of random numbers that a model takes with each image; 0 if it takes none."""
    sizes = [each.shape[-1] for each in model.inputs if each.name == "noise"]
    return sizes[0] if sizes else 0


def named_weights(name: str, network: keras.Model) -> dict[str, tf.Variable]:
    """Names a network's variables by their position in it, such as `generator.003.kernel`."""
    return {f"{name}.{i:03}.{v.name}": v.value for i, v in enumerate(network.variables)}


def has_convolutions(models: Iterable[keras.Model]) -> bool:
    """Whether any of the models has kernels of more than two dimensions."""
    return any(len(variable.shape) > 2 for model in models for variable in model.variables)


def _passed_by_images(model: keras.Model) -> list[keras.Layer]:
    """Layers that see the model's first input, or what others make of it, in their order; of models within it, theirs.

    What isn't put together of layers in the open, as a subclass with a `call` of its own, has those that it lists.
    """
    if not isinstance(model, Functional):
        return list(model.layers)
    seen = {id(model.inputs[0])}
    found: list[keras.Layer] = []
    for layer in model.layers:
        nodes = [node for node in layer._inbound_nodes if seen & {id(each) for each in node.input_tensors}]
        if nodes:
            seen |= {id(each) for node in nodes for each in node.output_tensors}
            found += _passed_by_images(layer) if isinstance(layer, keras.Model) else [layer]
    return found


def freeze(discriminator: keras.Model, count: int) -> None:
    """Holds D's first layers still, those of the highest resolution (Mo et al. 2020, arXiv 2002.10964).

    Args:
      discriminator: whose layers are counted in the order in which images pass through them; what only labels pass
        through, which may be others', is not counted.
      count: of its layers that have weights, how many.

    Raises:
      MirageError: if nothing would be left to train.
    """
    layers = [layer for layer in _passed_by_images(discriminator) if layer.trainable_variables]
    if count >= len(layers):
        raise MirageError(
            f"--freeze_d={count} would hold all of the discriminator still, which has {len(layers)} layers with "
            f"weights; choose at most {len(layers) - 1}."
        )
    for layer in layers[:count]:
        layer.trainable = False
