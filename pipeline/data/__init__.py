"""From the name of a data set to its images, whole and in memory."""

import dataclasses

import numpy as np

from pipeline.config import Config, DataSpec, MirageError
from pipeline.data.folder import PREFIX, load_folder

__all__ = ["Dataset", "describe", "load"]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set in memory.

    Attributes:
      spec: its description.
      images: uint8 [N, H, W, C].
      labels: int32 [N]; zeros if the data has no labels.
    """

    spec: DataSpec
    images: np.ndarray
    labels: np.ndarray


def load(config: Config) -> Dataset:
    """Loads the data set that a configuration names, preparing it first if necessary.

    Args:
      config: `dataset`, `data_dir`, `manual_dir`, `split`, `image_size`, `batch_size` and `conditional`
        count.

    Returns:
      All examples of the split, always in the same order.

    Raises:
      MirageError: if the data can't be had or read, or doesn't suit the configuration.
    """
    if config.dataset.startswith(PREFIX):
        dataset = Dataset(*load_folder(config))
    else:
        from pipeline.data.tfds_images import load_tfds  # tensorflow-datasets is slow to import

        dataset = Dataset(*load_tfds(config))
    spec = dataset.spec
    if config.batch_size > spec.num_examples:
        raise MirageError(
            f"--batch_size={config.batch_size} is larger than the {spec.num_examples} images of "
            f"--dataset={config.dataset} --split={config.split}; choose a smaller one."
        )
    if config.conditional and not spec.class_names:
        raise MirageError(
            f"--conditional needs labels, and --dataset={config.dataset} has none; use --noconditional, or data with "
            "labels (for a folder: one sub-folder per class)."
        )
    return dataset


def describe(config: Config) -> DataSpec:
    """Describes a data set without downloading it.

    Args:
      config: as for `load`.

    Returns:
      Its description; `num_examples` is 0 if that isn't known yet.

    Raises:
      MirageError: if there is no such data set, or it holds no usable images.
    """
    if config.dataset.startswith(PREFIX):
        return load_folder(config)[0]
    from pipeline.data.tfds_images import describe_tfds

    return describe_tfds(config)
