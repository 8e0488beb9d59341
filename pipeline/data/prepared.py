"""Data sets of which decoding takes a while: decoded once into a file, which is then mapped into memory.

A raw file of pixels, rather than records: NumPy maps it, and a batch drawn at random from it is had ten times as fast
as from ArrayRecord files of the same pixels (BUILD.md, "Data").
"""

import contextlib
import hashlib
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import tqdm

from pipeline.base.errors import MirageError
from pipeline.base.folders import cache_folder
from pipeline.base.kept_files import DamagedFileError, unsealed, write_sealed
from pipeline.base.sizes import read_size
from pipeline.data.fingerprint import file_checksums, vouch
from pipeline.data.options import DataOptions
from pipeline.data.source import Source

FOLDER, PARTIAL, ABOUT = "decoded", ".partial", "about.json"
_IMAGES, _LABELS = "images.npy", "labels.npy"
_CHECKSUMS = "checksums.json"
_STAMPS = "stamps.json"
_PROGRESS = "progress.json"
_FORMAT = 2  # part of the key: to be raised whenever the same files would be decoded to other images
_SAVE_EVERY_S = 5.0


class NoPlaceError(MirageError):
    """There is no place for the prepared images: it can't be written to, or is too small."""


def prepared(options: DataOptions, source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Decodes a data set into a file, unless that has been done; goes on where an earlier call was ended.

    Files of an earlier call are used only if their checksums are those that were written with them; they are
    decoded again otherwise.

    Args:
      options: `data_dir`, `split`, `image_size`, `fit` and `random_crop` count.
      source: the data set.

    Returns:
      (images as a memory map, uint8 [N, H, W, C]; labels int32 [N]).

    Raises:
      NoPlaceError: if there is too little space, or the file can't be written.
      MirageError: if the images can't be read.
    """
    folder = folder_of(options, source)
    parent = folder.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(parent / f".{folder.name}.lock"):
            if folder.exists() and (damaged := _damaged(folder)):
                print(f"warning: {folder / damaged} is damaged; it is decoded again.", file=sys.stderr, flush=True)
                shutil.rmtree(folder)
            if not folder.exists():
                _prepare(source, folder)
            with contextlib.suppress(OSError):
                now = time.time_ns()  # finer than the file system's own clock
                os.utime(folder / ABOUT, ns=(now, now))  # when it was used last
    except (OSError, NotImplementedError) as error:  # the latter where a file system has no locks
        raise NoPlaceError(
            f"the images of --dataset={source.spec.name} can't be decoded into {parent} "
            f"({getattr(error, 'strerror', None) or error}); pass --data_dir= where you may write and there is space."
        ) from None
    return np.load(folder / _IMAGES, mmap_mode="r"), np.load(folder / _LABELS)


def folder_of(options: DataOptions, source: Source) -> Path:
    """Folder of a prepared data set: by its content, wherever that lies; raises NoPlaceError if there can be none."""
    try:
        parent = cache_folder(options.data_dir) / FOLDER
    except MirageError as error:
        raise NoPlaceError(str(error)) from None
    spec = source.spec
    # Without the name: a folder that has moved is not decoded again.
    shape = [spec.num_examples, *spec.image_shape]
    key = json.dumps([_FORMAT, shape, spec.class_names, options.split, _fitting(options), source.fingerprint])
    return parent / hashlib.sha256(key.encode()).hexdigest()[:24]


def _fitting(options: DataOptions) -> int | str:
    """How images got their size, as far as the same files become other images by it."""
    size = options.prepared_size
    if size is None:
        return 0
    text = read_size(size)  # a number for squares, as it always was
    return text if options.fit in ("crop", "none") else f"{text} {options.fit}"


def _damaged(folder: Path) -> str | None:
    """Returns the name of a file that isn't as it was written, or None.

    All bytes are read, unless that was done before and nobody has written to the file since.
    """
    try:
        expected = json.loads(unsealed((folder / _CHECKSUMS).read_bytes()))
    except (FileNotFoundError, DamagedFileError):
        return _CHECKSUMS
    missing = [name for name in expected if not (folder / name).is_file()]
    if missing:
        return missing[0]
    actual = file_checksums(folder, [folder / name for name in expected], folder / _STAMPS)
    return next((name for name in expected if actual[folder / name] != expected[name]), None)


def _check_space(source: Source, parent: Path, done: int) -> None:
    count = source.spec.num_examples
    needed, free = source.spec.num_bytes * (count - done) // count, shutil.disk_usage(parent).free
    if needed > free:
        raise NoPlaceError(
            f"--dataset={source.spec.name} needs {needed / 2**30:,.1f} GiB for its decoded images, and {parent} has "
            f"{free / 2**30:,.1f} GiB free; pass --data_dir= where there is more, or choose a smaller --image_size."
        )


def _prepare(source: Source, folder: Path) -> None:
    """Writes all files; the folder appears only when complete. What an end of the process leaves is gone on with."""
    partial = folder.with_suffix(PARTIAL)
    partial.mkdir(exist_ok=True)
    try:
        images, digest, done = _begun(source, partial)
        _check_space(source, folder.parent, done)
        _fill(source, partial, images, digest, done)
        labels = np.load(partial / _LABELS)
        spec = source.spec
        about = {"dataset": spec.name, "images": [len(labels), *spec.image_shape], "classes": list(spec.class_names)}
        write_sealed(partial / ABOUT, json.dumps(about).encode())
        checksums = {_IMAGES: digest.hexdigest(), _LABELS: hashlib.sha256((partial / _LABELS).read_bytes()).hexdigest()}
        write_sealed(partial / _CHECKSUMS, json.dumps(checksums).encode())
        vouch(partial, checksums, partial / _STAMPS)
        (partial / _PROGRESS).unlink(missing_ok=True)
        partial.rename(folder)
    except Exception:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _digest(labels: np.ndarray) -> str:
    return hashlib.sha256(labels.astype("<i4").tobytes()).hexdigest()


def _begun(source: Source, partial: Path) -> tuple[np.memmap, Any, int]:
    """Returns (the file of images, SHA-256 of what it holds so far, number of images that are done)."""
    path, labels = partial / _IMAGES, partial / _LABELS
    shape = (source.spec.num_examples, *source.spec.image_shape)
    with contextlib.suppress(OSError, ValueError, KeyError, DamagedFileError):
        progress = json.loads(unsealed((partial / _PROGRESS).read_bytes()))
        images = np.lib.format.open_memmap(path, mode="r+")
        done, digest = int(progress["done"]), hashlib.sha256()
        with path.open("rb") as file:
            left = images.offset + done * images[0].nbytes
            while left > 0 and (block := file.read(min(left, 2**22))):
                digest.update(block)
                left -= len(block)
        same = [digest.hexdigest(), _digest(np.load(labels)[:done])] == [progress["images"], progress["labels"]]
        if images.shape == shape and same:
            return images, digest, done
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    np.save(labels, np.zeros(shape[0], np.int32))
    with path.open("rb") as file:
        return images, hashlib.sha256(file.read(images.offset)), 0


def _fill(source: Source, partial: Path, images: np.memmap, digest: Any, done: int) -> None:
    """Decodes the images that are left, and keeps note of how far it is."""
    labels = np.load(partial / _LABELS, mmap_mode="r+")
    bar = {"unit": "image", "file": sys.stderr, "disable": None, "initial": done, "total": len(images)}
    saved = time.monotonic()
    with tqdm.tqdm(source.since(done), f"preparing {source.spec.name}", **bar) as progress:
        for index, (image, label) in enumerate(progress, done):
            images[index], labels[index] = image, label
            digest.update(images[index].data)
            if time.monotonic() - saved > _SAVE_EVERY_S:
                images.flush()
                labels.flush()
                done = index + 1
                note = {"done": done, "images": digest.hexdigest(), "labels": _digest(labels[:done])}
                write_sealed(partial / _PROGRESS, json.dumps(note).encode())
                saved = time.monotonic()
    images.flush()
    labels.flush()
