"""How labels enter the networks.

    concat      as a code, concatenated to the input (Mirza and Osindero 2014, arXiv 1411.1784)
    projection  D's logit gains the product of its features and an embedding of the label (Miyato and
                Koyama 2018, arXiv 1802.05637)
    acgan       D is not told the label and names it itself (Odena et al. 2016, arXiv 1610.09585)

The discriminator may use several at once; the generator takes them by concatenation. The code of one of K classes is
its one-hot vector. That of attributes is each of them from -1, the least that training has seen, to 1, the greatest;
networks take attributes in the unit in which data give them, and scale them inside.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.base.affine import affine
from pipeline.base.libraries import keras
from serving.contract.attributes import Attribute


def label_input(num_classes: int, attributes: Sequence[Attribute] = ()) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Makes a label input and its code.

    Args:
      num_classes: number of classes, or of attributes.
      attributes: what these are, if labels are attributes.

    Returns:
      (`label` int32 [N], or float32 [N, num_classes] of attributes; its code, float32 [N, num_classes]).
    """
    if attributes:
        label = keras.Input([len(attributes)], dtype="float32", name="label")
    else:
        label = keras.Input([], dtype="int32", name="label")
    return label, code_of(label, num_classes, attributes)


one_hot_input = label_input  # as it was called when there were classes alone


def code_of(label: keras.KerasTensor, num_classes: int, attributes: Sequence[Attribute] = ()) -> keras.KerasTensor:
    """Makes the code of labels, see `label_input`."""
    if not attributes:
        return keras.ops.one_hot(label, num_classes)
    # In float32 whatever networks compute in: units may be large.
    return keras.layers.Rescaling(*affine(attributes), dtype="float32")(label)


def latent_inputs(
    latent_dim: int, num_classes: int, attributes: Sequence[Attribute] = ()
) -> tuple[list[keras.KerasTensor], keras.KerasTensor]:
    """Makes the inputs of a generator.

    Args:
      latent_dim: components of `z`.
      num_classes: number of classes to take, or of attributes; 0 for none.
      attributes: what these are, if labels are attributes.

    Returns:
      ([`z`] or [`z`, `label`], `z` with the label's code behind it, [N, latent_dim + num_classes]).
    """
    z = keras.Input([latent_dim], name="z")
    if not num_classes:
        return [z], z
    label, code = label_input(num_classes, attributes)
    return [z, label], keras.layers.Concatenate()([z, code])


def model_of(inputs: list[keras.KerasTensor], outputs: Any, name: str) -> keras.Model:
    """Makes a model; a single input stands by itself, since Keras wants a model called as it was built."""
    return keras.Model(inputs if len(inputs) > 1 else inputs[0], outputs, name=name)


def heads_on(
    x: keras.KerasTensor, heads: Mapping[str, int], layer: Callable[[str, int], keras.layers.Layer]
) -> dict[str, keras.KerasTensor]:
    """What a discriminator says besides its logits.

    Args:
      x: its last features.
      heads: how many numbers each has, by name; of 0 it is the features themselves.
      layer: makes a head of its name and number.

    Returns:
      Outputs by name, in an order that does not depend on what has asked for them: weights are known by their place.
      Where an objective asks for the class and for features, as sgan does, `logits` are among them: how much an image
      is of any class (Salimans et al. 2016, arXiv 1606.03498, section 5).
    """
    outputs = {name: layer(name, number)(x) if number else x for name, number in sorted(heads.items())}
    if {"classes", "features"} <= outputs.keys():
        outputs["logits"] = keras.ops.logsumexp(outputs["classes"], axis=-1)
    return outputs


def image_inputs(
    image_shape: tuple[int, int, int], num_classes: int, attributes: Sequence[Attribute] = ()
) -> tuple[list[keras.KerasTensor], keras.KerasTensor | None]:
    """Makes the inputs of a network that looks at images.

    Args:
      image_shape: (height, width, channels).
      num_classes: number of classes to take, or of attributes; 0 for none.
      attributes: what these are, if labels are attributes.

    Returns:
      ([`image`] or [`image`, `label`], the label's code or None).
    """
    image = keras.Input(image_shape, name="image")
    if not num_classes:
        return [image], None
    label, code = label_input(num_classes, attributes)
    return [image, label], code


def image_planes(
    image_shape: tuple[int, int, int], num_classes: int, attributes: Sequence[Attribute] = ()
) -> tuple[list[keras.KerasTensor], keras.KerasTensor]:
    """As `image_inputs`, but with the code joined to the image as constant planes, [N, H, W, C + num_classes]."""
    inputs, code = image_inputs(image_shape, num_classes, attributes)
    if code is None:
        return inputs, inputs[0]
    height, width, _ = image_shape
    return inputs, keras.layers.Concatenate()([inputs[0], label_planes(code, height, width)])


def label_planes(code: keras.KerasTensor, height: int, width: int) -> keras.KerasTensor:
    """Repeats codes of labels over all pixels, as constant feature planes.

    Args:
      code: float32 [N, K].
      height: rows.
      width: columns.

    Returns:
      float32 [N, height, width, K].
    """
    planes = keras.layers.Reshape([1, 1, code.shape[-1]])(code)
    return keras.layers.UpSampling2D([height, width])(planes)
