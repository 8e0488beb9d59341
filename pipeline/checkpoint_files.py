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


def list_checkpoints(folder: Path) -> list[Path]:
    """Returns the checkpoints that are complete by their name, oldest first."""
    matches = ((path, re.fullmatch(r"step_(\d+)", path.name)) for path in folder.glob("step_*"))
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
        if final.exists():
            shutil.rmtree(final)
        partial.rename(final)
        _sync_folder(folder)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return final


def read_checkpoint(path: Path) -> dict[str, np.ndarray]:
    """Verifies a checkpoint and reads it.

    Args:
      path: the checkpoint's folder.

    Returns:
      The arrays by name.

    Raises:
      DamagedCheckpointError: if any byte of any file is not as it was written.
    """
    step = int(path.name.removeprefix("step_"))
    sums = _read(path / CHECKSUMS_FILE)
    content = _read(path / STATE_FILE)
    try:
        recorded = json.loads(sums)[STATE_FILE]
    except (ValueError, KeyError, TypeError):
        recorded = None
    # Compared as a whole, its own checksum included, so that no altered byte of the file goes unnoticed.
    if not isinstance(recorded, str) or _checksums(step, recorded).encode() != sums:
        raise DamagedCheckpointError(f"{path / CHECKSUMS_FILE} is damaged")
    if hashlib.sha256(content).hexdigest() != recorded:
        raise DamagedCheckpointError(f"{path / STATE_FILE} is damaged: its checksum differs")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(arrays)


def remove_leftovers(folder: Path) -> None:
    """Removes what a save left behind that was killed."""
    for leftover in folder.glob("step_*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)


def _checksums(step: int, state: str) -> str:
    facts = {"format": _FORMAT, "step": step, STATE_FILE: state}
    # Of this file's other lines, so that a damaged list of checksums is not taken for a damaged state.
    own = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    return json.dumps({**facts, CHECKSUMS_FILE: own}, indent=2) + "\n"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DamagedCheckpointError(f"{path} is missing") from None
    except OSError as error:
        raise DamagedCheckpointError(f"{path} can't be read ({error.strerror})") from None


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
