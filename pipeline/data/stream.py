"""What can only be read from its beginning, once, as a data set: it is written out, and put in order.

A tf.data pipeline that shuffles gives another order whenever it is read. So that training is exact, and goes on where
it was, the order is made the content's own: examples are sorted by their SHA-256. The same examples are the same data
set whatever order they come in, and others are others.
"""

import hashlib
import io
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tqdm
from PIL import Image

from pipeline.base.errors import MirageError
from pipeline.base.folders import cache_folder
from pipeline.base.names import printable
from pipeline.data.attributes import Labels, labels_from
from pipeline.data.elements import Pixels, plain_labels
from pipeline.data.fingerprint import fingerprint_of
from pipeline.data.options import DataOptions
from pipeline.data.pixels import fit_array, to_grey_or_rgb
from pipeline.data.source import Source, skipping
from pipeline.data.spec import DataSpec

_PROGRESS_S = 3.0
_LOOK_EVERY = 2**26  # bytes
# Data that may have no end: of so many images none may have come four times each.
_WATCHED, _TIMES, _FEWEST = 1000, 4, 10_000


def open_stream(
    elements: Iterable[Any], options: DataOptions, given: str, known: Sequence[str] = (), *, ends: bool = False
) -> Source:
    """Reads all examples, and writes them out: into memory up to `device_data_mb`, into a file beyond.

    Args:
      elements: images, (image, label) or {"image": image, "label": label}, one by one or in batches; a label may be
        several numbers, [A] or by name.
      options: `dataset`, which is its name, `data_dir`, `image_size`, `fit`, `random_crop`,
        `transparency` and `device_data_mb` count.
      given: what was given, as an error shall name it.
      known: names of the classes, if the data say them.
      ends: whether it is known that it does.

    Returns:
      The images, in the order of their checksums.

    Raises:
      MirageError: if they are no images, or there is no end of them.
    """
    reader = _Reader(options, given, ends=ends)
    with tqdm.tqdm(desc="reading", unit="image", delay=_PROGRESS_S, file=sys.stderr, disable=None) as progress:
        for element in elements:
            progress.update(reader.add(element))
    return reader.source(known)


class _Reader:
    """Takes elements, keeps their images."""

    def __init__(self, options: DataOptions, given: str, *, ends: bool) -> None:
        self._options, self._given = options, given
        self._pixels = Pixels(given, options)
        self._spool = _Spool(options, given)
        self._repeats = _Repeats(given, ends=ends)
        self._digests: list[bytes] = []
        self._labels: list[Any] = []
        self._names: tuple[str, ...] = ()
        self._ranks: tuple[int, bool, bool] | None = None
        self._shape: tuple[int, ...] = ()

    def add(self, element: Any) -> int:
        """Takes an image or a batch; returns how many images that were."""
        image, label = _pair(element, self._given)
        pixels, single = self._batch(image, label)
        if not len(pixels):
            return 0
        pixels = self._pixels(pixels)
        labels = None if label is None else self._read_labels(label, len(pixels), single=single)
        for index, pixel in enumerate(pixels):
            self._keep(pixel, "" if labels is None else str(labels[index]))
        return len(pixels)

    def _read_labels(self, label: Any, count: int, *, single: bool) -> list[Any]:
        """Takes the labels of an element; returns them as numbers, names, or lists of numbers."""
        if isinstance(label, Mapping):
            self._names = tuple(map(str, label))
            label = np.stack([np.asarray(each) for each in label.values()], axis=-1)
        array = np.asarray(label)
        array = array[None] if single and array.ndim < 2 and (array.ndim == 0 or array.size > 1) else array
        if array.ndim == 2 and array.shape[1] > 1:
            found = array.astype(np.float64).tolist() if array.dtype.kind in "biuf" else array.tolist()
        elif array.dtype.kind == "f" and (array != np.rint(array)).any():
            found = array.astype(np.float64).ravel().tolist()
        else:
            found = plain_labels(array, self._given).tolist()
        if len(found) != count:
            raise MirageError(f"{self._given}: {len(found)} labels for {count} images; expected one for each.")
        kinds = [str if isinstance(each, str) else len(each) if isinstance(each, list) else 0 for each in found]
        first = self._labels[0] if self._labels else found[0]
        if {*kinds} != {str if isinstance(first, str) else len(first) if isinstance(first, list) else 0}:
            raise MirageError(f"{self._given}: some labels are numbers and some are names, or lists; choose one.")
        self._labels += found
        return found

    def _batch(self, image: Any, label: Any) -> tuple[np.ndarray, bool]:
        """Returns (images [N, H, W] or [N, H, W, C], whether it was one alone)."""
        if isinstance(image, Image.Image):
            image = to_grey_or_rgb(image, keep=self._options.transparency == "keep")
        array = np.asarray(image)
        flat = array.ndim == 2 or (array.ndim == 3 and (_is_scalar(label) or array.shape[-1] <= 4))
        if self._ranks is None and array.ndim == 3 and not flat and label is None and array.shape[0] in (1, 3):
            raise MirageError(
                f"{self._given}: images of shape {list(array.shape)}; expected [height, width, channels]: channels "
                "come last: move that axis."
            )
        ranks = (array.ndim, flat, label is None)
        if self._ranks is None:
            self._ranks = ranks
        if ranks != self._ranks or array.ndim not in (2, 3, 4):
            raise MirageError(
                f"{self._given}: an element of {_told(array, label)}{self._first()}; expected images of [height, "
                "width, channels] in each, or batches of them, and labels with all or none."
            )
        return (array[None] if flat else array), flat

    def _first(self) -> str:
        return f" after {len(self._digests):,} others" if self._digests else ""

    def _keep(self, pixels: np.ndarray, label: str) -> None:
        content = np.ascontiguousarray(pixels)
        fitted = np.ascontiguousarray(fit_array(content, self._options, self._given))
        shape = fitted.shape
        if self._shape and shape != self._shape:
            now, first = ("x".join(map(str, each)) for each in (shape, self._shape))
            remedy = (
                "set image_size to bring all to one"
                if shape[2] == self._shape[2]
                else "make all grey, all RGB or all RGBA"
            )
            raise MirageError(
                f"{self._given} mixes sizes: the first image is {first} and number {len(self._digests) + 1:,} is "
                f"{now}; {remedy}."
            )
        self._shape = shape
        digest = hashlib.sha256(f"{pixels.shape} {label}\0".encode())
        digest.update(content.data)
        self._digests.append(digest.digest())
        self._repeats.see(self._digests[-1])
        self._spool.append(fitted)

    def source(self, known: Sequence[str]) -> Source:
        """What was read."""
        count = len(self._digests)
        if not count:
            raise MirageError(f"{self._given} gives no images; expected some.")
        self._pixels.end()
        found = Labels(np.zeros(count, np.int32))
        if self._labels:
            apart = self._options.split == "test"
            found = labels_from(self._labels, self._given, known, self._names, apart=apart)
        height, width, channels = self._shape
        name, names = printable(self._options.dataset), found.class_names
        spec = DataSpec(name, "", (height, width, channels), names, count, attributes=found.attributes)
        order = sorted(range(count), key=self._digests.__getitem__)
        spool, size = self._spool, height * width * channels

        def examples() -> Iterator[tuple[np.ndarray, Any]]:
            for index in order:
                yield (
                    np.frombuffer(spool.read(index * size, size), np.uint8).reshape(spec.image_shape),
                    found.values[index],
                )

        identity = fingerprint_of(["stream", *(self._digests[index] for index in order)])
        return Source(spec, skipping(examples), lambda: identity)


