"""Data sets too large for a device: decoded once into a file, which is then mapped into memory."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import filelock
import numpy as np
import tqdm

from pipeline.base.errors import MirageError
from pipeline.base.folders import cache_folder
from pipeline.base.kept_files import DamagedFileError, unsealed, write_sealed
from pipeline.data.fingerprint import file_checksums
from pipeline.data.options import DataOptions
from pipeline.data.source import Source

_IMAGES, _LABELS = "images.npy", "labels.npy"
_CHECKSUMS = "checksums.json"
_STAMPS = "stamps.json"
_FORMAT = 2  # part of the key: to be raised whenever the same files would be decoded to other images


def decoded(options: DataOptions, source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Decodes a data set into a file, unless that has been done.

    Files of an earlier call are used only if their checksums are those that were written with them; they are
    decoded again otherwise.

    Args:
      options: `data_dir`, `split` and `image_size` count.
      source: the data set.

    Returns:
      (images as a memory map, uint8 [N, H, W, C]; labels int32 [N]).

    Raises:
      MirageError: if there is too little space, or the file can't be written.
    """
    parent = cache_folder(options.data_dir) / "decoded"
    spec = source.spec
    # Without the name: a folder that has moved is not decoded again.
    shape = [spec.num_examples, *spec.image_shape]
    key = json.dumps([_FORMAT, shape, spec.class_names, options.split, options.image_size, source.fingerprint])
    folder = parent / hashlib.sha256(key.encode()).hexdigest()[:24]
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(parent / f".{folder.name}.lock"):
            if folder.exists() and (damaged := _damaged(folder)):
                print(f"warning: {folder / damaged} is damaged; it is decoded again.", file=sys.stderr, flush=True)
                shutil.rmtree(folder)
            if not folder.exists():
                _check_space(source, parent)
                _decode(source, folder)
    except (OSError, NotImplementedError) as error:  # the latter where a file system has no locks
        raise MirageError(
            f"the images of --dataset={spec.name} can't be decoded into {parent} "
            f"({getattr(error, 'strerror', None) or error}); pass --data_dir= where you may write and there is space."
        ) from None
    return np.load(folder / _IMAGES, mmap_mode="r"), np.load(folder / _LABELS)


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


def _check_space(source: Source, parent: Path) -> None:
    needed, free = source.spec.num_bytes, shutil.disk_usage(parent).free
    if needed > free:
        raise MirageError(
            f"--dataset={source.spec.name} needs {needed / 2**30:,.1f} GiB for its decoded images, and {parent} has "
            f"{free / 2**30:,.1f} GiB free; pass --data_dir= where there is more, or choose a smaller --image_size."
        )


def _decode(source: Source, folder: Path) -> None:
    """Writes all files; the folder appears only when complete."""
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    spec = source.spec
    shape = (spec.num_examples, *spec.image_shape)
    images = np.lib.format.open_memmap(partial / _IMAGES, mode="w+", dtype=np.uint8, shape=shape)
    labels = np.zeros(spec.num_examples, np.int32)
    with (partial / _IMAGES).open("rb") as file:
        digest = hashlib.sha256(file.read(images.offset))
    try:
        progress = tqdm.tqdm(source, "decoding", spec.num_examples, unit="image", file=sys.stderr, disable=None)
        for index, (image, label) in enumerate(progress):
            images[index], labels[index] = image, label
            digest.update(images[index].data)
        images.flush()
        np.save(partial / _LABELS, labels)
        checksums = {_IMAGES: digest.hexdigest(), _LABELS: hashlib.sha256((partial / _LABELS).read_bytes()).hexdigest()}
        write_sealed(partial / _CHECKSUMS, json.dumps(checksums).encode())
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
