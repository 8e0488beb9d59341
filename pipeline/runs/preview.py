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
from pipeline.runs.layout import MOST_ROWS, attribute_rows, grid_labels
from serving.contract.pixels import straight

_GAP = 2
# Chosen at random once; keeps preview latents apart from training noise of the same seed.
_STREAM = 0x5052_4556


class Preview:
    """Draws a grid of samples from fixed latents.

    Attributes:
      labels: int32 [n], the labels of the grid's images, row by row; zeros if unconditional. Of attributes, float32
        [n, A].
      columns: images per row.
    """

    def __init__(self, options: NetworkOptions, seed: int, data: DataSpec, generator: keras.Model) -> None:
        """Chooses latents and labels.

        Args:
          options: latent size, and whether labels are used.
          seed: the run's.
          data: decides the number of classes, or says what attributes there are.
          generator: the network to draw with.
        """
        if options.conditional and data.attributes:
            self.labels, latents, self.columns = attribute_rows(data.attributes)
        else:
            self.labels, self.columns = grid_labels(len(data.class_names) if options.conditional else 0)
            latents = np.arange(len(self.labels))
            if options.conditional and len(data.class_names) <= MOST_ROWS:
                latents %= self.columns  # by column: in such a grid, all images of a column share their latent
        shape = [latents.max() + 1, options.latent_dim]
        self._z = tf.gather(tf.random.stateless_normal(shape, [seed, _STREAM], alg="philox"), latents)
        self._generator = function_of(generator, training=False)

    def draw(self) -> np.ndarray:
        """Returns the grid, uint8 [height, width, channels]."""
        return grid(to_pixels(self._generate().numpy()), self.columns)

    @functools.cached_property
    def _generate(self) -> Callable[[], tf.Tensor]:
        # Traced here, not by a call: of those, TensorFlow would warn where several trainings in a process make them.
        return tf.function(lambda: self._generator(self._z, tf.constant(self.labels))).get_concrete_function()


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
