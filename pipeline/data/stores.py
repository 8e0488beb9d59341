"""The two forms of prepared images: raw pixels in one file that NumPy maps, or picture files behind one another."""

import abc
import hashlib
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pipeline.data.encoded import EncodedImages
from pipeline.data.source import Source, room_for_labels
from pipeline.data.spec import DataSpec

LABELS = "labels.npy"
_IMAGES, _PICTURES, _OFFSETS = "images.npy", "pictures.bin", "offsets.npy"
_BLOCK = 2**22


class Store(abc.ABC):
    """Writes images into a folder, one after the other; what is written so far can be told and found again.

    Attributes:
      files: names of the files whose bytes count, the content first.
      done: number of images that are written.
    """

    files: tuple[str, ...]
    _file: BinaryIO

    def __init__(self, folder: Path, spec: DataSpec, progress: Mapping[str, Any]) -> None:
        """Goes on where an earlier store has noted `progress`, or begins.

        Args:
          folder: where to.
          spec: the data set.
          progress: what `note` returned; empty to begin.

        Raises:
          ValueError, KeyError, OSError: if what is there is not what was noted.
        """
        self._folder, self.spec = folder, spec
        self.done = int(progress["done"]) if progress else 0
        if not progress:
            np.save(folder / LABELS, room_for_labels(spec))
        self._labels = np.load(folder / LABELS, mmap_mode="r+")
        if progress and self._labels_digest() != progress["labels"]:
            raise ValueError("other labels than were noted")

    def close(self) -> None:
        """Writes no more."""
        self._file.close()

    @abc.abstractmethod
    def items(self, source: Source) -> Iterable[tuple[Any, Any]]:
        """What is to be added, from the first one that is not done."""

    @abc.abstractmethod
    def _add(self, item: Any) -> None: ...

    def _goes_on(self, size: int, progress: Mapping[str, Any]) -> None:
        """Opens the content behind its first `size` bytes, which must be those that were noted."""
        path = self._folder / self.files[0]
        self._digest = _digest(path, size)
        if progress and self._digest.hexdigest() != progress["content"]:
            raise ValueError("other content than was noted")
        self._file = path.open("r+b")
        self._file.seek(size)

    def _write(self, content: Any) -> None:
        self._file.write(content)
        self._digest.update(content)

    def add(self, item: Any, label: Any) -> None:
        """Writes the next image."""
        self._labels[self.done] = label
        self._add(item)
        self.done += 1

    def note(self) -> dict[str, Any]:
        """Brings all to the disk, and says what is there."""
        self._labels.flush()
        self._file.flush()
        os.fsync(self._file.fileno())
        return {"done": self.done, "labels": self._labels_digest(), "content": self._digest.hexdigest()}

    def end(self) -> dict[str, str]:
        """Completes all files; returns their SHA-256 in hexadecimal, by name."""
        self.note()
        content, *others = self.files
        digests = {content: self._digest.hexdigest()}  # not read again: it may be larger than memory
        return digests | {name: _digest(self._folder / name).hexdigest() for name in others}

    def _labels_digest(self) -> str:
        stored = "<f4" if self.spec.attributes else "<i4"
        return hashlib.sha256(self._labels[: self.done].astype(stored).tobytes()).hexdigest()


class PixelStore(Store):
    """Raw pixels, uint8 [N, H, W, C]; written as a file, since what is mapped counts as memory of the process."""

    files = (_IMAGES, LABELS)

    def __init__(self, folder: Path, spec: DataSpec, progress: Mapping[str, Any]) -> None:
        """See `Store`."""
        super().__init__(folder, spec, progress)
        path, shape = folder / _IMAGES, (spec.num_examples, *spec.image_shape)
        if not progress:
            np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        images = np.lib.format.open_memmap(path, mode="r")
        if images.shape != shape:
            raise ValueError("other pixels than were noted")
        self._goes_on(images.offset + self.done * math.prod(spec.image_shape), progress)

    def items(self, source: Source) -> Iterable[tuple[Any, Any]]:
        """See `Store`."""
        return source.since(self.done)

    def _add(self, item: np.ndarray) -> None:
        self._write(np.ascontiguousarray(item).data)


class PictureStore(Store):
    """Picture files, of the shape that all have, behind one another."""

    files = (_PICTURES, _OFFSETS, LABELS)

    def __init__(self, folder: Path, spec: DataSpec, progress: Mapping[str, Any]) -> None:
        """See `Store`."""
        super().__init__(folder, spec, progress)
        path = folder / _PICTURES
        if not progress:
            path.write_bytes(b"")
            np.save(folder / _OFFSETS, np.zeros(spec.num_examples + 1, np.int64))
        self._offsets = np.load(folder / _OFFSETS, mmap_mode="r+")
        self._goes_on(int(self._offsets[self.done]), progress)
        self._file.truncate()

    def items(self, source: Source) -> Iterable[tuple[Any, Any]]:
        """See `Store`."""
        return source.contents_since(self.done)

    def _add(self, item: bytes) -> None:
        self._write(item)
        self._offsets[self.done + 1] = self._offsets[self.done] + len(item)

    def note(self) -> dict[str, Any]:
        """See `Store`."""
        self._offsets.flush()
        return super().note()


STORES: dict[str, type[Store]] = {"pixels": PixelStore, "pictures": PictureStore}


def opened(folder: Path, image_shape: tuple[int, int, int]) -> tuple[Any, np.ndarray]:
    """Opens what a store has written: (what looks like uint8 [N, H, W, C]; labels int32 [N] or float32 [N, A])."""
    labels = np.load(folder / LABELS)
    if (folder / _IMAGES).exists():
        return np.load(folder / _IMAGES, mmap_mode="r"), labels
    content = np.memmap(folder / _PICTURES, np.uint8, "r")
    offsets = np.load(folder / _OFFSETS, mmap_mode="r")
    return EncodedImages(content, offsets, image_shape, range(len(labels))), labels


def _digest(path: Path, size: int | None = None) -> Any:
    """SHA-256 of a file, or of its beginning."""
    digest, left = hashlib.sha256(), path.stat().st_size if size is None else size
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(left, _BLOCK))):
            digest.update(block)
            left -= len(block)
    return digest
