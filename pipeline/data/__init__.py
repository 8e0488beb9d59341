"""From the name of a data set to its images: in memory, or in a mapped file if they are many."""

import dataclasses

import numpy as np

from pipeline.config import Config, DataSpec, MirageError
from pipeline.data.folder import PREFIX, open_folder
from pipeline.data.source import Source

__all__ = ["Dataset", "describe", "load"]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set.

    Attributes:
      spec: its description.
      images: uint8 [N, H, W, C]; a `np.memmap` if they are more than `--device_data_mb`.
      labels: int32 [N]; zeros if the data has no labels.
    """

    spec: DataSpec
    images: np.ndarray
    labels: np.ndarray


def load(config: Config) -> Dataset:
    """Loads the data set that a configuration names, preparing it first if necessary.

    Args:
      config: `dataset`, `data_dir`, `manual_dir`, `split`, `image_size`, `device_data_mb`, `batch_size`
        and `conditional` count.

    Returns:
      All examples of the split, always in the same order.

    Raises:
      MirageError: if the data can't be had or read, or doesn't suit the configuration.
    """
    source = _open(config)
    spec = source.spec
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
    if spec.num_bytes > config.device_data_mb * 2**20:
        from pipeline.data.decoded import decoded

        return Dataset(spec, *decoded(config, source))
    images = np.empty((spec.num_examples, *spec.image_shape), np.uint8)
    labels = np.zeros(spec.num_examples, np.int32)
    for index, (image, label) in enumerate(source.examples):
        images[index], labels[index] = image, label
    return Dataset(spec, images, labels)


def load_test(config: Config) -> Dataset | None:
    """Loads the images that a data set keeps apart for testing.

    Args:
      config: as for `load`, whose `split` is not used.

    Returns:
      The split `test`, or None if there is none.

    Raises:
      MirageError: if the data can't be had or read.
    """
    if config.dataset.startswith(PREFIX):
        return None
    from pipeline.data.tfds_images import split_names

    if "test" not in split_names(config):
        return None
    return load(dataclasses.replace(config, split="test", batch_size=1))


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
        return open_folder(config).spec
    from pipeline.data.tfds_images import describe_tfds

    return describe_tfds(config)


def _open(config: Config) -> Source:
    if config.dataset.startswith(PREFIX):
        return open_folder(config)
    from pipeline.data.tfds_images import open_tfds  # tensorflow-datasets is slow to import

    return open_tfds(config)
