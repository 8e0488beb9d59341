"""What somebody's images and labels must be: uint8 pixels, channels last, and labels that are numbers or names."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.base.names import printable
from pipeline.data.options import DataOptions
from serving.contract.pixels import over_white

_MOST_CLASSES = 2**16


class Pixels:
    """Makes uint8 of images, and refuses those that it would change: what floats mean is never guessed."""

    def __init__(self, given: str, options: DataOptions) -> None:
        """Starts.

        Args:
          given: what was given, as an error shall name it.
          options: `transparency` counts: whether of four channels, red, green, blue and alpha, three are made.
        """
        self._given, self._flatten = given, options.transparency == "white"
        self._largest: float | None = None
        self._type = ""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Checks images.

        Args:
          images: [N, H, W, C] or [N, H, W], N at least 1.

        Returns:
          uint8 [N, H, W, C]; of uint8, a view, unless pixels are laid over white.

        Raises:
          MirageError: if they are none, or no whole numbers from 0 to 255.
        """
        images = images if images.ndim == 4 else images[..., None]
        self._check_shape(images.shape)
        images = self._whole_numbers(images)
        return over_white(images) if images.shape[3] == 4 and self._flatten else images

    def _whole_numbers(self, images: np.ndarray) -> np.ndarray:
        if images.dtype == np.uint8:
            return images
        if images.dtype.kind not in "iuf":
            raise MirageError(
                f"{self._given}: images of {images.dtype}; expected uint8 from 0 to 255: bring them to that range and "
                "cast to uint8."
            )
        low, high = float(images.min()), float(images.max())
        if not np.isfinite(low + high):
            raise MirageError(f"{self._given}: images hold NaN or infinite values; expected uint8 from 0 to 255.")
        if low < 0 or high > 255 or (images.dtype.kind == "f" and (images != np.rint(images)).any()):
            raise self._refusal(str(images.dtype), low, high)
        self._largest, self._type = max(self._largest or 0.0, high), str(images.dtype)
        return images.astype(np.uint8)

    def end(self) -> None:
        """Refuses other numbers than uint8 if all are 0 or 1, which would be nearly black; raises MirageError."""
        if self._largest is not None and self._largest <= 1:
            raise self._refusal(self._type, 0, self._largest)

    def _refusal(self, dtype: str, low: float, high: float) -> MirageError:
        if high <= 1 and low >= 0:
            remedy = "scale by 255, round and cast to uint8"
        elif high <= 1 and low >= -1:
            remedy = "add 1, scale by 127.5, round and cast to uint8"
        elif low >= 0 and high <= 255:
            remedy = "round and cast to uint8"
        else:
            remedy = "bring them to that range, round and cast to uint8"
        return MirageError(
            f"{self._given}: images of {dtype} from {low:g} to {high:g}; expected uint8 from 0 to 255: {remedy}."
        )

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        what = f"{self._given}: images of shape {list(shape[1:])}"
        if len(shape) != 4 or not all(shape):
            raise MirageError(f"{what}; expected [height, width, channels] or [height, width].")
        if shape[3] not in (1, 3, 4):
            last = shape[1] in (1, 3, 4)
            remedy = "channels come last: move that axis" if last else "leave out what is no grey, red, green or blue"
            raise MirageError(f"{what}; expected 1, 3 or, with alpha, 4 channels: {remedy}.")


def plain_labels(labels: Any, given: str) -> np.ndarray:
    """Brings labels to numbers or names.

    Args:
      labels: [N] or [N, 1].
      given: what was given, as an error shall name it.

    Returns:
      int64 or str [N].

    Raises:
      MirageError: if they are something else.
    """
    array = np.asarray(labels)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise MirageError(
            f"{given}: labels of shape {list(array.shape)}; expected one number or name for each image; of one-hot "
            "labels, take the argmax."
        )
    if array.dtype.kind in "SO" and all(isinstance(each, bytes | str) for each in array.tolist()):
        texts = [each.decode("utf-8", "replace") if isinstance(each, bytes) else each for each in array.tolist()]
        return np.array(texts, str)
    if array.dtype.kind in "UT":
        return array
    if array.dtype.kind == "f" and np.isfinite(array).all() and (array == np.rint(array)).all():
        array = array.astype(np.int64)
    if array.dtype.kind not in "iub":
        raise MirageError(f"{given}: labels of {array.dtype}; expected whole numbers from 0, or names of classes.")
    return array.astype(np.int64)


def classes_of(labels: np.ndarray, given: str, known: Sequence[str] = ()) -> tuple[np.ndarray, tuple[str, ...]]:
    """Numbers classes.

    Args:
      labels: int64 or str [N], see `plain_labels`.
      given: what was given, as an error shall name it.
      known: names of the classes, if the data say them.

    Returns:
      (label of each image, int32 [N]; class names in label order). Numbers stay what they are, and their classes are
      called by them where no names are known; names are numbered in their order, as numbers if all are integers.

    Raises:
      MirageError: if numbers are negative, or too large to count classes.
    """
    if labels.dtype.kind == "i":
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= _MOST_CLASSES:
            raise MirageError(
                f"{given}: labels from {low:,} to {high:,}; expected 0 to {_MOST_CLASSES - 1:,}: number the classes "
                "from 0, or give names."
            )
        names = tuple(printable(name) for name in known) if len(known) > high else tuple(map(str, range(high + 1)))
        return labels.astype(np.int32), names
    found = {str(name) for name in np.unique(labels)}
    ordered = sorted(found, key=class_order(found))
    numbers = {name: number for number, name in enumerate(ordered)}
    codes = np.fromiter((numbers[name] for name in labels.tolist()), np.int32, len(labels))
    return codes, tuple(printable(name) for name in ordered)


def class_order(names: set[str]) -> Callable[[str], tuple[int, str]]:
    """By number if all names are integers, else by text."""
    if all(re.fullmatch("-?[0-9]+", name) for name in names):
        return lambda name: (int(name), name)
    return lambda name: (0, name)
