"""Picture files in a zip or tar file, read where they are, without unpacking."""

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

    def __init__(self, root: Path, names: Sequence[str], members: Mapping[str, tuple[int, int]]) -> None:
        """Of some files.

        Args:
          root: the archive.
          names: of the files.
          members: (offset, size) of each file, by name.
        """
        super().__init__(root, names)
        self._members = members

    def content(self, name: str) -> bytes | None:
        """See `Collection`."""
        return self.among([name]).read(0) if name in self._members else None

    def read(self, index: int) -> bytes:
        """See `Collection`."""
        offset, size = self._members[self.names[index]]
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
        times = status.st_mtime_ns, status.st_ctime_ns
        places = [self._members[name] for name in self.names]
        return np.array([(size, *times, offset) for offset, size in places], np.int64).reshape(-1, 4)


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
            inner = _inner(infos)
            return Zip(path, list(inner), archive, {name: infos[whole] for name, whole in inner.items()})
        if head in _COMPRESSED:
            raise MirageError(
                f"--dataset={shown} is compressed by {_COMPRESSED[head]}, so that its pictures can only be had one "
                "after the other; unpack it, or pack it as .zip or .tar."
            )
        if not tarfile.is_tarfile(path):
            raise MirageError(f"--dataset={shown} is a file, but no archive; expected a folder, a .zip or a .tar file.")
        places = _places(path)
        inner = _inner(places)
        return Tar(path, list(inner), {name: places[whole] for name, whole in inner.items()})
    except (*_DAMAGE, OSError, NotImplementedError) as error:
        raise MirageError(
            f"--dataset={shown} can't be read ({getattr(error, 'strerror', None) or in_a_line(error, 200)}); mend the "
            "archive, or unpack what is left of it."
        ) from None


def _places(path: Path) -> dict[str, tuple[int, int]]:
    """(offset, size) of each file, by name; hard links are what they lead to."""
    found: dict[str, tuple[int, int]] = {}
    with tarfile.open(path, "r:") as archive:
        while (member := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # a kilobyte each
            if member.isreg() and not member.issparse():
                found[member.name] = member.offset_data, member.size
            elif member.islnk() and member.linkname in found:
                found[member.name] = found[member.linkname]
    return found


def _inner(names: Mapping[str, object]) -> dict[str, str]:
    """Names without the folders in which all files lie, and the whole names, by them.

    Those that would lead out of the archive are left out, and such as systems add don't count.
    """
    parts = {}
    for name in names:
        each = tuple(part for part in name.replace("\\", "/").split("/") if part not in ("", "."))
        if each and ".." not in each:
            parts[name] = each
    seen = [each for each in parts.values() if each[0] != "__MACOSX" and not each[-1].startswith(".")]
    common = 0
    while seen and all(len(each) > common + 1 and each[common] == seen[0][common] for each in seen):
        common += 1
    head = seen[0][:common] if seen else ()
    return {"/".join(each[common:] if each[:common] == head else each): name for name, each in parts.items()}
