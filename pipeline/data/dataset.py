"""From a data set, a name or an object, to its images: in memory, or in a mapped file if they are many."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.base.crew import shared
from pipeline.base.errors import MirageError
from pipeline.base.folders import local_folder
from pipeline.data import stacked
from pipeline.data.attributes import Labels, labels_like
from pipeline.data.folder import PREFIX
from pipeline.data.notices import say_once
from pipeline.data.objects import origin_of
from pipeline.data.options import DataOptions
from pipeline.data.source import Source, room_for_labels
from pipeline.data.spec import DataSpec
from pipeline.data.stacked import base_options

# Pixels that take a moment to be decoded, so that they are worth a file.
_WORTHWHILE = 2**25

__all__ = [
    "Dataset",
    "base_options",
    "describe",
    "folder_of",
    "load",
    "load_test",
    "numbering",
    "open_data",
]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set.

    Attributes:
      spec: its description.
      images: uint8 [N, H, W, C]; a `np.memmap` if they were decoded into a file, `EncodedImages` if they are decoded
        whenever they are drawn.
      labels: int32 [N], zeros if the data has no labels; or of attributes, float32 [N, A] in the unit given.
      uncropped: uint8 [N, H + h, W + w, C], where `images` are the centres of larger ones, of which training takes
        parts at random; else None.
      streamed: whether they stay where they are, rather than on each device: they are more than `--device_data_mb`, or
        mapped from a file.
      origin: the object that was passed in place of a name, which may have a test split as well; else None.
    """

    spec: DataSpec
    images: np.ndarray
    labels: np.ndarray
    streamed: bool = False
    origin: Any = None
    uncropped: np.ndarray | None = None

    @property
    def drawn(self) -> np.ndarray:
        """What training draws from: `uncropped`, or `images`."""
        return self.images if self.uncropped is None else self.uncropped

    @property
    def margin(self) -> tuple[int, int]:
        """Rows and columns that `drawn` has beyond those of `images`."""
        height, width = (
            whole - part for whole, part in zip(self.drawn.shape[1:3], self.images.shape[1:3], strict=True)
        )
        return height, width

    @property
    def pixels(self) -> np.ndarray:
        """The images without what a mapped file's type does at each slice."""
        return np.asarray(self.images) if isinstance(self.images, np.ndarray) else self.images

    @property
    def fingerprint(self) -> str:
        """What the examples are by their content; empty where that isn't known."""
        return self.spec.fingerprint

    def numbered(self, like: DataSpec) -> "Dataset":
        """Gives its labels the meaning that they have in other data.

        Args:
          like: the description of those, by whose classes or attributes it goes; without labels, none count.

        Raises:
          MirageError: if it has no labels, or a class that is not among them, or other attributes.
        """
        own, class_names = self.spec.class_names, like.class_names
        given = f"the test images of --dataset={self.spec.name}"
        if not like.num_labels or (own == class_names and not like.attributes):
            return self
        if like.attributes:
            found = labels_like(Labels(self.labels, own, self.spec.attributes), like.attributes)
            if found is None:
                raise MirageError(f"{given} have other attributes than the training images; give them the same.")
            spec = dataclasses.replace(self.spec, attributes=found.attributes)
            return dataclasses.replace(self, spec=spec, labels=found.values)
        foreign = sorted({*own} - {*class_names})
        if foreign or not own:
            what = f"the class {foreign[0]}, which the training images don't have" if own else "no labels"
            raise MirageError(f"{given} have {what}; give them the same classes.")
        new_labels = np.array([class_names.index(name) for name in own], np.int32)
        spec = dataclasses.replace(self.spec, class_names=class_names)
        return dataclasses.replace(self, spec=spec, labels=new_labels[self.labels])

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


def open_data(data: Any, options: DataOptions, check: Callable[[DataSpec], object] = lambda spec: None) -> Dataset:
    """Opens a data set, preparing it first if necessary.

    Args:
      data: a name as for `--dataset`, or an object, see `pipeline.data.objects`; None for what `options.dataset` names.
      options: how to read it.
      check: is told the description before anything is decoded, and may refuse it.

    Returns:
      All examples of the split, always in the same order.

    Raises:
      MirageError: if the data can't be had or read.
    """
    with shared():
        source = origin_of(data, options).open()
        check(as_seen(source.spec, options))
        origin = None if isinstance(data, str) else data
        return dataclasses.replace(_read(source, options), origin=origin)


