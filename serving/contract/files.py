"""Files that others wrote: looked at before they are opened, and read no further than they were found long.

A name may lead to a pipe, which lets its reader wait for ever, or to a device, which never ends.
"""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import TypeVar

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
_BLOCK = 2**18
_Bytes = TypeVar("_Bytes", bytes, memoryview)
# The kind of a file may change between the look at it and its opening, which then must not wait.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)


def read_file(path: Path, limit: int) -> bytes:
    """Reads a file.

    Args:
      path: the file, or a link to one.
      limit: bytes that it may have.

    Raises:
      OSError: whose `strerror` says why it can't be read.
    """
    with _opened(path, limit) as (file, size):
        parts = []
        while size > 0:  # once, but for files of gigabytes
            parts.append(_some(file.read(size)))
            size -= len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)


def sha256_of_file(path: Path, limit: int | None = None) -> str:
    """Computes a file's SHA-256.

    Args:
      path: the file, or a link to one.
      limit: bytes that it may have.

    Returns:
      The SHA-256 in hexadecimal.

    Raises:
      OSError: whose `strerror` says why it can't be read.
    """
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_BLOCK))
    with _opened(path, limit) as (file, size):
        while size > 0:
            block = _some(buffer[: file.readinto(buffer[:size])])
            digest.update(block)
            size -= len(block)
    return digest.hexdigest()


@contextlib.contextmanager
def _opened(path: Path, limit: int | None) -> Iterator[tuple[FileIO, int]]:
    """Opens a regular file, and nothing else; yields it and its size."""
    try:
        _check_kind(os.stat(path))
        descriptor = os.open(path, _FLAGS)
    except ValueError:  # a NUL, or what the system's encoding lacks
        raise OSError(errno.EINVAL, "no file can have this name") from None
    with FileIO(descriptor) as file:
        status = os.fstat(descriptor)
        _check_kind(status)
        size = status.st_size
        if limit is not None and size > limit:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes; expected at most {limit:,}")
        yield file, size


def _check_kind(status: os.stat_result) -> None:
    kind = stat.S_IFMT(status.st_mode)
    if kind != stat.S_IFREG:
        raise OSError(errno.EINVAL, f"it is {_KINDS.get(kind, 'something else')}; expected a file")


def _some(block: _Bytes) -> _Bytes:
    """Refuses the end of a file that had more bytes when it was opened."""
    if not len(block):
        raise OSError(errno.EIO, "it became shorter while it was read")
    return block
