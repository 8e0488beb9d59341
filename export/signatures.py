"""What all formats are made of: a generator, and its sampler, as functions of TensorFlow."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from export.formats.base import Generate
from export.sampler import tensorflow_latents, tensorflow_pixels
from serving.contract.attributes import Attribute
from serving.contract.manifest import ModelInfo


def keras_generator(model: keras.Model, info: ModelInfo) -> Generate:
    """The trained network itself, as a function of latents and labels or attributes."""
    if info.attributes:
        return lambda z, label: np.asarray(model([tf.constant(z), tf.constant(label, tf.float32)], training=False))
    if info.conditional:
        return lambda z, label: np.asarray(model([tf.constant(z), tf.constant(label, tf.int32)], training=False))
    return lambda z, label: np.asarray(model(tf.constant(z), training=False))


def generator_function(model: keras.Model, info: ModelInfo) -> tuple[Callable, list[tf.TensorSpec]]:
    """Makes the function that all exports share.

    Args:
      model: a generator, see `pipeline.networks.build.build_generator`.
      info: its description.

    Returns:
      (function of z float32 [N, latent_dim] and, if conditional, label int64 [N] or attributes float32 [N, number of
      them], that returns {"image": float32 [N, H, W, C] in [-1, 1]}; its input signature).
    """
    latent = tf.TensorSpec([None, info.latent_dim], tf.float32, name="z")

    def image(z: tf.Tensor, *condition: tf.Tensor) -> tf.Tensor:
        message = "a batch must hold at least one latent or seed."
        with tf.control_dependencies([tf.debugging.assert_positive(tf.shape(z)[0], message)]):
            return model([z, *condition] if condition else z, training=False)

    # Their parameters' names become the signature's.
    def generate(z: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"image": tf.identity(image(z), name="image")}

    def generate_of_class(z: tf.Tensor, label: tf.Tensor) -> dict[str, tf.Tensor]:
        product = image(z, tf.cast(label, tf.int32)) * _one_for_classes(label, len(info.class_names))
        return {"image": tf.identity(product, name="image")}

    def generate_with(z: tf.Tensor, attributes: tf.Tensor) -> dict[str, tf.Tensor]:
        product = image(z, attributes) * _one_within(attributes, info.attributes)
        return {"image": tf.identity(product, name="image")}

    if info.attributes:
        return generate_with, [latent, tf.TensorSpec([None, len(info.attributes)], tf.float32, name="attributes")]
    if info.conditional:
        return generate_of_class, [latent, tf.TensorSpec([None], tf.int64, name="label")]
    return generate, [latent]


def _one_for_classes(label: tf.Tensor, classes: int) -> tf.Tensor:
    """Returns ones, [N, 1, 1, 1], if all labels are of classes.

    Otherwise the look-up fails, in TensorFlow as in what is converted from it. Runtimes that can't fail there
    read zeros beyond the end of a table, as OpenVINO: a plain grey picture then, instead of one that looks right.
    """
    message = f"label must be of a class, 0 to {classes - 1}."
    checks = [
        tf.debugging.assert_non_negative(label, message),
        tf.debugging.assert_less(label, tf.constant(classes, tf.int64), message),
    ]
    with tf.control_dependencies(checks):
        return tf.gather(tf.ones([classes, 1, 1, 1]), label)


def _one_within(values: tf.Tensor, attributes: Sequence[Attribute]) -> tf.Tensor:
    """Returns ones, [N, 1, 1, 1], if all attributes are from their least to their greatest value; see above."""
    low, high = ([getattr(each, end) for each in attributes] for end in ("low", "high"))
    # Of NaN both are false.
    inside = tf.logical_and(values >= tf.constant(low, tf.float32), values <= tf.constant(high, tf.float32))
    outside = tf.reduce_max(tf.cast(tf.logical_not(inside), tf.int32), axis=1)
    message = f"attributes must be from {low} to {high}."
    with tf.control_dependencies([tf.debugging.assert_less(outside, 1, message)]):
        return tf.gather(tf.ones([1, 1, 1, 1]), outside)


def module_of(model: keras.Model) -> tf.Module:
    """Makes a module that keeps a generator's weights, for functions that use them."""
    module = tf.Module()
    # Keras's own variables are wrappers, in which only `tf.saved_model.load` finds the values.
    module.weights = [variable.value for variable in model.variables]
    return module


def sampler_function(model: keras.Model, info: ModelInfo) -> tuple[Callable, list[tf.TensorSpec]]:
    """Makes the same from seeds.

    Returns:
      (function of seed int64 [N], perhaps label or attributes, and truncation float32, that returns {"pixels": uint8
      [N, H, W, C]}; its input signature).
    """
    generate, (_, *condition_spec) = generator_function(model, info)

    def pixels_of(seed: tf.Tensor, truncation: tf.Tensor, *condition: tf.Tensor) -> dict[str, tf.Tensor]:
        z = truncation * tensorflow_latents(seed, info.latent_dim, info.latent_distribution)
        return {"pixels": tensorflow_pixels(generate(z, *condition)["image"], info.alpha)}

    plain = tf.constant(1.0)

    def sample(seed: tf.Tensor, truncation: tf.Tensor = plain) -> dict[str, tf.Tensor]:
        return pixels_of(seed, truncation)

    def sample_of_class(seed: tf.Tensor, label: tf.Tensor, truncation: tf.Tensor = plain) -> dict[str, tf.Tensor]:
        return pixels_of(seed, truncation, label)

    def sample_with(seed: tf.Tensor, attributes: tf.Tensor, truncation: tf.Tensor = plain) -> dict[str, tf.Tensor]:
        return pixels_of(seed, truncation, attributes)

    function = sample_with if info.attributes else sample_of_class if info.conditional else sample
    seed_spec, truncation_spec = tf.TensorSpec([None], tf.int64, "seed"), tf.TensorSpec([], tf.float32, "truncation")
    return function, [seed_spec, *condition_spec, truncation_spec]
