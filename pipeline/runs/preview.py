"""Preview pictures: the same latents again and again, so that one sees the generator learn."""

import functools
import math
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from pipeline.base.files import write_file
from pipeline.data.spec import DataSpec
from pipeline.networks.models import function_of
from pipeline.networks.options import NetworkOptions
from serving.contract.pixels import straight

_PER_CLASS = 8
_SIDE = 5  # an unconditional preview shows 5 x 5 images
_MAX_ROWS = 20  # with more classes than this, one image of each
_GAP = 2
# Chosen at random once; keeps preview latents apart from training noise of the same seed.
_STREAM = 0x5052_4556


class Preview:
    """Draws a grid of samples from fixed latents.

    Attributes:
      labels: int32 [n], the labels of the grid's images, row by row; zeros if unconditional.
      columns: images per row.
    """

    def __init__(self, options: NetworkOptions, seed: int, data: DataSpec, generator: keras.Model) -> None:
        """Chooses latents and labels.

        Args:
          options: latent size, and whether labels are used.
          seed: the run's.
          data: decides the number of classes.
          generator: the network to draw with.
        """
        self.labels, self.columns = grid_labels(len(data.class_names) if options.conditional else 0)
        # By column: in a conditional grid, all images of a column share their latent.
        rows = math.ceil(len(self.labels) / self.columns)
        distinct = self.columns if options.conditional and len(data.class_names) <= _MAX_ROWS else len(self.labels)
        z = tf.random.stateless_normal([distinct, options.latent_dim], [seed, _STREAM], alg="philox")
        self._z = tf.tile(z, [rows, 1]) if distinct == self.columns else z
        self._generator = function_of(generator, training=False)

    def draw(self) -> np.ndarray:
        """Returns the grid, uint8 [height, width, channels]."""
        return grid(to_pixels(self._generate().numpy()), self.columns)

    @functools.cached_property
    def _generate(self) -> Callable[[], tf.Tensor]:
        # Traced here, not by a call: of those, TensorFlow would warn where several trainings in a process make them.
        return tf.function(lambda: self._generator(self._z, tf.constant(self.labels))).get_concrete_function()


def grid_labels(num_classes: int) -> tuple[np.ndarray, int]:
    """Lays out a grid.

    Args:
      num_classes: 0 for an unconditional generator.

    Returns:
      (labels int32 [n] row by row, number of columns): a row per class, or one image of each class if
      there are many, or 5 x 5 without classes.
    """
    if not num_classes:
        return np.zeros(_SIDE * _SIDE, np.int32), _SIDE
    if num_classes <= _MAX_ROWS:
        return np.repeat(np.arange(num_classes, dtype=np.int32), _PER_CLASS), _PER_CLASS
    return np.arange(num_classes, dtype=np.int32), math.ceil(math.sqrt(num_classes))


def to_pixels(images: np.ndarray) -> np.ndarray:
    """Converts images in [-1, 1] to uint8, rounding half to even and clipping; of four channels, to straight ones."""
    pixels = np.rint(np.clip((images + 1.0) * 127.5, 0, 255)).astype(np.uint8)
    return straight(pixels) if pixels.shape[-1] == 4 else pixels


def grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Arranges images in rows on a white ground; those with an alpha channel, on a transparent one.

    Args:
      images: uint8 [n, H, W, C].
      columns: images per row.

    Returns:
      uint8 [rows * (H + 2) + 2, columns * (W + 2) + 2, C].
    """
    count, height, width, channels = images.shape
    rows = math.ceil(count / columns)
    shape = (rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, channels)
    picture = np.full(shape, 0 if channels == 4 else 255, np.uint8)
    for index, image in enumerate(images):
        top = _GAP + index // columns * (height + _GAP)
        left = _GAP + index % columns * (width + _GAP)
        picture[top : top + height, left : left + width] = image
    return picture


def write_png(path: Path, picture: np.ndarray) -> None:
    """Writes uint8 [H, W, C] as a PNG file, which appears only when complete."""
    write_file(path, tf.io.encode_png(picture).numpy())
