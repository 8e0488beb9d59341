"""Data sets of which decoding takes a while: decoded once into a file, which is then mapped into memory.

A raw file of pixels, rather than records: NumPy maps it, and a batch drawn at random from it is had ten times as fast
as from ArrayRecord files of the same pixels (BUILD.md, "Prepare data"). Where those don't fit, compressed pictures.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import tqdm

from pipeline.base.errors import MirageError
from pipeline.base.failures import in_a_line
from pipeline.base.folders import cache_folder, local_folder
from pipeline.base.kept_files import DamagedFileError, unsealed, write_sealed
from pipeline.base.names import printable
from pipeline.base.sizes import read_size
from pipeline.data.fingerprint import file_checksums, fingerprint_of, vouch
from pipeline.data.options import DataOptions
from pipeline.data.source import Origin, Source, skipping
from pipeline.data.spec import DataSpec, without_path
from pipeline.data.splits import slice_of
from pipeline.data.stores import STORES, Store, opened

PREFIX = "prepared:"
FOLDER, PARTIAL, ABOUT = "decoded", ".partial", "about.json"
_CHECKSUMS = "checksums.json"
_STAMPS = "stamps.json"
_PROGRESS = "progress.json"
_FORMAT = 2  # part of the key: to be raised whenever the same files would be decoded to other images
_SAVE_EVERY_S = 5.0
# Flags that decide what the pixels are, once and for all.
_LAWS = ("fit", "transparency")


class NoPlaceError(MirageError):
    """There is no place for the prepared images: it can't be written to, or is too small."""


def prepared_origin(options: DataOptions) -> Origin:
    """Where `--dataset=prepared:/path` comes from: a folder that `python -m pipeline.prepare --out` made."""
    return Origin(lambda: _open(options))


def _open(options: DataOptions) -> Source:
    given = f"--dataset={printable(options.dataset)}"
    folder = local_folder(f"--dataset={options.dataset}", options.dataset.removeprefix(PREFIX))
    try:
        about = json.loads(unsealed((folder / ABOUT).read_bytes()))
        spec = DataSpec.from_dict(about["spec"])
        damaged = _damaged(folder)
        if damaged:
            raise MirageError(f"{given}: {damaged} is damaged; prepare it again, or copy it anew.")
        images, labels = opened(folder, spec.image_shape)
    except (OSError, DamagedFileError, KeyError, TypeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or in_a_line(error, 150)
        raise MirageError(
            f"{given} is no prepared data set ({reason}); expected a folder that python -m pipeline.prepare --out made."
        ) from None
    if options.prepared_size not in (None, spec.image_shape[:2]):
        raise MirageError(
            f"{given} was prepared at {spec.image_shape[0]}x{spec.image_shape[1]} pixels, and --image_size and "
            f"--random_crop ask for {'x'.join(map(str, options.prepared_size))}; leave them out, or prepare another."
        )
    for name in _LAWS:
        asked, was = getattr(options, name), about.get(name, "unknown")
        if asked not in (was, getattr(DataOptions, name)):
            raise MirageError(
                f"{given} was prepared with --{name}={was}, and --{name}={asked} is asked for; leave it out, or "
                "prepare another."
            )
    part = slice_of(options.split, len(labels))
    labels, identity = labels[part], spec.fingerprint
    images = np.asarray(images)[part] if isinstance(images, np.ndarray) else images[part]
    if len(labels) != spec.num_examples:
        identity = fingerprint_of([identity, options.split])
    spec = dataclasses.replace(spec, name=printable(options.dataset), num_examples=len(labels))

    def examples() -> Iterator[tuple[np.ndarray, Any]]:
        for index, label in enumerate(labels):
            yield images[index], label

    return Source(spec, skipping(examples), lambda: identity, (images, labels))


def prepared(options: DataOptions, source: Source, out: Path | None = None) -> tuple[Any, np.ndarray]:
    """Decodes a data set into a file, unless that has been done; goes on where an earlier call was ended.

    Files of an earlier call are used only if their checksums are those that were written with them; they are
    decoded again otherwise.

    Args:
      options: `data_dir`, `prepared_as`, `split`, `image_size`, `fit` and `random_crop` count.
      source: the data set.
      out: folder for it; None for one below `data_dir`, by its content.

    Returns:
      (images, a memory map or `EncodedImages`, uint8 [N, H, W, C]; labels int32 [N] or float32 [N, A]).

    Raises:
      NoPlaceError: if there is too little space, or the file can't be written.
      MirageError: if the images can't be read.
    """
    folder = out or folder_of(options, source)
    parent = folder.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder, keep=out is None):
            if out is not None and folder.exists():
                _check_own(options, source, folder)
            if folder.exists() and (damaged := _damaged(folder)):
                print(f"warning: {folder / damaged} is damaged; it is decoded again.", file=sys.stderr, flush=True)
                shutil.rmtree(folder)
            if not folder.exists():
                _prepare(source, folder, options)
            with contextlib.suppress(OSError):
                now = time.time_ns()  # finer than the file system's own clock
                os.utime(folder / ABOUT, ns=(now, now))  # when it was used last
    except (OSError, NotImplementedError) as error:  # the latter where a file system has no locks
        raise NoPlaceError(
            f"the images of --dataset={source.spec.name} can't be decoded into {parent} "
            f"({getattr(error, 'strerror', None) or error}); pass --data_dir= where you may write and there is space."
        ) from None
    return opened(folder, source.spec.image_shape)


