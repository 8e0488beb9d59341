"""`--dataset=folder:/path`: images in a folder or an archive, flat or in folders that name their classes."""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.base.folders import local_folder
from pipeline.base.names import printable
from pipeline.data.archives import open_archive
from pipeline.data.collection import Collection, FolderCollection
from pipeline.data.elements import class_order
from pipeline.data.image_file import ENDINGS
from pipeline.data.notices import say_once
from pipeline.data.options import DataOptions
from pipeline.data.pictures import Pictures
from pipeline.data.scan import Scan, scan, scan_names
from pipeline.data.source import Origin, Source
from pipeline.data.spec import DataSpec

PREFIX = "folder:"
_USUAL_ENDINGS = ".jpg, .png, .webp, .gif, .bmp, .tif"


def folder_origin(options: DataOptions) -> Origin:
    """Where `--dataset=folder:/path` comes from; a folder keeps nothing apart for testing."""
    return Origin(lambda: open_folder(options))


def open_folder(options: DataOptions) -> Source:
    """Looks through all images of the folder or archive that `options.dataset` names.

    Args:
      options: all but `manual_dir` and `dataset_args` count.

    Returns:
      The images, in an order that depends on the file names alone; grey if all files are, else RGB. With
      `skip_bad_images`, those that can be read: all are decoded to find out which.

    Raises:
      MirageError: for a folder or file that can't be used.
    """
    root = local_folder(f"--dataset={options.dataset}", options.dataset.removeprefix(PREFIX))
    files, names = _list_images(options, root)
    chosen = names[_slice_of_split(options.split, len(names))]
    if not chosen:
        raise MirageError(
            f"--split={options.split} selects none of the {len(names)} images in {printable(root)}; widen it."
        )
    pictures = Pictures(options, files.among(chosen))
    labels, class_names = _classes(options, names, [chosen[each] for each in pictures.chosen])

    def examples(start: int) -> Iterator[tuple[np.ndarray, int]]:
        return zip(pictures.examples(start), labels[start:], strict=True)

    shown_names = tuple(printable(name) for name in class_names)
    spec = DataSpec(printable(options.dataset), "", pictures.image_shape, shown_names, len(pictures))
    return Source(spec, examples, pictures.identify)


def _list_images(options: DataOptions, root: Path) -> tuple[Collection, list[str]]:
    """Returns (the files of a folder or an archive, names of its images in the order of the data set)."""
    name = printable(options.dataset)
    levels, deeper = (1, False) if options.class_depth < 0 else (options.class_depth, True)
    files: Collection
    if os.path.isdir(root):
        files = FolderCollection(root, ())
        found = scan(root, ENDINGS, levels, deeper=deeper)
    elif os.path.isfile(root):
        files = open_archive(root, name)
        found = scan_names(files.names, ENDINGS, levels, deeper=deeper)
    else:
        raise MirageError(
            f"--dataset={name}: there is no folder {printable(root)}; expected a folder with images, or an archive."
        )
    _check_depths(options, root, found)
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
    return files, sorted(found.files, key=lambda file: hashlib.sha256(os.fsencode(file)).digest())


def _classes(options: DataOptions, names: Sequence[str], chosen: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns (labels of the chosen images, names of the classes of all)."""
    levels = 1 if options.class_depth < 0 else options.class_depth

    def folder(name: str) -> str:
        return "/".join(name.split("/")[:-1][:levels])

    classes = {folder(name) for name in names} - {""}
    ordered = tuple(sorted(classes, key=class_order(classes)))
    number = {name: label for label, name in enumerate(ordered)}
    return np.array([number.get(folder(name), 0) for name in chosen], np.int32), ordered


def _check_depths(options: DataOptions, root: Path, found: Scan) -> None:
    name = printable(options.dataset)
    if options.class_depth >= 0:
        shallow = next((file for file in found.files if file.count("/") < options.class_depth), "")
        if shallow:
            raise MirageError(
                f"--dataset={name}: {printable(shallow)} does not lie {options.class_depth} folders below "
                f"{printable(root)}, as --class_depth={options.class_depth} says; move it, or choose another depth."
            )
        return
    direct, in_classes = (next((f for f in found.files if ("/" in f) == inner), "") for inner in (False, True))
    examples = [example for example in (direct, in_classes, found.too_deep) if example]
    if found.too_deep or len(examples) > 1:
        raise MirageError(
            f"--dataset={name}: images lie at several depths below {printable(root)}, or too deep, such as "
            f"{' and '.join(map(printable, examples))}; put all directly into it, or each into one sub-folder per "
            "class, or say with --class_depth how many levels of folders name the class (0: none)."
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
