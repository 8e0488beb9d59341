"""Files that are complete or absent, and what identifies them. Standard library only."""

import contextlib
import hashlib
import os
import secrets
from pathlib import Path


def write_file(path: Path, content: bytes, *, sync: bool = False) -> None:
    """Writes a file, which appears only when complete; an older one of that name is replaced then.

    Args:
      path: the file.
      content: what it shall hold.
      sync: whether it must outlive a power failure.

    Raises:
      OSError: if it can't be written; nothing of it is left then.
    """
    # Processes may share a folder of the network, and each have the same number on its machine.
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def append_line(path: Path, line: str) -> None:
    """Adds a line to a file, all of it or nothing.

    Raises:
      OSError: if it can't be written.
    """
    with path.open("ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        rest = memoryview(f"{line}\n".encode())
        try:
            while rest:
                rest = rest[file.write(rest) :]
        except BaseException:
            with contextlib.suppress(OSError):
                file.truncate(end)
            raise


def sha256_of(path: Path) -> str:
    """Hashes a file; of a folder, its files and their names."""
    digest = hashlib.sha256()
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    for each in files:
        if path.is_dir():
            digest.update(each.relative_to(path).as_posix().encode() + b"\0")
        with each.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()
