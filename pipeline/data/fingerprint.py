"""What data are by their content: the SHA-256 of files, remembered as long as nobody has written to them.

Reading a hundred gigabytes to know that nothing has changed would take longer than many a training. So a
file's checksum is remembered beside its stamp: size, times of change and inode, as git does it. Whatever
writes to a file changes its stamp, and its owner can't set the time of that change (ctime) back.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tqdm
from numpy.typing import NDArray

from pipeline.base.errors import MirageError
from pipeline.base.folders import cache_folder
from pipeline.base.kept_files import DamagedFileError, unsealed, write_sealed

# Two writes within the clock's grain leave the same stamp, so fresh ones are not relied on.
_SETTLED_NS = 2 * 10**9
# Hashing what takes less time is not worth a file.
_WORTHWHILE_S = 1.0
_PROGRESS_S = 3.0

_Entry = list[int | str]  # a stamp, then the checksum


def memory_of(root: Path, data_dir: str) -> Path | None:
    """Where it is remembered what files of a folder, or of an archive, are; None if there is no place for it.

    Raises:
      MirageError: if `data_dir` can't be a folder.
    """
    key = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:24]
    try:
        return cache_folder(data_dir) / "fingerprints" / f"{key}.looks"
    except MirageError:
        if data_dir:
            raise
        return None  # a user without home directory


def fingerprint_of(parts: Iterable[bytes | str]) -> str:
    """Identifies a sequence of texts; returns SHA-256, in hexadecimal."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "big") + content)  # so that no two sequences look alike
    return digest.hexdigest()


def file_checksums(root: Path, paths: Sequence[Path], memory: Path | None) -> dict[Path, str]:
    """Returns the SHA-256 of files, in hexadecimal.

    Args:
      root: folder of all of them.
      paths: the files.
      memory: file of what was found before, or None. It is written if that saves time later; where it can't be,
        a warning says so. One that is damaged counts as missing.

    Raises:
      OSError: if one of `paths` can't be read.
    """
    known = {} if memory is None else _recall(memory)
    started, start_ns = time.perf_counter(), time.time_ns()
    found, remembered = {}, dict(known)  # of other slices of the folder, too
    for path in tqdm.tqdm(paths, "checksums", unit="file", file=sys.stderr, delay=_PROGRESS_S, disable=None):
        name = _name(path, root)
        stamp = _stamp(path)
        entry = known.get(name)
        if entry is None or entry[:-1] != stamp:
            with path.open("rb") as file:
                entry = [*stamp, hashlib.file_digest(file, "sha256").hexdigest()]
        found[path] = str(entry[-1])
        if settled(np.array([stamp]), start_ns)[0]:
            remembered[name] = entry
        else:
            remembered.pop(name, None)
    if memory is not None and remembered != known and time.perf_counter() - started > _WORTHWHILE_S:
        _remember(memory, remembered)
    return found


def vouch(folder: Path, checksums: Mapping[str, str], memory: Path) -> None:
    """Remembers checksums of files that this process has just written, as nobody else has.

    Args:
      folder: folder of all of them.
      checksums: by name.
      memory: see `file_checksums`.

    Raises:
      OSError: if it can't be written.
    """
    entries: dict[str, _Entry] = {name: [*_stamp(folder / name), checksum] for name, checksum in checksums.items()}
    write_sealed(memory, json.dumps(entries).encode())


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def settled(stamps: NDArray[np.int64], now_ns: int) -> NDArray[np.bool_]:
    """Whether files were written to so long ago that another write would leave another stamp.

    Args:
      stamps: int64 [N, 4]: size, times of change of the content and of the file in nanoseconds, inode.
      now_ns: the time before they were read.
    """
    return stamps[:, 1:3].max(axis=1) < now_ns - _SETTLED_NS


def _name(path: Path, root: Path) -> str:
    """`path.relative_to(root)`, which would take longer than all else where there are many files."""
    return str(path).removeprefix(f"{root}{os.sep}")


def _recall(memory: Path) -> dict[str, _Entry]:
    try:
        return json.loads(unsealed(memory.read_bytes()))
    except (OSError, DamagedFileError):
        return {}


def _remember(memory: Path, entries: dict[str, _Entry]) -> None:
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_sealed(memory, json.dumps(entries).encode())
    except OSError as error:
        not_remembered(memory, error)


def not_remembered(memory: Path, error: OSError) -> None:
    """Warns that what was found out can't be kept."""
    print(
        f"warning: checksums can't be kept in {memory.parent} ({error.strerror or error}), so they are computed "
        "anew at each start; pass --data_dir= where you may write.",
        file=sys.stderr,
        flush=True,
    )
