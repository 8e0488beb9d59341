"""What all formats are made of: a generator, and its sampler, as functions of TensorFlow."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from export.formats.base import Generate
from export.sampler import tensorflow_latents, tensorflow_pixels
from export.source import Truncated
from export.styles import Styles
from serving.contract.attributes import Attribute
from serving.contract.manifest import ModelInfo


def keras_generator(model: keras.Model, info: ModelInfo) -> Generate:
    """The trained network itself, as a function of latents and labels or attributes."""
    if info.attributes:
        return lambda z, label: np.asarray(model([tf.constant(z), tf.constant(label, tf.float32)], training=False))
    if info.conditional:
        return lambda z, label: np.asarray(model([tf.constant(z), tf.constant(label, tf.int32)], training=False))
    return lambda z, label: np.asarray(model(tf.constant(z), training=False))


def keras_styles(model: keras.Model, info: ModelInfo) -> Truncated:
    """The same of a generator with styles, at a truncation."""
    styles = Styles.of(model, info)

    def generate(z: NDArray[np.float32], label: NDArray, truncation: float) -> NDArray[np.float32]:
        kind = tf.float32 if info.attributes else tf.int32
        condition = [tf.constant(label, kind)] if info.condition else []
        w = styles.map(tf.constant(z), *condition, truncation=tf.constant([truncation], tf.float32))
        return np.asarray(styles.synthesise(w))

    return generate


def generator_function(model: keras.Model, info: ModelInfo) -> tuple[Callable, list[tf.TensorSpec]]:
    """Makes the function that all exports share.

    Args:
      model: a generator, see `pipeline.networks.build.build_generator`.
      info: its description.

    Returns:
      (function of z float32 [N, latent_dim] and, if conditional, label int64 [N] or attributes float32 [N, number of
      them], that returns {"image": float32 [N, H, W, C] in [-1, 1]}; its input signature).
    """

    def image(z: tf.Tensor, *condition: tf.Tensor) -> tf.Tensor:
        return model([z, *condition] if condition else z, training=False)

    return _of_latents(image, "image", info)


def truncated_function(model: keras.Model, info: ModelInfo) -> tuple[Callable, list[tf.TensorSpec]]:
    """As `generator_function`, of a generator with styles: the last argument is `truncation`, float32 [N] or [1]."""
    styles = Styles.of(model, info)

    def image(z: tf.Tensor, *condition: tf.Tensor) -> tf.Tensor:
        return styles.synthesise(styles.map(z, *condition[:-1], truncation=condition[-1]))

    return _of_latents(image, "image", info, truncated=True)


def mapping_function(model: keras.Model, info: ModelInfo) -> tuple[Callable, list[tf.TensorSpec]]:
    """As `truncated_function`, of the mapping: it returns {"w": float32 [N, L, W]}."""
    styles = Styles.of(model, info)

    def w(z: tf.Tensor, *condition: tf.Tensor) -> tf.Tensor:
        return styles.map(z, *condition[:-1], truncation=condition[-1])

    return _of_latents(w, "w", info, truncated=True)


def synthesis_function(model: keras.Model, info: ModelInfo) -> tuple[Callable, list[tf.TensorSpec]]:
    """The function of styles `w`, float32 [N, L, W], that returns {"image": float32 [N, H, W, C]}; its signature."""
    assert info.styles is not None
    styles = Styles.of(model, info)

    def synthesise(w: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"image": tf.identity(styles.synthesise(w), name="image")}

    return synthesise, [tf.TensorSpec([None, *info.styles], tf.float32, name="w")]


def _of_latents(
    function: Callable, output: str, info: ModelInfo, *, truncated: bool = False
) -> tuple[Callable, list[tf.TensorSpec]]:
    """Makes a function of named inputs, which it looks at before, and its signature."""
    signature = [tf.TensorSpec([None, info.latent_dim], tf.float32, name="z")]

    def computed(z: tf.Tensor, *more: tf.Tensor) -> tf.Tensor:
        message = "a batch must hold at least one latent or seed."
        with tf.control_dependencies([tf.debugging.assert_positive(tf.shape(z)[0], message)]):
            return function(z, *more)

    def of_class(z: tf.Tensor, label: tf.Tensor, *more: tf.Tensor) -> tf.Tensor:
        found = computed(z, tf.cast(label, tf.int32), *more)
        return found * _one_for_classes(label, len(info.class_names), found.shape.rank)

    def with_attributes(z: tf.Tensor, attributes: tf.Tensor, *more: tf.Tensor) -> tf.Tensor:
        found = computed(z, attributes, *more)
        return found * _one_within(attributes, info.attributes, found.shape.rank)

    made = with_attributes if info.attributes else of_class if info.conditional else computed
    if info.attributes:
        signature.append(tf.TensorSpec([None, len(info.attributes)], tf.float32, name="attributes"))
    elif info.conditional:
        signature.append(tf.TensorSpec([None], tf.int64, name="label"))
    if truncated:
        signature.append(tf.TensorSpec([None], tf.float32, name="truncation"))

    def named(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {output: tf.identity(made(*inputs), name=output)}

    return _of_names(named, info.condition, truncated=truncated), signature


def _of_names(function: Callable, condition: str, *, truncated: bool) -> Callable:
    """Gives a function's parameters names, which become the signature's."""

    def plain(z: tf.Tensor) -> dict[str, tf.Tensor]:
        return function(z)

    def of_class(z: tf.Tensor, label: tf.Tensor) -> dict[str, tf.Tensor]:
        return function(z, label)

    def with_attributes(z: tf.Tensor, attributes: tf.Tensor) -> dict[str, tf.Tensor]:
        return function(z, attributes)

    def truncated_plain(z: tf.Tensor, truncation: tf.Tensor) -> dict[str, tf.Tensor]:
        return function(z, truncation)

    def truncated_of_class(z: tf.Tensor, label: tf.Tensor, truncation: tf.Tensor) -> dict[str, tf.Tensor]:
        return function(z, label, truncation)

    def truncated_with(z: tf.Tensor, attributes: tf.Tensor, truncation: tf.Tensor) -> dict[str, tf.Tensor]:
        return function(z, attributes, truncation)

    if condition == "attributes":
        return truncated_with if truncated else with_attributes
    if condition == "label":
        return truncated_of_class if truncated else of_class
    return truncated_plain if truncated else plain


def _one_for_classes(label: tf.Tensor, classes: int, rank: int) -> tf.Tensor:
    """Returns ones, [N, 1, 1, 1] where the rank is 4, if all labels are of classes.

    Otherwise the look-up fails, in TensorFlow as in what is converted from it. Runtimes that can't fail there
    read zeros beyond the end of a table, as OpenVINO: a plain grey picture then, instead of one that looks right.
    """
    message = f"label must be of a class, 0 to {classes - 1}."
    checks = [
        tf.debugging.assert_non_negative(label, message),
        tf.debugging.assert_less(label, tf.constant(classes, tf.int64), message),
    ]
    with tf.control_dependencies(checks):
        return tf.gather(tf.ones([classes] + [1] * (rank - 1)), label)


def _one_within(values: tf.Tensor, attributes: Sequence[Attribute], rank: int) -> tf.Tensor:
    """Returns ones, as above, if all attributes are from their least to their greatest value."""
    low, high = ([getattr(each, end) for each in attributes] for end in ("low", "high"))
    # Of NaN both are false.
    inside = tf.logical_and(values >= tf.constant(low, tf.float32), values <= tf.constant(high, tf.float32))
    outside = tf.reduce_max(tf.cast(tf.logical_not(inside), tf.int32), axis=1)
    message = f"attributes must be from {low} to {high}."
    with tf.control_dependencies([tf.debugging.assert_less(outside, 1, message)]):
        return tf.gather(tf.ones([1] * rank), outside)


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
    generate, (_, *others) = (truncated_function if info.styles else generator_function)(model, info)
    condition_spec = [spec for spec in others if spec.name != "truncation"]

    def pixels_of(seed: tf.Tensor, truncation: tf.Tensor, *condition: tf.Tensor) -> dict[str, tf.Tensor]:
        z = tensorflow_latents(seed, info.latent_dim, info.latent_distribution)
        if info.styles:
            image = generate(z, *condition, truncation[None])["image"]
        else:
            image = generate(truncation * z, *condition)["image"]
        return {"pixels": tensorflow_pixels(image, info.alpha)}

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