@contextlib.contextmanager
def _locked(folder: Path, *, keep: bool) -> Iterator[None]:
    """Lets one process alone at a folder, by a file beside it; `keep` leaves that there."""
    lock = folder.parent / f".{folder.name}.lock"
    with filelock.FileLock(lock):
        try:
            yield
        finally:
            if not keep:  # who waits for it meanwhile finds all done, as who makes another one will
                lock.unlink(missing_ok=True)


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


def _check_own(options: DataOptions, source: Source, folder: Path) -> None:
    """Refuses a folder that holds anything but this data set, prepared alike, or nothing."""
    try:
        about = json.loads(unsealed((folder / ABOUT).read_bytes()))
        spec = DataSpec.from_dict(about["spec"])
    except (OSError, DamagedFileError, KeyError, TypeError, ValueError):
        if folder.is_dir() and not [*folder.iterdir()]:
            folder.rmdir()
            return
        raise MirageError(f"--out={folder} holds other files; choose a new folder.") from None
    now = dataclasses.replace(source.spec, fingerprint=source.fingerprint)
    if difference := now.difference_from(spec):
        raise MirageError(f"--out={folder} holds another data set, and this has {difference}; choose a new folder.")
    for name in _LAWS:
        asked, was = getattr(options, name), about.get(name, "unknown")
        if asked != was:
            raise MirageError(f"--out={folder} was prepared with --{name}={was}, not {asked}; choose a new folder.")


def _check_space(source: Source, parent: Path, form: str, done: int) -> None:
    count = source.spec.num_examples
    needed, free = source.spec.num_bytes * (count - done) // count, shutil.disk_usage(parent).free
    if form == "pixels" and needed > free:
        raise NoPlaceError(
            f"--dataset={source.spec.name} needs {needed / 2**30:,.1f} GiB for its decoded images, and {parent} has "
            f"{free / 2**30:,.1f} GiB free; pass --data_dir= where there is more, choose a smaller --image_size, or "
            "keep them compressed with --prepared_as=pictures."
        )


def form_of(options: DataOptions, source: Source, parent: Path) -> str:
    """Which form images get in a folder that is there: pictures where pixels would take more than half of what is free.

    Args:
      options: `prepared_as` counts.
      source: the images.
      parent: where they are to be kept.
    """
    if options.prepared_as != "auto":
        return options.prepared_as
    return "pixels" if source.spec.num_bytes <= shutil.disk_usage(parent).free // 2 else "pictures"


def _prepare(source: Source, folder: Path, options: DataOptions) -> None:
    """Writes all files; the folder appears only when complete. What an end of the process leaves is gone on with."""
    partial = folder.with_name(folder.name + PARTIAL)
    partial.mkdir(exist_ok=True)
    # What is being made: `--out` is a name that something else may have been begun under.
    what = [source.fingerprint, options.split, _fitting(options), *(getattr(options, name) for name in _LAWS)]
    try:
        store, form = _begun(source, partial, options, what)
        with contextlib.closing(store):
            _check_space(source, folder.parent, form, store.done)
            _fill(store, source, {"form": form, "of": what}, partial / _PROGRESS)
            checksums = store.end()
        spec = dataclasses.replace(source.spec, name=without_path(source.spec.name), fingerprint=source.fingerprint)
        about = {"spec": spec.to_dict(), "form": form, **{name: getattr(options, name) for name in _LAWS}}
        write_sealed(partial / ABOUT, json.dumps(about).encode())
        write_sealed(partial / _CHECKSUMS, json.dumps(checksums).encode())
        vouch(partial, checksums, partial / _STAMPS)
        (partial / _PROGRESS).unlink(missing_ok=True)
        partial.rename(folder)
    except Exception:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _begun(source: Source, partial: Path, options: DataOptions, what: list[Any]) -> tuple[Store, str]:
    """Goes on with what an earlier process has begun, if that is this, and as it was noted; else begins.

    Returns:
      (where images go, their form: under `auto` that which was begun with, as it takes up what was free then).
    """
    with contextlib.suppress(OSError, ValueError, KeyError, DamagedFileError):
        progress = json.loads(unsealed((partial / _PROGRESS).read_bytes()))
        form = progress["form"]
        if progress["of"] == what and options.prepared_as in ("auto", form):
            return STORES[form](partial, source.spec, progress), form
    for left in partial.iterdir():
        left.unlink()
    form = form_of(options, source, partial.parent)
    return STORES[form](partial, source.spec, {}), form


def _fill(store: Store, source: Source, facts: Mapping[str, Any], progress: Path) -> None:
    """Writes the images that are left, and keeps note of how far it is."""
    name, count = source.spec.name, source.spec.num_examples
    bar: dict[str, Any] = {"unit": "image", "file": sys.stderr, "disable": None, "initial": store.done, "total": count}
    saved = time.monotonic()
    with tqdm.tqdm(store.items(source), f"preparing {name}", **bar) as items:
        for item, label in items:
            store.add(item, label)
            if time.monotonic() - saved > _SAVE_EVERY_S:
                write_sealed(progress, json.dumps({**facts, **store.note()}).encode())
                saved = time.monotonic()
