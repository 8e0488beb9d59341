"""Layers that draw random numbers in training: Keras's own, but of numbers that the training step gives them.

Keras's layers draw from a generator that counts calls: every replica draws the same numbers, and a run that goes on
begins again. These ask `numbers_from`'s source, which knows the run's seed, the step and which samples are being
computed. They keep nothing, and outside of training they are the identity.
"""

import contextlib
import contextvars
import math
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import keras
import tensorflow as tf
from keras import layers

from pipeline.base.errors import MirageError


class Numbers(Protocol):
    """Where layers' random numbers come from."""

    def uniform(self, layer: str, rows: int | None, numbers: int, *, shared: bool = False) -> tf.Tensor:
        """Draws for one call of a layer.

        Args:
          layer: its name, for errors.
          rows: samples that the layer was given; None if that isn't known before it runs.
          numbers: how many for each sample.
          shared: whether all samples are given the same ones.

        Returns:
          Uniform in [0, 1), float32 [rows, numbers], or [1, numbers] if they are shared.

        Raises:
          MirageError: if it can't be told which sample is which.
        """

    def normal(self, layer: str, rows: int | None, numbers: int, *, shared: bool = False) -> tf.Tensor:
        """As `uniform`, but standard normal."""


_SOURCE: contextvars.ContextVar[Numbers | None] = contextvars.ContextVar("numbers", default=None)


@contextlib.contextmanager
def numbers_from(source: Numbers) -> Iterator[None]:
    """Gives the layers that are called meanwhile, in this thread, their random numbers."""
    token = _SOURCE.set(source)
    try:
        yield
    finally:
        _SOURCE.reset(token)


def forget_generator(layer: layers.Layer) -> None:
    """Takes away the generator of a layer of Keras that makes one, as if it never had one."""
    generator = vars(layer).get("seed_generator")
    if generator is not None:
        del layer.seed_generator
        layer._seed_generators.remove(generator)  # Keras has no other way, and would save it with the weights


def draw(kind: str, layer: layers.Layer, inputs: tf.Tensor, noise_shape: Sequence[int | None] | None) -> tf.Tensor:
    """Draws for one call of a layer.

    Args:
      kind: `uniform`, in [0, 1), or `normal`.
      layer: which asks.
      inputs: what it is given, [N, ...].
      noise_shape: of the numbers, as Keras means it: None are the inputs' sizes, a first size of 1 gives all samples
        the same ones; None alone is the inputs' shape.

    Returns:
      float32.

    Raises:
      MirageError: outside of a training step, or if shapes aren't known.
    """
    source = _SOURCE.get()
    name = type(layer).__name__
    if source is None:
        raise MirageError(
            f"layer {layer.name} ({name}) was called with training=True outside of a training step, and only there it "
            "is given random numbers; call it with training=False, and not in a keras.RematScope or tf.recompute_grad, "
            "which compute it again later."
        )
    if inputs.shape.rank is None or None in inputs.shape[1:]:
        raise MirageError(
            f"layer {layer.name} ({name}) is given {inputs.shape}, of which only the first size may be unknown; "
            "set the shape of what enters it, such as by keras.layers.Reshape."
        )
    sizes = inputs.shape.as_list()
    shape = noise_shape or [None] * len(sizes)
    shared = shape[0] == 1
    sizes[1:] = [size if each is None else each for each, size in zip(shape[1:], sizes[1:], strict=True)]
    drawn = getattr(source, kind)(layer.name, sizes[0], math.prod(sizes[1:]), shared=shared)
    return tf.reshape(drawn, [1 if shared else -1, *sizes[1:]])


def _dropped(
    layer: layers.Dropout, inputs: tf.Tensor, noise_shape: Sequence[int | None] | None, training: bool | None
) -> tf.Tensor:
    if not training or not layer.rate:
        return inputs
    if layer.rate == 1:
        return tf.zeros_like(inputs)
    kept = draw("uniform", layer, inputs, noise_shape) >= layer.rate
    # By a product: at tf.where with a scalar the layout optimizer of graphs for GPUs fails.
    return inputs * (tf.cast(kept, inputs.dtype) / tf.cast(1 - layer.rate, inputs.dtype))


