"""What is made once and kept below `--data_dir`: complete or absent, and sealed. Needs only the standard library.

A sealed file ends with a line that holds the SHA-256 of all that stands before it, so that whoever reads the
file knows that it is as it was written.
"""

import hashlib
from pathlib import Path

from pipeline.base.files import write_file

_MARK = b"\nsha256 "
_SEAL_LENGTH = len(_MARK) + 64 + len(b"\n")
_BLOCK = 1 << 20


class DamagedFileError(Exception):
    """A kept file that can't be trusted; the message says what is wrong with it."""


def write_sealed(path: Path, content: bytes) -> None:
    """Writes a sealed file, which appears only when complete.

    Raises:
      OSError: if it can't be written; nothing of it is left then.
    """
    write_file(path, content + _seal(content))


def is_sealed(content: bytes) -> bool:
    """Whether a file's bytes end with a seal, right or wrong."""
    return content[-_SEAL_LENGTH:].startswith(_MARK)


def unsealed(content: bytes) -> bytes:
    """Checks the seal of a file's bytes, and returns what stands before it.

    Raises:
      DamagedFileError: if the seal is missing, or of other bytes.
    """
    body = content[:-_SEAL_LENGTH]
    if not is_sealed(content) or content[-_SEAL_LENGTH:] != _seal(body):
        raise DamagedFileError("its checksum differs" if is_sealed(content) else "its checksum is missing")
    return body


def check_seal(path: Path) -> None:
    """Checks the seal of a file that is too large to be held twice.

    Raises:
      DamagedFileError: as `unsealed`.
      OSError: if it can't be read.
    """
    left = path.stat().st_size - _SEAL_LENGTH
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(left, _BLOCK))):
            digest.update(block)
            left -= len(block)
        seal = file.read()
    if seal != _written(digest.hexdigest()):
        raise DamagedFileError("its checksum differs" if is_sealed(seal) else "its checksum is missing")


def _seal(content: bytes) -> bytes:
    return _written(hashlib.sha256(content).hexdigest())


def _written(digest: str) -> bytes:
    return _MARK + digest.encode() + b"\n"
