"""Picture files that lie together, in a folder or in an archive."""

import abc
import copy
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.data.image_file import BadImageError, reason_of


class Collection(abc.ABC):
    """Picture files by their numbers; several threads may read at once.

    Attributes:
      root: the folder, or the archive.
      names: of the files within it, with slashes.
    """

    def __init__(self, root: Path, names: Sequence[str]) -> None:
        """Of some files; see the attributes."""
        self.root, self.names = root, names

    def __len__(self) -> int:
        """Number of files."""
        return len(self.names)

    def path(self, index: int) -> Path:
        """A file's path as errors show it."""
        return self.root / self.names[index]

    def among(self, names: Sequence[str]) -> "Collection":
        """The same place, of some of its files."""
        other = copy.copy(self)
        other.names = names
        return other

    @abc.abstractmethod
    def content(self, name: str) -> bytes | None:
        """Reads a file by its name, which need be none of `names`; None if there is none."""

    @abc.abstractmethod
    def holds(self, name: str) -> bool:
        """Whether there is a file of this name, which need be none of `names`."""

    @abc.abstractmethod
    def read(self, index: int) -> bytes:
        """Reads a file.

        Raises:
          BadImageError: if that can't be done.
        """

    @abc.abstractmethod
    def stamps(self) -> NDArray[np.int64]:
        """int64 [N, 4] that differ whenever files may differ: sizes, times of change.

        Raises:
          MirageError: if a file is gone.
        """


class FolderCollection(Collection):
    """Files in a folder."""

    def content(self, name: str) -> bytes | None:
        """See `Collection`."""
        return (self.root / name).read_bytes() if self.holds(name) else None

    def holds(self, name: str) -> bool:
        """See `Collection`."""
        return (self.root / name).is_file()

    def read(self, index: int) -> bytes:
        """See `Collection`."""
        try:
            with open(self.path(index), "rb") as file:
                return file.read()
        except (OSError, MemoryError) as error:
            raise BadImageError(reason_of(error)) from None

    def stamps(self) -> NDArray[np.int64]:
        """See `Collection`; zeros for one that is gone, which `read` tells."""
        found = np.zeros((len(self), 4), np.int64)
        prefix = f"{self.root}/"
        for index, name in enumerate(self.names):
            try:
                status = os.stat(prefix + name)
            except OSError:
                continue
            found[index] = status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
        return found