@keras.saving.register_keras_serializable(package="mirage")
class Dropout(layers.Dropout):
    """Keras's layer; `seed` is kept and not used, as the run's seed decides."""

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **of_every_layer: Any) -> None:
        """See `keras.layers.Dropout`."""
        super().__init__(rate, noise_shape=noise_shape, seed=seed, **of_every_layer)
        forget_generator(self)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Sets a share of the inputs, [N, ...], to 0 and scales the others up."""
        return _dropped(self, inputs, self.noise_shape, training)


class _SpatialDropout:
    """What the three layers share that drop whole feature maps."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        forget_generator(self)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Sets a share of the feature maps to 0 and scales the others up."""
        rank = len(inputs.shape)
        channels = 1 if getattr(self, "data_format", "") == "channels_first" else rank - 1
        shape = [None if axis in (0, channels) else 1 for axis in range(rank)]
        return _dropped(self, inputs, shape, training)


@keras.saving.register_keras_serializable(package="mirage")
class SpatialDropout1D(_SpatialDropout, layers.SpatialDropout1D):
    """Keras's layer; see `Dropout`."""


@keras.saving.register_keras_serializable(package="mirage")
class SpatialDropout2D(_SpatialDropout, layers.SpatialDropout2D):
    """Keras's layer; see `Dropout`."""


@keras.saving.register_keras_serializable(package="mirage")
class SpatialDropout3D(_SpatialDropout, layers.SpatialDropout3D):
    """Keras's layer; see `Dropout`."""


@keras.saving.register_keras_serializable(package="mirage")
class AlphaDropout(layers.AlphaDropout):
    """Keras's layer; see `Dropout`."""

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **of_every_layer: Any) -> None:
        """See `keras.layers.AlphaDropout`."""
        super().__init__(rate, noise_shape=noise_shape, seed=seed, **of_every_layer)
        forget_generator(self)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Sets a share of the inputs to SELU's lower bound, and keeps mean and variance."""
        if not training or not self.rate:
            return inputs
        kept = draw("uniform", self, inputs, self.noise_shape) >= self.rate
        # Klambauer et al. 2017, arXiv 1706.02515: -lambda alpha, and the map that restores mean and variance.
        lowest = -1.0507009873554804934193349852946 * 1.6732632423543772848170429916717
        a = ((1 - self.rate) * (1 + self.rate * lowest**2)) ** -0.5
        b = -a * lowest * self.rate
        share = tf.cast(kept, inputs.dtype)
        return a * (share * inputs + (1 - share) * lowest) + b


@keras.saving.register_keras_serializable(package="mirage")
class GaussianDropout(layers.GaussianDropout):
    """Keras's layer; see `Dropout`."""

    def __init__(self, rate: float, seed: int | None = None, **of_every_layer: Any) -> None:
        """See `keras.layers.GaussianDropout`."""
        super().__init__(rate, seed=seed, **of_every_layer)
        forget_generator(self)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Multiplies with normal numbers around 1."""
        if not training or not self.rate:
            return inputs
        noise = math.sqrt(self.rate / (1 - self.rate)) * draw("normal", self, inputs, None)
        return inputs * tf.cast(1 + noise, inputs.dtype)


@keras.saving.register_keras_serializable(package="mirage")
class GaussianNoise(layers.GaussianNoise):
    """Keras's layer; see `Dropout`."""

    def __init__(self, stddev: float, seed: int | None = None, **of_every_layer: Any) -> None:
        """See `keras.layers.GaussianNoise`."""
        super().__init__(stddev, seed=seed, **of_every_layer)
        forget_generator(self)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Adds normal numbers."""
        if not training or not self.stddev:
            return inputs
        noise = self.stddev * draw("normal", self, inputs, None)
        return inputs + tf.cast(noise, inputs.dtype)


# Keras's layers, and those that take their place.
OURS = {
    getattr(layers, each.__name__): each
    for each in (
        AlphaDropout,
        Dropout,
        GaussianDropout,
        GaussianNoise,
        SpatialDropout1D,
        SpatialDropout2D,
        SpatialDropout3D,
    )
}
