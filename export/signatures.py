"""What all formats are made of: a generator, and its sampler, as functions of TensorFlow."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from export.formats.base import Generate
from export.sampler import tensorflow_latents, tensorflow_pixels
from serving.contract.manifest import ModelInfo


def keras_generator(model: keras.Model, info: ModelInfo) -> Generate:
    """The trained network itself, as a function of latents and labels."""
    if info.conditional:
        return lambda z, label: np.asarray(model([tf.constant(z), tf.constant(label, tf.int32)], training=False))
    return lambda z, label: np.asarray(model(tf.constant(z), training=False))


def generator_function(model: keras.Model, info: ModelInfo) -> tuple[Callable, list[tf.TensorSpec]]:
    """Makes the function that all exports share.

    Args:
      model: a generator, see `pipeline.networks.build.build_generator`.
      info: its description.

    Returns:
      (function of z float32 [N, latent_dim] and, if conditional, label int64 [N], that returns
      {"image": float32 [N, H, W, C] in [-1, 1]}; its input signature).
    """
    signature = [tf.TensorSpec([None, info.latent_dim], tf.float32, name="z")]
    if info.conditional:
        signature.append(tf.TensorSpec([None], tf.int64, name="label"))

    # Its parameters' names become the signature's.
    def generate(z: tf.Tensor, label: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        message = "a batch must hold at least one latent or seed."
        with tf.control_dependencies([tf.debugging.assert_positive(tf.shape(z)[0], message)]):
            image = model(z if label is None else [z, tf.cast(label, tf.int32)], training=False)
        if label is not None:
            image *= _one_for_classes(label, len(info.class_names))
        return {"image": tf.identity(image, name="image")}

    return generate, signature


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


def module_of(model: keras.Model) -> tf.Module:
    """Makes a module that keeps a generator's weights, for functions that use them."""
    module = tf.Module()
    # Keras's own variables are wrappers, in which only `tf.saved_model.load` finds the values.
    module.weights = [variable.value for variable in model.variables]
    return module


def sampler_function(model: keras.Model, info: ModelInfo) -> tuple[Callable, list[tf.TensorSpec]]:
    """Makes the same from seeds: seed int64 [N], perhaps label, truncation float32, to pixels uint8 [N, H, W, C]."""
    generate, (_, *label_spec) = generator_function(model, info)

    def pixels_of(seed: tf.Tensor, truncation: tf.Tensor, *label: tf.Tensor) -> dict[str, tf.Tensor]:
        z = truncation * tensorflow_latents(seed, info.latent_dim, info.latent_distribution)
        return {"pixels": tensorflow_pixels(generate(z, *label)["image"], info.alpha)}

    plain = tf.constant(1.0)

    def sample(seed: tf.Tensor, truncation: tf.Tensor = plain) -> dict[str, tf.Tensor]:
        return pixels_of(seed, truncation)

    def sample_of_class(seed: tf.Tensor, label: tf.Tensor, truncation: tf.Tensor = plain) -> dict[str, tf.Tensor]:
        return pixels_of(seed, truncation, label)

    seed_spec, truncation_spec = tf.TensorSpec([None], tf.int64, "seed"), tf.TensorSpec([], tf.float32, "truncation")
    return sample_of_class if label_spec else sample, [seed_spec, *label_spec, truncation_spec]