class _Repeats:
    """Notices data that begin again and again."""

    def __init__(self, given: str, *, ends: bool) -> None:
        self._given, self._ends = given, ends
        self._count = 0
        self._watched: dict[bytes, int] = {}

    def see(self, digest: bytes) -> None:
        """Counts an example; raises MirageError if all of the first ones have come often."""
        if self._ends:
            return
        self._count += 1
        if digest in self._watched or self._count <= _WATCHED:
            self._watched[digest] = self._watched.get(digest, 0) + 1
        if self._count % _FEWEST == 0 and min(self._watched.values()) >= _TIMES:
            raise MirageError(
                f"{self._given} gives the same images again and again, without end as it seems; leave out what repeats "
                "them, or end it, such as by .take(n)."
            )


class _Spool:
    """Bytes, in memory as long as they are few, then in a file that is gone with the process."""

    def __init__(self, options: DataOptions, given: str) -> None:
        self._file: Any = io.BytesIO()
        self._options, self._given = options, given
        self._room = options.device_data_mb * 2**20
        self._size = self._looked_at = 0
        self._folder: Path | None = None

    def append(self, content: np.ndarray) -> None:
        """Writes at the end; raises MirageError if there is no space for it and the copy that is in order."""
        try:
            if self._folder is None and self._size + content.nbytes > self._room:
                self._move()
            if self._folder is not None and self._size - self._looked_at > _LOOK_EVERY:
                self._looked_at = self._size
                if shutil.disk_usage(self._folder).free < self._size:
                    raise OSError("too little space is left for a copy in order")
            self._file.write(content.data)
        except OSError as error:
            raise MirageError(
                f"{self._given} can't be written out after {self._size / 2**30:,.1f} GiB "
                f"({error.strerror or error}); if it has no end, give it one, such as by .take(n), else pass data_dir "
                "where you may write and there is space."
            ) from None
        self._size += content.nbytes

    def _move(self) -> None:
        self._folder = cache_folder(self._options.data_dir)
        self._folder.mkdir(parents=True, exist_ok=True)
        file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - see __del__
        file.write(self._file.getbuffer())
        self._file = file

    def read(self, start: int, size: int) -> bytes:
        """Reads some of what was written."""
        self._file.seek(start)
        return self._file.read(size)

    def __del__(self) -> None:
        """Gives the space back."""
        self._file.close()


def _pair(element: Any, given: str) -> tuple[Any, Any]:
    """Takes (image, label or None) out of an element."""
    if isinstance(element, Mapping):
        if "image" not in element:
            raise MirageError(f"{given}: an element with {', '.join(map(str, element))}; expected image, and label.")
        return element["image"], element.get("label")
    if isinstance(element, tuple | list):
        if len(element) not in (1, 2):
            raise MirageError(f"{given}: an element of {len(element)} parts; expected an image, or (image, label).")
        return element[0], element[1] if len(element) == 2 else None
    return element, None


def _is_scalar(label: Any) -> bool:
    if isinstance(label, Mapping):
        return all(np.ndim(each) == 0 for each in label.values())
    return label is not None and np.ndim(label) == 0


def _told(array: np.ndarray, label: Any) -> str:
    labels = "no label" if label is None else f"labels of shape {list(np.shape(label))}"
    return f"shape {list(array.shape)} and type {array.dtype} with {labels}"
