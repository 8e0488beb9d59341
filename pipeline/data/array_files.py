"""`--dataset=array:/path`: images in a file of NumPy, .npy or .npz."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.base.failures import in_a_line
from pipeline.base.folders import local_folder
from pipeline.base.names import printable
from pipeline.data.arrays import open_arrays
from pipeline.data.attributes import columns_of, labels_from
from pipeline.data.options import DataOptions
from pipeline.data.source import Origin, Source
from pipeline.data.splits import slice_of

PREFIX = "array:"
# What people call them, those of a test split last.
_IMAGES = ("images", "x", "x_train", "train_images", "data", "X", "arr_0")
_LABELS = ("labels", "y", "y_train", "train_labels", "label", "Y", "arr_1")
_NAMES = "attribute_names"
_TEST_IMAGES, _TEST_LABELS = ("x_test", "test_images"), ("y_test", "test_labels")


def array_origin(options: DataOptions) -> Origin:
    """Where `--dataset=array:/path` comes from; arrays named x_test and y_test are kept apart for testing."""

    def test() -> Origin | None:
        apart = _arrays(options, _TEST_IMAGES, _TEST_LABELS)
        as_test = dataclasses.replace(options, split="test")
        return apart and Origin(lambda: _source(as_test, *apart, slice(None)))

    def open_train() -> Source:
        arrays = _arrays(options, _IMAGES, _LABELS)
        if arrays is None:
            raise MirageError(f"{_given(options)} holds none of {', '.join(_IMAGES)}; expected images, and labels.")
        return _source(options, *arrays, slice_of(options.split, len(arrays[0])))

    return Origin(open_train, test=test)


def _given(options: DataOptions) -> str:
    return f"--dataset={printable(options.dataset)}"


def _arrays(options: DataOptions, images: tuple[str, ...], labels: tuple[str, ...]) -> tuple[Any, Any] | None:
    """Returns (images, labels or None) by their names; None if there are no such images."""
    path = local_folder(f"--dataset={options.dataset}", options.dataset.removeprefix(PREFIX))
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            beside = path.with_name(f"{path.stem}_labels.npy")
            return (loaded, np.load(beside) if beside.exists() else None) if images is _IMAGES else None
        with loaded:
            image, label = (next((name for name in names if name in loaded), None) for names in (images, labels))
            if image is None:
                return None
            given = None if label is None else loaded[label]
            if given is not None and given.ndim == 2 and _NAMES in loaded:
                given = _by_name(given, loaded[_NAMES].astype(str).tolist())
            return loaded[image], given
    except Exception as error:  # of archives that are damaged it raises what it likes
        reason = getattr(error, "strerror", None) or in_a_line(error, 150)
        raise MirageError(
            f"{_given(options)} can't be read ({reason}); expected a .npy file of images, or an .npz file with images "
            "and labels."
        ) from None


def _by_name(labels: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    if len({*names}) != labels.shape[1] or len(names) != labels.shape[1]:
        raise ValueError(f"{_NAMES} has {len({*names})} names for {labels.shape[1]} columns of labels")
    return dict(zip(names, labels.T, strict=True))


def _source(options: DataOptions, images: Any, labels: Any, part: slice) -> Source:
    if labels is None:
        return open_arrays(images[part], None, options, _given(options))
    count = len(next(iter(labels.values()))) if isinstance(labels, Mapping) else len(labels)
    if count != len(images):
        raise MirageError(f"{_given(options)} has {count:,} labels for {len(images):,} images; save it again.")
    apart = options.split == "test"
    if columns_of(labels, apart=apart) is None:
        return open_arrays(images[part], labels[part], options, _given(options))
    # Of a part too, attributes are those of all.
    found = labels_from(labels, _given(options), apart=apart)
    return open_arrays(images[part], dataclasses.replace(found, values=found.values[part]), options, _given(options))
