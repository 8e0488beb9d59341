"""`--dataset=folder:/path`: images in a folder, flat or in one sub-folder per class."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.base.folders import local_folder
from pipeline.base.names import printable
from pipeline.data.collection import FolderCollection
from pipeline.data.elements import class_order
from pipeline.data.image_file import ENDINGS
from pipeline.data.notices import say_once
from pipeline.data.options import DataOptions
from pipeline.data.pictures import Pictures
from pipeline.data.scan import Scan, scan
from pipeline.data.source import Origin, Source
from pipeline.data.spec import DataSpec

PREFIX = "folder:"
_USUAL_ENDINGS = ".jpg, .png, .webp, .gif, .bmp, .tif"


def folder_origin(options: DataOptions) -> Origin:
    """Where `--dataset=folder:/path` comes from; a folder keeps nothing apart for testing."""
    return Origin(lambda: open_folder(options))


def open_folder(options: DataOptions) -> Source:
    """Looks through all images of the folder that `options.dataset` names.

    Args:
      options: `dataset`, `split`, `image_size`, `skip_bad_images` and `device_data_mb` count.

    Returns:
      The images, in an order that depends on the file names alone; grey if all files are, else RGB. With
      `skip_bad_images`, those that can be read: all are decoded to find out which.

    Raises:
      MirageError: for a folder or file that can't be used.
    """
    root = local_folder(f"--dataset={options.dataset}", options.dataset.removeprefix(PREFIX))
    files, class_names = _list_images(options, root)
    chosen = files[_slice_of_split(options.split, len(files))]
    if not chosen:
        raise MirageError(
            f"--split={options.split} selects none of the {len(files)} images in {printable(root)}; widen it."
        )
    pictures = Pictures(options, FolderCollection(root, chosen))
    number = {name: label for label, name in enumerate(class_names)}
    folders = [os.path.dirname(chosen[each]) for each in pictures.chosen]
    labels = np.array([number.get(folder, 0) for folder in folders], np.int32)

    def examples(start: int) -> Iterator[tuple[np.ndarray, int]]:
        return zip(pictures.examples(start), labels[start:], strict=True)

    shown_names = tuple(printable(name) for name in class_names)
    spec = DataSpec(printable(options.dataset), "", pictures.image_shape, shown_names, len(pictures))
    return Source(spec, examples, pictures.identify)


def _list_images(options: DataOptions, root: Path) -> tuple[list[str], tuple[str, ...]]:
    """Returns (images relative to the root, names of the folders that are classes)."""
    name = printable(options.dataset)
    if not os.path.isdir(root):
        raise MirageError(f"--dataset={name}: there is no folder {printable(root)}; expected a folder with images.")
    found = scan(root, ENDINGS)
    _check_depths(name, root, found)
    left_aside = found.left_aside()
    if not found.files:
        because = f" ({left_aside})" if left_aside else ""
        raise MirageError(
            f"--dataset={name}: no image below {printable(root)}{because}; expected files that end in {_USUAL_ENDINGS} "
            "or another format that Pillow reads."
        )
    if left_aside:
        say_once(f"--dataset={name}: left aside {left_aside}.")
    # Mixed by name, so that a slice of the split holds every class; stable when files are added.
    files = sorted(found.files, key=lambda file: hashlib.sha256(os.fsencode(file)).digest())
    classes = {os.path.dirname(file) for file in files} - {""}
    return files, tuple(sorted(classes, key=class_order(classes)))


def _check_depths(name: str, root: Path, found: Scan) -> None:
    direct, in_classes = (next((f for f in found.files if ("/" in f) == inner), "") for inner in (False, True))
    examples = [example for example in (direct, in_classes, found.too_deep) if example]
    if found.too_deep or len(examples) > 1:
        raise MirageError(
            f"--dataset={name}: images lie at several depths below {printable(root)}, or too deep, such as "
            f"{' and '.join(map(printable, examples))}; put all directly into it, or each into one sub-folder per "
            "class."
        )


def _slice_of_split(split: str, count: int) -> slice:
    match = re.fullmatch(r"train(?:\[(-?\d{1,18}%?)?:(-?\d{1,18}%?)?\])?", split, re.ASCII)
    if not match:
        raise MirageError(
            f"--split={printable(split)} is unknown to an image folder; expected train or a slice of it, such as "
            "train[:80%]."
        )

    def position(text: str | None) -> int | None:
        if text is None:
            return None
        if text.endswith("%") and abs(int(text[:-1])) > 100:
            raise MirageError(f"--split={split} goes beyond 100%; expected a slice such as train[:80%].")
        return round(count * int(text[:-1]) / 100) if text.endswith("%") else int(text)

    return slice(position(match[1]), position(match[2]))
