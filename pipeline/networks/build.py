"""Network pairs by name: `build` returns the Keras models that a configuration asks for.

To add an architecture, write one file with a `build_generator` and a `build_features` of the same form
as `mlp.py`, and enter it in `ARCHITECTURES`.
"""

import keras
from keras import layers

from pipeline.base.errors import MirageError
from pipeline.base.needs import Needs
from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.networks import dcgan, mlp, noisy_mlp, resnet
from pipeline.networks.batch_norm import BatchNormalization
from pipeline.networks.conditioning import Projection, model_of
from pipeline.networks.noisy_mlp import noise_size
from pipeline.networks.pyramid import IMAGE_SIZES
from pipeline.networks.spectral_norm import normalised

__all__ = [
    "ARCHITECTURES",
    "build_discriminator",
    "build_encoder",
    "build_features",
    "build_generator",
    "build_networks",
    "noise_size",
]

ARCHITECTURES = {"dcgan": dcgan, "mlp": mlp, "resnet": resnet}
"""By name, what has a `build_generator` and a `build_features` of the form of those in `mlp.py`."""

_SMALLEST, _LARGEST = IMAGE_SIZES


def build_generator(config: Config, data: DataSpec) -> keras.Model:
    """Builds an untrained generator.

    Args:
      config: decides the architecture, the latent size and whether the network is conditional.
      data: decides the image shape and the number of classes.

    Returns:
      A model of `z` float32 [N, latent_dim] or, if conditional, of `[z, label]` with `label` int32
      [N], whose output is float32 [N, H, W, C] in [-1, 1].

    Raises:
      MirageError: if the architecture can't make images of this shape, or there are no labels.
    """
    _check(config, data)
    return ARCHITECTURES[config.model].build_generator(config.latent_dim, data.image_shape, _num_classes(config, data))


def build_discriminator(config: Config, data: DataSpec, needs: Needs) -> keras.Model:
    """Builds an untrained discriminator.

    Args:
      config: decides the architecture, and whether and how the network is conditional.
      data: decides the image shape and the number of classes.
      needs: decides the heads.

    Returns:
      A model of `image` float32 [N, H, W, C] in [-1, 1] or, if it takes labels, of `[image, label]` with
      `label` int32 [N]. Its output is logits, float32 [N]; a positive logit says "real". With more heads it is a
      dictionary of `logits` and, for `--conditioning=acgan` and `--objective=sgan`, `classes` float32 [N, K]; for
      the latter `features`; for `--categories` and `--codes`, `codes` float32 [N, categories + codes]. That of
      `--objective=sgan` is `noisy_mlp`, whatever the architecture of the generator; its second input is `noise`.

    Raises:
      MirageError: if the architecture can't judge images of this shape, or there are no labels.
    """
    if needs.architectures.get("discriminator") == "noisy_mlp":
        _check(config, data)
        inputs, features = noisy_mlp.build_features(data.image_shape)
        classes = layers.Dense(len(data.class_names))(features)
        logits = keras.ops.logsumexp(classes, axis=-1)
        outputs = {"logits": logits, "classes": classes, "features": features}
    else:
        inputs, features = build_features(config, data, labels="concat" in config.conditionings())
        inputs, outputs = _heads(config, _num_classes(config, data), inputs, features, needs)
    model = model_of(inputs, outputs if len(outputs) > 1 else outputs["logits"], "discriminator")
    return normalised(model) if config.spectral_norm else model


def _heads(
    config: Config,
    num_classes: int,
    inputs: list[keras.KerasTensor],
    features: keras.KerasTensor,
    needs: Needs,
) -> tuple[list[keras.KerasTensor], dict[str, keras.KerasTensor]]:
    """Returns (inputs, outputs by name) of an adversarial discriminator with these features."""
    logits = layers.Dense(1)(features)
    if num_classes and "projection" in config.conditionings():
        if len(inputs) == 1:
            inputs = [*inputs, keras.Input([], dtype="int32", name="label")]
        label = inputs[1]
        logits = logits + keras.ops.expand_dims(Projection(num_classes)(features, label), -1)
    outputs = {"logits": layers.Reshape([])(logits)}
    for name, number in needs.heads.items():
        outputs[name] = layers.Dense(number)(features)
    return inputs, outputs


def build_encoder(config: Config, data: DataSpec, needs: Needs) -> keras.Model:
    """Builds an untrained encoder, with the discriminator's layers.

    Args:
      config: decides the architecture and whether the network is conditional.
      data: decides the image shape and the number of classes.
      needs: decides the size of the code.

    Returns:
      A model of the discriminator's inputs. Its output, float32, is the code [N, latent_dim], standardised
      over the batch, so that standard normal latents lie where codes do; or, for a VAE, [N, 2 *
      latent_dim], means and logarithms of variances.
    """
    inputs, features = build_features(config, data, labels=True)
    code = layers.Dense(needs.code)(features)
    if needs.standardised:
        code = BatchNormalization(momentum=0.9, center=False, scale=False)(code)
    return model_of(inputs, code, "encoder")


def build_features(
    config: Config, data: DataSpec, *, labels: bool
) -> tuple[list[keras.KerasTensor], keras.KerasTensor]:
    """Builds the layers that look at images.

    Args:
      config: decides the architecture.
      data: decides the image shape and the number of classes.
      labels: whether they take labels, where the configuration is conditional.

    Returns:
      (`[image]` or `[image, label]`, features [N, F]).

    Raises:
      MirageError: if the architecture can't take images of this shape, or there are no labels.
    """
    _check(config, data)
    num_classes = _num_classes(config, data) if labels else 0
    return ARCHITECTURES[config.model].build_features(data.image_shape, num_classes)


def build_networks(config: Config, data: DataSpec, needs: Needs) -> dict[str, keras.Model]:
    """Builds the networks that an objective trains, by name."""
    other = build_encoder if "encoder" in needs.networks else build_discriminator
    models = (build_generator(config, data), other(config, data, needs))
    return {model.name: model for model in models}


def _num_classes(config: Config, data: DataSpec) -> int:
    return len(data.class_names) if config.conditional else 0


def _check(config: Config, data: DataSpec) -> None:
    if config.conditional and not data.class_names:
        raise MirageError(
            f"--conditional needs labels, and --dataset={data.name} has none; use --noconditional, or a data set "
            "with labels (for a folder: one sub-folder per class)."
        )
    height, width, _ = data.image_shape
    if height != width:
        raise MirageError(
            f"--dataset={data.name} has images of {height}x{width} pixels, and networks need square ones; set "
            "--image_size."
        )
    if config.model != "mlp" and not _SMALLEST <= height <= _LARGEST:
        raise MirageError(
            f"--model={config.model} supports {_SMALLEST} to {_LARGEST} pixels, and --dataset={data.name} has "
            f"{height}; set --image_size within that range, or use --model=mlp."
        )