def load(options: DataOptions) -> Dataset:
    """Opens the data set that `options.dataset` names, see `open_data`."""
    return open_data(None, options)


def as_seen(spec: DataSpec, options: DataOptions) -> DataSpec:
    """The description of images without the margin with which they are prepared."""
    size = options.picture_size or spec.image_shape[:2]
    return dataclasses.replace(spec, image_shape=(*size, spec.image_shape[2]))


def decoded_into_a_file(spec: DataSpec, options: DataOptions) -> bool:
    """Whether data that are no arrays are decoded into a file, rather than into memory at each start."""
    return spec.num_bytes > min(options.device_data_mb * 2**20, _WORTHWHILE)


def _read(source: Source, options: DataOptions) -> Dataset:
    dataset = _read_whole(source, options)
    return centred(dataset, as_seen(dataset.spec, options))


def centred(dataset: Dataset, spec: DataSpec) -> Dataset:
    """Gives images that were prepared with a margin the size of a description, in which they are judged."""
    whole = dataset.images
    if spec.image_shape == dataset.spec.image_shape:
        return dataset
    height, width, _ = spec.image_shape
    top, left = (whole.shape[1] - height) // 2, (whole.shape[2] - width) // 2
    centres = whole[:, top : top + height, left : left + width]
    return dataclasses.replace(dataset, spec=spec, images=centres, uncropped=whole)


def _read_whole(source: Source, options: DataOptions) -> Dataset:
    spec = dataclasses.replace(source.spec, fingerprint=source.fingerprint)
    large = spec.num_bytes > options.device_data_mb * 2**20
    if source.arrays is not None:
        return Dataset(spec, *source.arrays, streamed=large or isinstance(source.arrays[0], np.memmap))
    if decoded_into_a_file(spec, options):
        from pipeline.data.prepared import NoPlaceError, prepared

        try:
            return Dataset(spec, *prepared(options, source), streamed=large)
        except NoPlaceError as error:
            if large:
                raise
            say_once(f"warning: {error} Until then they are decoded at each start.")
    try:
        images = np.empty((spec.num_examples, *spec.image_shape), np.uint8)
    except MemoryError:
        raise MirageError(
            f"--dataset={spec.name} needs {spec.num_bytes / 2**30:,.1f} GiB of memory, and there is less; lower "
            "--device_data_mb, so that it is decoded into a file."
        ) from None
    labels = room_for_labels(spec)
    for index, (image, label) in enumerate(source):
        images[index], labels[index] = image, label
    return Dataset(spec, images, labels)


def load_test(options: DataOptions, like: DataSpec | None = None, data: Any = None) -> Dataset | None:
    """Loads the images that a data set keeps apart for testing.

    Args:
      options: as for `open_data`; its `split` is not used.
      like: the description of the training images, by which labels are to be numbered; None for their own.
      data: as for `open_data`.

    Returns:
      The split `test`, or None if there is none.

    Raises:
      MirageError: if the data can't be had or read, or if they have other classes or attributes.
    """
    if data is None and folder_of(options.dataset) is not None:
        return None
    test = origin_of(data, options).test()
    if test is None:
        return None
    dataset = _read(test.open(), dataclasses.replace(options, split="test"))
    return dataset if like is None else dataset.numbered(like)


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


def describe(options: DataOptions, data: Any = None) -> DataSpec:
    """Describes a data set without downloading it.

    Args:
      options: as for `open_data`.
      data: as for `open_data`.

    Returns:
      Its description; `num_examples` is 0 if that isn't known yet.

    Raises:
      MirageError: if there is no such data set, or it holds no usable images.
    """
    origin = origin_of(data, options)
    return as_seen(origin.describe() if origin.describe is not None else origin.open().spec, options)


def folder_of(dataset: str) -> Path | None:
    """Path of the folder that `--dataset` names, also as stacked:folder:/path; None if it names none."""
    base = stacked.base_of(dataset)
    return local_folder(f"--dataset={dataset}", base.removeprefix(PREFIX)) if base.startswith(PREFIX) else None
