"""What turns images into features."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.base.objects import load_object, offered
from pipeline.metrics import EXTRACTORS
from pipeline.metrics.names import check_extractor, split_onnx


@dataclasses.dataclass(frozen=True)
class Features:
    """What an extractor says of images.

    Attributes:
      features: float32 [n, d].
      probabilities: of the data set's classes, float32 [n, K]; None if the extractor does not know them.
      modes: of data with countable modes, which one an image shows, int64 [n]; otherwise None.
      num_modes: how many there are.
    """

    features: np.ndarray
    probabilities: np.ndarray | None
    modes: np.ndarray | None = None
    num_modes: int = 0

    def take(self, indices: np.ndarray) -> "Features":
        """Chooses what it says of some of the images; indices are int64 [k]."""
        probabilities = None if self.probabilities is None else self.probabilities[indices]
        modes = None if self.modes is None else self.modes[indices]
        return Features(self.features[indices], probabilities, modes, self.num_modes)


class Extractor(Protocol):
    """A fixed network that describes images.

    Attributes:
      name: such as "classifier"; distances of different extractors can't be compared.
      title: what it is called where a figure is named for people; those of users need none and go by their name.
      facts: what to print beside its figures, such as the classifier's test accuracy, how images are resized, or which
        weights it has: numbers and text. Distances under other facts can't be compared either.
    """

    name: str
    title: str
    facts: dict[str, float | str]

    def __call__(self, images: np.ndarray) -> Features:
        """Describes uint8 [n, H, W, C]."""


def identity(extractor: Extractor | None) -> str:
    """What tells an extractor from others of its name: eight digits of its facts' SHA-256; empty if it has none."""
    facts = getattr(extractor, "facts", {})
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:8] if facts else ""


@dataclasses.dataclass(frozen=True)
class Labelled:
    """What a classifier may be trained on.

    Attributes:
      name: the data set's, as in `--dataset`.
      class_names: one name per label.
      image_shape: (height, width, channels).
      train: images uint8 [n, H, W, C] and labels int32 [n].
      test: of the same form, not among `train`.
    """

    name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]


def make_extractor(
    name: str,
    *,
    labelled: Callable[[], Labelled],
    stacked: bool = False,
    data_dir: str = "",
    weights: str = "",
    download: bool = False,
) -> Extractor:
    """Makes an extractor.

    Args:
      name: in `EXTRACTORS`, an ONNX file, or the import path of a class or function that makes one; it is called with
        those of the other arguments that it takes.
      labelled: loads what a classifier may be trained on.
      stacked: whether each channel of an image is an image of those data.
      data_dir: where things may be kept.
      weights: the value of `--inception_weights`.
      download: whether weights may be fetched.

    Returns:
      The extractor.

    Raises:
      MirageError: if it can't be had, or is none.
    """
    check_extractor(name)
    if split_onnx(name)[0]:
        return load_object("pipeline.metrics.onnx_file:OnnxFile", "extractor")(name)
    make: Any = EXTRACTORS.get(name, name)
    make = load_object(make, "extractor") if isinstance(make, str) else make
    if not callable(make):
        raise MirageError(f"--extractor={name} is no class or function; expected one that makes an extractor.")
    try:
        extractor = offered(
            make, labelled=labelled, stacked=stacked, data_dir=data_dir, weights=weights, download=download
        )
    except TypeError as error:
        raise MirageError(
            f"--extractor={name} can't be made ({error}); it may take labelled, stacked, data_dir, weights and "
            "download."
        ) from error
    if not (callable(extractor) and isinstance(getattr(extractor, "name", None), str)):
        made = " ".join(repr(extractor).split())[:100]
        raise MirageError(
            f"--extractor={name} made {made}; expected an object with a `name` that can be called, see "
            "pipeline.metrics.extractor.Extractor."
        )
    return extractor
