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
from collections.abc import Iterable, Sequence
from pathlib import Path

import tqdm

from pipeline.base.errors import MirageError
from pipeline.base.folders import cache_folder
from pipeline.base.kept_files import DamagedFileError, unsealed, write_sealed

# Two writes within the clock's grain leave the same stamp, so fresh ones are not relied on.
_SETTLED_NS = 2 * 10**9
# Hashing what takes less time is not worth a file.
_WORTHWHILE_S = 1.0
_PROGRESS_S = 3.0

_Entry = list[int | str]  # a stamp, then the checksum


def folder_fingerprint(root: Path, paths: Sequence[Path], data_dir: str) -> str:
    """Identifies files by their names below a folder and their bytes, wherever the folder lies.

    Args:
      root: the folder.
      paths: files in it.
      data_dir: where checksums are remembered, if finding them takes more than a second.

    Returns:
      SHA-256, in hexadecimal; it doesn't depend on the order of `paths`.

    Raises:
      MirageError: if a file can't be read.
    """
    try:
        checksums = file_checksums(root, paths, _memory_of(root, data_dir))
    except OSError as error:
        raise MirageError(f"file {error.filename} can't be read ({error.strerror}); mend or remove it.") from None
    by_name = sorted((os.fsencode(_name(path, root)), checksum) for path, checksum in checksums.items())
    return fingerprint_of(part for entry in by_name for part in entry)


def _memory_of(root: Path, data_dir: str) -> Path | None:
    key = hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:24]
    try:
        return cache_folder(data_dir) / "fingerprints" / f"{key}.json"
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
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        entry = known.get(name)
        if entry is None or entry[:-1] != stamp:
            with path.open("rb") as file:
                entry = [*stamp, hashlib.file_digest(file, "sha256").hexdigest()]
        found[path] = str(entry[-1])
        if max(status.st_mtime_ns, status.st_ctime_ns) < start_ns - _SETTLED_NS:
            remembered[name] = entry
        else:
            remembered.pop(name, None)
    if memory is not None and remembered != known and time.perf_counter() - started > _WORTHWHILE_S:
        _remember(memory, remembered)
    return found


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
        print(
            f"warning: checksums can't be kept in {memory.parent} ({error.strerror or error}), so they are computed "
            "anew at each start; pass --data_dir= where you may write.",
            file=sys.stderr,
            flush=True,
        )
