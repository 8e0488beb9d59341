"""Picture files in a zip or tar file, read where they are, without unpacking."""

from __future__ import annotations

import array
import copy
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.base.errors import MirageError
from pipeline.base.failures import in_a_line
from pipeline.data.collection import Collection
from pipeline.data.image_file import BadImageError, reason_of

_LARGEST = 2**31  # bytes of one picture file
# What can only be read from its beginning.
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZ": "bzip2", b"\xfd7": "xz", b"\x28\xb5": "zstandard"}
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError, RuntimeError)


class Zip(Collection):
    """Files in a zip archive, which several threads may read."""

    def __init__(
        self, root: Path, names: Sequence[str], archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo]
    ) -> None:
        """Of some files.

        Args:
          root: the archive.
          names: of the files.
          archive: it, open.
          members: its files, by the same names.
        """
        super().__init__(root, names)
        self._archive, self._members = archive, members

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which opens the archive itself."""
        return {name: value for name, value in self.__dict__.items() if name != "_archive"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Opens the archive."""
        self.__dict__.update(state)
        self._archive = zipfile.ZipFile(self.root)

    def content(self, name: str) -> bytes | None:
        """See `Collection`."""
        return self.among([name]).read(0) if name in self._members else None

    def read(self, index: int) -> bytes:
        """See `Collection`."""
        member = self._members[self.names[index]]
        if member.flag_bits & 1:
            raise BadImageError("encrypted")
        if member.file_size > _LARGEST:
            raise BadImageError(f"{member.file_size:,} bytes are too many")
        try:
            return self._archive.read(member)
        except (*_DAMAGE, OSError, MemoryError, NotImplementedError) as error:
            raise BadImageError(reason_of(error)) from None

    def stamps(self) -> NDArray[np.int64]:
        """See `Collection`: what the archive's directory says, and when the archive was written to."""
        status = self.root.stat()
        written = max(status.st_mtime_ns, status.st_ctime_ns)
        members = [self._members[name] for name in self.names]
        return np.array([(each.file_size, written, written, each.CRC) for each in members], np.int64).reshape(-1, 4)


class Tar(Collection):
    """Files in a tar archive that is not compressed."""

    def __init__(self, root: Path, names: Sequence[str], places: NDArray[np.int64]) -> None:
        """Of some files.

        Args:
          root: the archive.
          names: of the files.
          places: int64 [N, 2], offset and size of each file.
        """
        super().__init__(root, names)
        self._places = places
        self._all = names, places

    def __getstate__(self) -> dict[str, Any]:
        """For another process, which reads only what was chosen."""
        return {**self.__dict__, "_all": (self.names, self._places)}

    def among(self, names: Sequence[str]) -> Tar:
        """See `Collection`."""
        (known, places), other = self._all, copy.copy(self)
        rows = {name: row for row, name in enumerate(known)}
        chosen = np.fromiter((rows[name] for name in names), np.int64, len(names))
        other.names, other._places = names, places[chosen]
        return other

    def content(self, name: str) -> bytes | None:
        """See `Collection`."""
        return self.among([name]).read(0) if name in self._all[0] else None

    def read(self, index: int) -> bytes:
        """See `Collection`."""
        offset, size = map(int, self._places[index])
        if size > _LARGEST:
            raise BadImageError(f"{size:,} bytes are too many")
        try:
            with open(self.root, "rb") as file:
                file.seek(offset)
                content = file.read(size)
        except (OSError, MemoryError) as error:
            raise BadImageError(reason_of(error)) from None
        if len(content) != size:
            raise BadImageError("the archive ends before it does")
        return content

    def stamps(self) -> NDArray[np.int64]:
        """See `Collection`: where each file is, and when the archive was written to."""
        status = self.root.stat()
        found = np.empty((len(self), 4), np.int64)
        found[:, [3, 0]] = self._places
        found[:, 1:3] = status.st_mtime_ns, status.st_ctime_ns
        return found


def open_archive(path: Path, shown: str) -> Collection:
    """Finds out what a file is, and lists what it holds.

    Args:
      path: the file.
      shown: the data set, as errors name it.

    Returns:
      All its files; the folders in which all of them lie are left out of their names.

    Raises:
      MirageError: if it is no archive, or can't be read so.
    """
    try:
        with path.open("rb") as file:
            head = file.read(2)
        if zipfile.is_zipfile(path):
            archive = zipfile.ZipFile(path)
            infos = {each.filename: each for each in archive.infolist() if not each.is_dir()}
            members = {name: info for name, info in zip(_inner([*infos]), infos.values(), strict=True) if name}
            return Zip(path, [*members], archive, members)
        if head in _COMPRESSED:
            raise MirageError(
                f"--dataset={shown} is compressed by {_COMPRESSED[head]}, so that its pictures can only be had one "
                "after the other; unpack it, or pack it as .zip or .tar."
            )
        if not tarfile.is_tarfile(path):
            raise MirageError(f"--dataset={shown} is a file, but no archive; expected a folder, a .zip or a .tar file.")
        return _tar(path)
    except (*_DAMAGE, OSError, NotImplementedError) as error:
        raise MirageError(
            f"--dataset={shown} can't be read ({getattr(error, 'strerror', None) or in_a_line(error, 200)}); mend the "
            "archive, or unpack what is left of it."
        ) from None


def _tar(path: Path) -> Tar:
    """Lists a tar archive; hard links are what they lead to, and of files of one name the last one counts."""
    # No object for each file but its name: there may be millions.
    names: list[str] = []
    places, links = array.array("q"), {}
    with tarfile.open(path, "r:") as archive:
        while (member := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # a kilobyte each
            if (member.isreg() and not member.issparse()) or member.islnk():
                if member.islnk():
                    links[len(names)] = member.linkname
                names.append(member.name)
                places.extend((member.offset_data, member.size))
    found = np.array(places, np.int64).reshape(-1, 2)
    rows = np.arange(len(names))
    if links:
        first = {name: row for row, name in reversed([*enumerate(names)])}
        for row, target in links.items():
            to = first.get(target, row)
            found[row] = found[to] if to < row else -1
        rows = rows[found[:, 0] >= 0]
    inner = _inner(names)
    rows = rows[np.fromiter(map(bool, inner), bool, len(inner))[rows]]
    if len({inner[row] for row in rows}) < len(rows):
        rows = np.array([*{inner[row]: row for row in rows}.values()], np.int64)
    return Tar(path, [inner[row] for row in rows], found[rows])


def _inner(names: Sequence[str]) -> list[str]:
    """Names without the folders in which all files lie.

    Empty for those that would lead out of the archive; such as systems add don't count.
    """
    common: list[str] | None = None
    for name in names:
        each = _parts(name)
        if each and each[0] != "__MACOSX" and not each[-1].startswith("."):
            common = each[:-1] if common is None else common
            while common != each[:-1][: len(common)]:
                common = common[:-1]
            if not common:
                break
    head = common or []
    found = []
    for name in names:
        each = _parts(name)
        short = "/".join(each[len(head) :] if each[: len(head)] == head else each)
        found.append(name if short == name else short)
    return found


def _parts(name: str) -> list[str]:
    """Folders and name of a file; none of one that would lead out of the archive."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    return [] if ".." in parts else parts
