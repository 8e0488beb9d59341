"""Data sets too large for a device: decoded once into a file, which is then mapped into memory."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import filelock
import numpy as np
import tqdm

from pipeline.config import Config
from pipeline.data.source import Source
from pipeline.errors import MirageError

_DEFAULT_DIR = "~/.cache/mirage"
_IMAGES, _LABELS = "images.npy", "labels.npy"


def decoded(config: Config, source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Decodes a data set into a file, unless that has been done.

    Args:
      config: `data_dir`, `split` and `image_size` count.
      source: the data set.

    Returns:
      (images as a memory map, uint8 [N, H, W, C]; labels int32 [N]).

    Raises:
      MirageError: if there is too little space, or the file can't be written.
    """
    parent = Path(config.data_dir or _DEFAULT_DIR).expanduser() / "decoded"
    key = json.dumps([source.spec.to_dict(), config.split, config.image_size, source.fingerprint])
    folder = parent / hashlib.sha256(key.encode()).hexdigest()[:24]
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(parent / f".{folder.name}.lock"):
            if not folder.exists():
                _check_space(config, source, parent)
                _decode(source, folder)
    except OSError as error:
        raise MirageError(
            f"the images of --dataset={config.dataset} can't be decoded into {parent} ({error.strerror or error}); "
            "pass --data_dir= where you may write and there is space."
        ) from None
    return np.load(folder / _IMAGES, mmap_mode="r"), np.load(folder / _LABELS)


def _check_space(config: Config, source: Source, parent: Path) -> None:
    needed, free = source.spec.num_bytes, shutil.disk_usage(parent).free
    if needed > free:
        raise MirageError(
            f"--dataset={config.dataset} needs {needed / 2**30:,.1f} GiB for its decoded images, and {parent} has "
            f"{free / 2**30:,.1f} GiB free; pass --data_dir= where there is more, or choose a smaller --image_size."
        )


def _decode(source: Source, folder: Path) -> None:
    """Writes both files; the folder appears only when complete."""
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    spec = source.spec
    shape = (spec.num_examples, *spec.image_shape)
    images = np.lib.format.open_memmap(partial / _IMAGES, mode="w+", dtype=np.uint8, shape=shape)
    labels = np.zeros(spec.num_examples, np.int32)
    try:
        progress = tqdm.tqdm(
            source.examples, "decoding", spec.num_examples, unit="image", file=sys.stderr, disable=None
        )
        for index, (image, label) in enumerate(progress):
            images[index], labels[index] = image, label
        images.flush()
        np.save(partial / _LABELS, labels)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
