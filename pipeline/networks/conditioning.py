"""How labels enter the networks.

    concat      as one-hot vectors, concatenated to the input (Mirza and Osindero 2014, arXiv 1411.1784)
    projection  D's logit gains the product of its features and an embedding of the label (Miyato and
                Koyama 2018, arXiv 1802.05637)
    acgan       D is not told the label and names it itself (Odena et al. 2016, arXiv 1610.09585)

The discriminator may use several at once; the generator takes them by concatenation.
"""

from __future__ import annotations

from typing import Any

from pipeline.base.libraries import keras


def one_hot_input(num_classes: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Makes a label input and its one-hot form.

    Args:
      num_classes: number of labels.

    Returns:
      (`label` int32 [N], one-hot float32 [N, num_classes]).
    """
    label = keras.Input([], dtype="int32", name="label")
    return label, keras.ops.one_hot(label, num_classes)


def latent_inputs(latent_dim: int, num_classes: int) -> tuple[list[keras.KerasTensor], keras.KerasTensor]:
    """Makes the inputs of a generator.

    Args:
      latent_dim: components of `z`.
      num_classes: number of labels to take; 0 for none.

    Returns:
      ([`z`] or [`z`, `label`], `z` with the one-hot label behind it, [N, latent_dim + num_classes]).
    """
    z = keras.Input([latent_dim], name="z")
    if not num_classes:
        return [z], z
    label, one_hot = one_hot_input(num_classes)
    return [z, label], keras.layers.Concatenate()([z, one_hot])


def model_of(inputs: list[keras.KerasTensor], outputs: Any, name: str) -> keras.Model:
    """Makes a model; a single input stands by itself, since Keras wants a model called as it was built."""
    return keras.Model(inputs if len(inputs) > 1 else inputs[0], outputs, name=name)


def image_inputs(
    image_shape: tuple[int, int, int], num_classes: int
) -> tuple[list[keras.KerasTensor], keras.KerasTensor | None]:
    """Makes the inputs of a network that looks at images.

    Args:
      image_shape: (height, width, channels).
      num_classes: number of labels to take; 0 for none.

    Returns:
      ([`image`] or [`image`, `label`], one-hot labels or None).
    """
    image = keras.Input(image_shape, name="image")
    if not num_classes:
        return [image], None
    label, one_hot = one_hot_input(num_classes)
    return [image, label], one_hot


def image_planes(
    image_shape: tuple[int, int, int], num_classes: int
) -> tuple[list[keras.KerasTensor], keras.KerasTensor]:
    """As `image_inputs`, but with the labels joined to the image as constant planes, [N, H, W, C + num_classes]."""
    inputs, one_hot = image_inputs(image_shape, num_classes)
    if one_hot is None:
        return inputs, inputs[0]
    height, width, _ = image_shape
    return inputs, keras.layers.Concatenate()([inputs[0], label_planes(one_hot, height, width)])


def label_planes(one_hot: keras.KerasTensor, height: int, width: int) -> keras.KerasTensor:
    """Repeats one-hot labels over all pixels, as constant feature planes.

    Args:
      one_hot: float32 [N, K].
      height: rows.
      width: columns.

    Returns:
      float32 [N, height, width, K].
    """
    num_classes = one_hot.shape[-1]
    planes = keras.layers.Reshape([1, 1, num_classes])(one_hot)
    return keras.layers.UpSampling2D([height, width])(planes)
