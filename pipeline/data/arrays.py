"""Arrays as a data set: uint8 ones are used where they are, in memory or mapped from a file."""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tqdm

from pipeline.base.errors import MirageError
from pipeline.base.names import printable
from pipeline.data.attributes import Labels, labels_from
from pipeline.data.elements import Pixels
from pipeline.data.fingerprint import fingerprint_of
from pipeline.data.options import DataOptions
from pipeline.data.pixels import fit_array, wrong_size
from pipeline.data.source import Source, skipping
from pipeline.data.spec import DataSpec

_PART_BYTES = 2**26
_PROGRESS_S = 3.0


def is_array(thing: Any) -> bool:
    """Whether it is an array, of NumPy or another library."""
    return all(hasattr(thing, name) for name in ("__array__", "shape", "dtype"))


def open_arrays(images: Any, labels: Any, options: DataOptions, given: str, known: Sequence[str] = ()) -> Source:
    """Opens arrays.

    Args:
      images: [N, H, W, C] or [N, H, W], of uint8 or other whole numbers from 0 to 255.
      labels: N numbers or names, several for each of N, see `labels_from`, or None.
      options: `dataset`, which is its name, `image_size`, `fit`, `random_crop` and `transparency` count.
      given: what was given, as an error shall name it.
      known: names of the classes, if the data say them.

    Returns:
      The images in their order; not copied, if they are uint8 and not resized.

    Raises:
      MirageError: if they can't be images, or the labels not theirs.
    """
    array = images if isinstance(images, np.ndarray) else np.asarray(images)
    if array.ndim not in (3, 4) or not len(array):
        raise MirageError(
            f"{given}: an array of shape {list(array.shape)}; expected images of [number, height, width, channels] or "
            "[number, height, width]."
        )
    count = len(array)
    found = Labels(np.zeros(count, np.int32))
    if labels is not None:
        found = labels_from(labels, given, known, apart=options.split == "test")
    codes = found.values
    if len(codes) != count:
        raise MirageError(f"{given}: {len(codes):,} labels for {count:,} images; expected one for each.")
    pixels = Pixels(given, options)
    for part in _parts(array):
        shape = pixels(array[part]).shape[1:]
        if array.dtype == np.uint8:
            break
    pixels.end()
    height, width, channels = shape
    size = (*(options.prepared_size or (height, width)), channels)
    if size != shape and options.fit == "none":
        raise wrong_size(options, given, "each image", (height, width))
    name = printable(options.dataset)
    spec = DataSpec(name, "", size, found.class_names, count, attributes=found.attributes)

    def examples() -> Iterator[tuple[np.ndarray, Any]]:
        for part in _parts(array):
            for image, label in zip(pixels(array[part]), codes[part], strict=True):
                yield fit_array(image, options, given), label

    def identify() -> str:
        digest = hashlib.sha256()
        parts = tqdm.tqdm(_parts(array), "checksum", delay=_PROGRESS_S, file=sys.stderr, disable=None)
        for part in parts:
            digest.update(np.ascontiguousarray(pixels(array[part])).data)
        return fingerprint_of(["arrays", str(shape), digest.hexdigest(), *found.identity(codes)])

    whole = array if array.ndim == 4 else array[..., None]
    as_it_is = array.dtype == np.uint8 and size == whole.shape[1:]
    return Source(spec, skipping(examples), identify, (whole, codes) if as_it_is else None)


def _parts(array: np.ndarray) -> list[slice]:
    """Cuts an array into parts of which each takes little memory."""
    step = max(1, _PART_BYTES * len(array) // max(array.nbytes, 1))
    return [slice(start, start + step) for start in range(0, len(array), step)]
