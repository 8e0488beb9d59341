"""What picture files are, before their pixels count: checksum, size, colours. Remembered until a file is written to."""

from __future__ import annotations

import dataclasses
import io
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import tqdm
from numpy.typing import NDArray

from pipeline.base.crew import by_all_cores
from pipeline.base.kept_files import DamagedFileError, unsealed, write_sealed
from pipeline.data.collection import Collection
from pipeline.data.decoding import DECODED, GREY, SEVERAL, TRANSPARENT, Looking, Way
from pipeline.data.fingerprint import fingerprint_of, not_remembered, settled

_PROGRESS_S = 1.0
_WORTHWHILE_S = 0.25  # looking that takes less is not worth a file
_FORMAT = 2


@dataclasses.dataclass(frozen=True)
class Looks:
    """Of N files, a row for each.

    Attributes:
      checksums: uint8 [N, 32], SHA-256.
      sizes: int32 [N, 2], (width, height) of the upright picture.
      traits: uint8 [N], bits.
      bad: why a file can't be read, by its number; its rows mean nothing.
    """

    checksums: NDArray[np.uint8]
    sizes: NDArray[np.int32]
    traits: NDArray[np.uint8]
    bad: dict[int, str]

    @property
    def grey(self) -> NDArray[np.bool_]:
        """Whether each has no colours."""
        return (self.traits & GREY) != 0

    @property
    def several(self) -> NDArray[np.bool_]:
        """Whether each holds further pictures, as animations do."""
        return (self.traits & SEVERAL) != 0

    @property
    def transparent(self) -> NDArray[np.bool_]:
        """Whether each has an alpha channel, or a transparent colour."""
        return (self.traits & TRANSPARENT) != 0

    def chosen(self, numbers: NDArray[np.int64]) -> Looks:
        """Those of some files, none of which is bad."""
        return Looks(self.checksums[numbers], self.sizes[numbers], self.traits[numbers], {})

    @staticmethod
    def of(count: int) -> Looks:
        """Rows to be filled."""
        return Looks(np.zeros((count, 32), np.uint8), np.zeros((count, 2), np.int32), np.zeros(count, np.uint8), {})


def fingerprint(names: list[str] | tuple[str, ...], looks: Looks) -> str:
    """Identifies files by their names and bytes, wherever they lie; returns SHA-256, in hexadecimal."""
    order = sorted(range(len(names)), key=[os.fsencode(name) for name in names].__getitem__)
    rows = ((names[row], looks.checksums[row].tobytes().hex()) for row in order)
    return fingerprint_of(part for name, checksum in rows for part in (os.fsencode(name), checksum))


def look(
    files: Collection,
    memory: Path | None,
    shown: str,
    way: Way | None = None,
) -> Looks:
    """Looks at files, by all cores.

    Args:
      files: the files.
      memory: file of what was seen before, or None. It is written if that saves time later; where it can't be, a
        warning says so. One that is damaged counts as missing.
      shown: what the files are, for the progress bar.
      way: how pixels that were never decoded are, to find files whose damage shows only there; None leaves that out.
    """
    started, start_ns = time.perf_counter(), time.time_ns()
    stamps = files.stamps()
    looks = Looks.of(len(files))
    known = _recall(memory)
    left = known.fill(files, stamps, looks, np.uint8(DECODED if way else 0)) if known else np.arange(len(files))

    results = by_all_cores(Looking(files, left, way), 0, len(left))
    told = {"unit": "file", "file": sys.stderr, "delay": _PROGRESS_S, "disable": None}
    for index, result in zip(left, tqdm.tqdm(results, f"looking at {shown}", len(left), **told), strict=True):
        if isinstance(result, str):
            looks.bad[int(index)] = result
        else:
            looks.checksums[index] = np.frombuffer(result[0], np.uint8)
            looks.sizes[index], looks.traits[index] = result[1], result[2]
    if memory is not None and len(left) and time.perf_counter() - started > _WORTHWHILE_S:
        rows = settled(stamps, start_ns)
        rows[list(looks.bad)] = False
        _remember(memory, _Known.of(files, stamps, looks, rows).beside(known))
    return looks


@dataclasses.dataclass(frozen=True)
class _Known:
    """What is remembered of files: a row for each."""

    names: list[bytes]
    stamps: NDArray[np.int64]
    looks: Looks

    @staticmethod
    def of(files: Collection, stamps: NDArray[np.int64], looks: Looks, rows: NDArray[np.bool_]) -> _Known:
        numbers = np.flatnonzero(rows)
        return _Known([os.fsencode(files.names[int(each)]) for each in numbers], stamps[numbers], looks.chosen(numbers))

    def fill(self, files: Collection, stamps: NDArray[np.int64], looks: Looks, needed: np.uint8) -> NDArray[np.int64]:
        """Fills in what is known of files that are as they were; returns the numbers of the others."""
        rows = {name: row for row, name in enumerate(self.names)}
        row = np.array([rows.get(os.fsencode(name), -1) for name in files.names], np.int64)
        if not self.names:
            return np.arange(len(files))
        same = (row >= 0) & (self.stamps[row] == stamps).all(1) & ((self.looks.traits[row] & needed) == needed)
        for mine, kept in zip(_columns(looks), _columns(self.looks), strict=True):
            mine[same] = kept[row[same]]
        return np.flatnonzero(~same)

    def beside(self, earlier: _Known | None) -> _Known:
        """Adds what was known of other files, such as those of another slice."""
        if earlier is None:
            return self
        mine = set(self.names)
        rows = np.array([row for row, name in enumerate(earlier.names) if name not in mine], np.int64)
        looks = earlier.looks.chosen(rows)
        pairs = zip(_columns(self.looks), _columns(looks), strict=True)
        checksums, sizes, traits = (np.concatenate(pair) for pair in pairs)
        stamps = np.concatenate([self.stamps, earlier.stamps[rows]])
        names = [*self.names, *(earlier.names[row] for row in rows)]
        return _Known(names, stamps, Looks(checksums, sizes, traits, {}))


def _columns(looks: Looks) -> tuple[NDArray, NDArray, NDArray]:
    return looks.checksums, looks.sizes, looks.traits


def _recall(memory: Path | None) -> _Known | None:
    if memory is None:
        return None
    try:
        with np.load(io.BytesIO(unsealed(memory.read_bytes())), allow_pickle=False) as kept:
            if kept["format"] != _FORMAT:
                return None
            names = kept["names"].tobytes().split(b"\0")[:-1]
            return _Known(names, kept["stamps"], Looks(kept["checksums"], kept["sizes"], kept["traits"], {}))
    except (OSError, DamagedFileError, KeyError, ValueError):
        return None


def _remember(memory: Path, known: _Known) -> None:
    content = io.BytesIO()
    names = np.frombuffer(b"".join(name + b"\0" for name in known.names), np.uint8)
    columns: dict[str, Any] = dict(zip(("checksums", "sizes", "traits"), _columns(known.looks), strict=True))
    np.savez(content, format=np.int64(_FORMAT), names=names, stamps=known.stamps, **columns)
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_sealed(memory, content.getvalue())
    except OSError as error:
        not_remembered(memory, error)
