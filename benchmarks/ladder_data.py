"""Photographs that the ladder's presets learn, where tensorflow-datasets has no set of them alone."""

from typing import Any

from pipeline.data.options import DataOptions

_CAT = 0  # of cats_vs_dogs, whose other class are dogs
_FEW = 600


def cats(options: DataOptions) -> Any:
    """Returns the cats of tensorflow-datasets' `cats_vs_dogs`, for `--dataset=benchmarks.ladder_data:cats`.

    Args:
      options: `data_dir` counts: where it is prepared, or is to be.

    Returns:
      A `tf.data.Dataset` of photographs, uint8 [H, W, 3] of various sizes.
    """
    import tensorflow_datasets as tfds

    both = tfds.load(
        "cats_vs_dogs", split="train", data_dir=options.data_dir or None, as_supervised=True, try_gcs=False
    )
    return both.filter(lambda image, label: label == _CAT).map(lambda image, label: image)


def few_cats(options: DataOptions) -> Any:
    """Returns the first 600 of `cats`, for `--dataset=benchmarks.ladder_data:few_cats`.

    Args:
      options: as for `cats`.

    Returns:
      As `cats`.
    """
    return cats(options).take(_FEW)
