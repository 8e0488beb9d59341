"""Network pairs by name: `build` returns the Keras models that a configuration asks for.

To add an architecture, write one file with a `build_generator` and a `build_discriminator` of the
same form as `mlp.py`, and enter it in `_ARCHITECTURES`.
"""

import keras

from pipeline.config import Config, DataSpec, MirageError
from pipeline.networks import dcgan, mlp

_ARCHITECTURES = {"dcgan": dcgan, "mlp": mlp}

_SMALLEST, _LARGEST = dcgan.IMAGE_SIZES


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
    return _ARCHITECTURES[config.model].build_generator(config.latent_dim, data.image_shape, _num_classes(config, data))


def build_discriminator(config: Config, data: DataSpec) -> keras.Model:
    """Builds an untrained discriminator.

    Args:
      config: decides the architecture and whether the network is conditional.
      data: decides the image shape and the number of classes.

    Returns:
      A model of `image` float32 [N, H, W, C] in [-1, 1] or, if conditional, of `[image, label]` with
      `label` int32 [N], whose output is logits, float32 [N]; a positive logit says "real".

    Raises:
      MirageError: if the architecture can't judge images of this shape, or there are no labels.
    """
    _check(config, data)
    return _ARCHITECTURES[config.model].build_discriminator(data.image_shape, _num_classes(config, data))


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
    if config.model == "dcgan" and not _SMALLEST <= height <= _LARGEST:
        raise MirageError(
            f"--model=dcgan supports {_SMALLEST} to {_LARGEST} pixels, and --dataset={data.name} has {height}; set "
            "--image_size within that range, or use --model=mlp."
        )
