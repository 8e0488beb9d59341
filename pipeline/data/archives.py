"""Picture files in a zip or tar file, read where they are, without unpacking."""

from __future__ import annotations

import array
import copy
import lzma
import posixpath
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
from pipeline.data.notices import say_once

_LARGEST = 2**31  # bytes of one picture file
# What can only be read from its beginning.
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstandard"}
_TAR, _TAR_AT = b"ustar", 257  # what tar files have had there since 1988
_BLOCK = 512  # bytes, of which tar files consist
_HOPS = 16  # from link to link
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
        return self.among([name]).read(0) if self.holds(name) else None

    def holds(self, name: str) -> bool:
        """See `Collection`."""
        return name in self._members

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
        return self.among([name]).read(0) if self.holds(name) else None

    def holds(self, name: str) -> bool:
        """See `Collection`."""
        return name in self._all[0]

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
            head = file.read(_BLOCK)
        # First, since a zip file may lie at a tar file's end, by which zip files are known.
        if head[_TAR_AT:].startswith(_TAR):
            return _tar(path, shown)
        if zipfile.is_zipfile(path):
            archive = zipfile.ZipFile(path)
            infos = {each.filename: each for each in archive.infolist() if not each.is_dir()}
            members = {name: info for name, info in zip(_inner([*infos]), infos.values(), strict=True) if name}
            _tell(shown, {"with a path that leads out of the archive": len(infos) - len(members)})
            return Zip(path, [*members], archive, members)
        packed = next((name for begins, name in _COMPRESSED.items() if head.startswith(begins)), "")
        if packed:
            raise MirageError(
                f"--dataset={shown} is compressed by {packed}, so that its pictures can only be had one after the "
                "other; unpack it, or pack it as .zip or .tar."
            )
        if not tarfile.is_tarfile(path):
            raise MirageError(f"--dataset={shown} is a file, but no archive; expected a folder, a .zip or a .tar file.")
        return _tar(path, shown)
    except (*_DAMAGE, OSError, NotImplementedError) as error:
        raise MirageError(
            f"--dataset={shown} can't be read ({getattr(error, 'strerror', None) or in_a_line(error, 200)}); mend the "
            "archive, or unpack what is left of it."
        ) from None


def _tar(path: Path, shown: str) -> Tar:
    """Lists a tar archive; links are what they lead to, and of files of one name the last one counts."""
    # No object for each file but its name: there may be millions.
    names: list[str] = []
    places, links, sparse = array.array("q"), {}, 0
    with tarfile.open(path, "r:") as archive:
        while (member := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # a kilobyte each
            sparse += member.issparse()
            if member.islnk() or member.issym() or (member.isreg() and not member.issparse()):
                if not member.isreg():
                    beside = posixpath.dirname(member.name) if member.issym() else ""
                    links[len(names)] = posixpath.normpath(posixpath.join(beside, member.linkname))
                names.append(member.name)
                places.extend((member.offset_data, member.size))
        _check_end(path, archive.offset)
    found = np.array(places, np.int64).reshape(-1, 2)
    rows = np.arange(len(names))
    if links:
        found = _followed(found, names, links)
        rows = rows[found[:, 0] >= 0]
    inner = _inner(names)
    leads_out = len(rows)
    rows = rows[np.fromiter(map(bool, inner), bool, len(inner))[rows]]
    _tell(
        shown,
        {
            "that are links to no file in it": len(names) - leads_out,
            "with a path that leads out of the archive": leads_out - len(rows),
            "that are stored with gaps": sparse,
        },
    )
    if len({inner[row] for row in rows}) < len(rows):
        rows = np.array([*{inner[row]: row for row in rows}.values()], np.int64)
    return Tar(path, [inner[row] for row in rows], found[rows])


def _followed(places: NDArray[np.int64], names: Sequence[str], links: Mapping[int, str]) -> NDArray[np.int64]:
    """Where the files are that links lead to, -1 for none."""
    files = [row for row in range(len(names)) if row not in links]
    row_of = {posixpath.normpath(names[row]): row for row in (*links, *files)}  # of one name, a file rather than a link
    found = places.copy()
    for row in links:
        to = row
        for _ in range(_HOPS):
            to = row_of.get(links[to], -1) if to in links else to
        found[row] = places[to] if to >= 0 and to not in links else -1
    return found


def _check_end(path: Path, end: int) -> None:
    """Refuses an archive with something behind what was taken for its end, as a damaged header makes it.

    Raises:
      tarfile.TarError: for such a one.
    """
    with path.open("rb") as file:
        file.seek(end)
        while block := file.read(2**20):
            if any(block):
                raise tarfile.ReadError(f"damaged at byte {end:,}: the files behind that can't be found")


def _tell(shown: str, left_aside: Mapping[str, int]) -> None:
    """Says how many files of an archive are left aside, and why."""
    for why, count in left_aside.items():
        if count > 0:
            say_once(f"--dataset={shown}: {count:,} file{'s' * (count != 1)} {why}, left aside.")


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
