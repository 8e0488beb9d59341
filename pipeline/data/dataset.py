"""From the name of a data set to its images: in memory, or in a mapped file if they are many."""

import dataclasses
from pathlib import Path

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.base.folders import local_folder
from pipeline.config import Config
from pipeline.data import stacked
from pipeline.data.folder import PREFIX, open_folder
from pipeline.data.source import Source
from pipeline.data.spec import DataSpec

__all__ = ["Dataset", "base_config", "describe", "folder_of", "load", "load_test", "numbering"]


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

    @property
    def fingerprint(self) -> str:
        """What the examples are by their content; empty where that isn't known."""
        return self.spec.fingerprint

    def renumbered(self, new_labels: np.ndarray) -> "Dataset":
        """Gives its classes other labels.

        Args:
          new_labels: the new label of each, a permutation, see `numbering`.
        """
        if np.array_equal(new_labels, np.arange(len(new_labels))):
            return self
        names = tuple(self.spec.class_names[label] for label in np.argsort(new_labels))
        spec = dataclasses.replace(self.spec, class_names=names)
        return dataclasses.replace(self, spec=spec, labels=new_labels.astype(np.int32)[self.labels])


def load(config: Config) -> Dataset:
    """Loads the data set that a configuration names, preparing it first if necessary.

    Args:
      config: `dataset`, `data_dir`, `manual_dir`, `split`, `image_size`, `skip_bad_images`, `device_data_mb`,
        `batch_size` and `conditional` count.

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
            f"--dataset={spec.name} --split={config.split}; choose a smaller one."
        )
    if config.conditional and not spec.class_names:
        raise MirageError(
            f"--conditional needs labels, and --dataset={spec.name} has none; use --noconditional, or data with "
            "labels (for a folder: one sub-folder per class)."
        )
    spec = dataclasses.replace(spec, fingerprint=source.fingerprint)
    if spec.num_bytes > config.device_data_mb * 2**20:
        from pipeline.data.decoded import decoded

        return Dataset(spec, *decoded(config, source))
    try:
        images = np.empty((spec.num_examples, *spec.image_shape), np.uint8)
    except MemoryError:
        raise MirageError(
            f"--dataset={spec.name} needs {spec.num_bytes / 2**30:,.1f} GiB of memory, and there is less; lower "
            "--device_data_mb, so that it is decoded into a file."
        ) from None
    labels = np.zeros(spec.num_examples, np.int32)
    for index, (image, label) in enumerate(source):
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
    if folder_of(config.dataset) is not None:
        return None
    from pipeline.data.tfds_images import split_names

    if "test" not in split_names(base_config(config)):
        return None
    return load(dataclasses.replace(config, split="test", batch_size=1))


def numbering(data: DataSpec, class_names: tuple[str, ...]) -> np.ndarray:
    """The label that each class has where classes are in another order, such as in a run of an earlier version.

    Args:
      data: the data set.
      class_names: in that order.

    Returns:
      int32 [K], for `Dataset.renumbered`; the classes' own labels if those are not the same classes.
    """
    if len(set(class_names)) != len(data.class_names) or {*class_names} != {*data.class_names}:
        return np.arange(len(data.class_names), dtype=np.int32)
    labels = {name: label for label, name in enumerate(class_names)}
    return np.array([labels[name] for name in data.class_names], np.int32)


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
    if config.dataset.startswith(stacked.PREFIX):
        return stacked.describe_stacked(config, describe(base_config(config)))
    from pipeline.data.tfds_images import describe_tfds

    return describe_tfds(config)


def folder_of(dataset: str) -> Path | None:
    """Path of the folder that `--dataset` names, also as stacked:folder:/path; None if it names none."""
    base = stacked.base_of(dataset)
    return local_folder(f"--dataset={dataset}", base.removeprefix(PREFIX)) if base.startswith(PREFIX) else None


def base_config(config: Config) -> Config:
    """The configuration whose data set is the one that `config` stacks, or `config` itself."""
    return dataclasses.replace(config, dataset=stacked.base_of(config.dataset))


def _open(config: Config) -> Source:
    if config.dataset.startswith(PREFIX):
        return open_folder(config)
    if config.dataset.startswith(stacked.PREFIX):
        return stacked.open_stacked(config, lambda: _open(base_config(config)))
    from pipeline.data.tfds_images import open_tfds  # tensorflow-datasets is slow to import

    return open_tfds(config)
