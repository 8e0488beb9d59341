"""Checkpoints on disk: one folder each, complete or absent, with checksums. Needs only numpy.

    checkpoints/step_0001000/state.npz        arrays by name
    checkpoints/step_0001000/checksums.json   SHA-256 of both files

TensorFlow's own format verifies tensors only as they are read, falls back on nothing, and starts afresh
when its state file is unreadable. Here a checkpoint is verified as a whole before any of it is used.
"""

import hashlib
import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

STATE_FILE = "state.npz"
CHECKSUMS_FILE = "checksums.json"
_FORMAT = 1


class DamagedCheckpointError(Exception):
    """A checkpoint that can't be trusted; the message names the file and what is wrong with it."""


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / f"step_{step:07}"


def step_of(path: Path) -> int:
    """The step of a checkpoint, by its name."""
    return int(path.name.removeprefix("step_"))


def list_checkpoints(folder: Path) -> list[Path]:
    """Returns the checkpoints that are complete by their name, oldest first.

    Raises:
      OSError: if the folder is there but can't be listed.
    """
    try:
        matches = [(path, re.fullmatch(r"step_([0-9]+)", path.name)) for path in folder.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [path for _, path in sorted((int(match[1]), path) for path, match in matches if match)]


def write_checkpoint(folder: Path, step: int, arrays: Mapping[str, np.ndarray]) -> Path:
    """Writes a checkpoint, which appears only when complete and on disk.

    Args:
      folder: the folder of all checkpoints.
      step: the step it belongs to; a checkpoint of the same step is replaced.
      arrays: what to keep.

    Returns:
      The checkpoint's folder.

    Raises:
      OSError: if the files can't be written; nothing of them is left then.
    """
    final = checkpoint_path(folder, step)
    partial = final.with_suffix(".partial")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        with (partial / STATE_FILE).open("wb") as file:
            hashing = _HashingFile(file)
            # What np.savez does, which insists on files that can seek, and copies all that it writes.
            with zipfile.ZipFile(hashing, "w") as archive:
                for name, value in arrays.items():
                    array = np.asarray(value, order="C")
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array_header_1_0(member, np.lib.format.header_data_from_array_1_0(array))
                        member.write(array.reshape(-1).view(np.uint8).data)
            _sync(file)
        with (partial / CHECKSUMS_FILE).open("wb") as file:
            file.write(_checksums(step, hashing.digest.hexdigest()).encode())
            _sync(file)
        if os.path.lexists(final):
            remove_checkpoint(final)
        partial.rename(final)
        _sync_folder(folder)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return final


def remove_checkpoint(path: Path) -> None:
    """Removes a checkpoint, which is no checkpoint any more from the first moment on.

    Raises:
      OSError: if it can't be removed.
    """
    going = path.with_name(f"{path.name}.old.partial")
    path.rename(going)
    if going.is_dir() and not going.is_symlink():
        shutil.rmtree(going)
    else:
        going.unlink()


def check_checkpoint(path: Path) -> None:
    """Verifies a checkpoint without loading it.

    Raises:
      DamagedCheckpointError: as `read_checkpoint`.
    """
    recorded = _recorded(path)
    try:
        with (path / STATE_FILE).open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path / STATE_FILE, error) from None
    _compare(path, actual, recorded)


def read_checkpoint(path: Path) -> dict[str, np.ndarray]:
    """Verifies a checkpoint and reads it.

    Args:
      path: the checkpoint's folder.

    Returns:
      The arrays by name.

    Raises:
      DamagedCheckpointError: if any byte of any file is not as it was written.
    """
    recorded = _recorded(path)
    content = _read(path / STATE_FILE)
    _compare(path, hashlib.sha256(content).hexdigest(), recorded)
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)


def remove_leftovers(folder: Path) -> None:
    """Removes what a save left behind that was killed."""
    for leftover in folder.glob("step_*.partial"):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink()


def _checksums(step: int, state: str) -> str:
    facts = {"format": _FORMAT, "step": step, STATE_FILE: state}
    # Of this file's other lines, so that a damaged list of checksums is not taken for a damaged state.
    own = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return json.dumps({**facts, CHECKSUMS_FILE: own}, indent=2) + "\n"


def _recorded(path: Path) -> str:
    """Returns the state's checksum as it was written."""
    sums = _read(path / CHECKSUMS_FILE)
    try:
        recorded = json.loads(sums)[STATE_FILE]
    except (ValueError, KeyError, TypeError, RecursionError):
        recorded = None
    # Compared as a whole, its own checksum included, so that no altered byte of the file goes unnoticed.
    if not isinstance(recorded, str) or _checksums(step_of(path), recorded).encode() != sums:
        raise DamagedCheckpointError(f"{path / CHECKSUMS_FILE} is damaged")
    return recorded


def _compare(path: Path, actual: str, recorded: str) -> None:
    if actual != recorded:
        raise DamagedCheckpointError(f"{path / STATE_FILE} is damaged: its checksum differs")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> DamagedCheckpointError:
    if isinstance(error, FileNotFoundError):
        return DamagedCheckpointError(f"{path} is missing")
    return DamagedCheckpointError(f"{path} can't be read ({error.strerror})")


class _HashingFile:
    """Takes the checksum of what is written, in passing. It can't seek: each byte is written once, in order."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, content: bytes) -> int:
        self.digest.update(content)
        return self._file.write(content)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Makes a rename survive a power failure, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
