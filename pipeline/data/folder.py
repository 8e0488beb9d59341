"""`--dataset=folder:/path`: images in a folder or an archive, flat or in folders that name their classes."""

import dataclasses
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.base.folders import local_folder
from pipeline.base.names import printable
from pipeline.data.archives import open_archive
from pipeline.data.collection import Collection, FolderCollection
from pipeline.data.image_file import ENDINGS
from pipeline.data.labelling import Labelling, labelling
from pipeline.data.notices import say_once
from pipeline.data.options import DataOptions
from pipeline.data.pictures import Pictures
from pipeline.data.scan import Scan, scan, scan_names
from pipeline.data.source import Origin, Source
from pipeline.data.spec import DataSpec
from pipeline.data.splits import slice_of

PREFIX = "folder:"
_SPLITS = ("train", "training", "test", "testing", "val", "valid", "validation", "eval")
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
    listing = list_folder(options)
    pictures = Pictures(options, listing.files.among(listing.names[listing.part]))
    by, found = listing.by, listing.by.labels(listing.names)
    labels, class_names = found.values[listing.part][pictures.chosen], found.class_names

    def identify() -> str:
        alone = pictures.identify()  # which says what folders the files are in
        return found.fingerprint(alone, labels) if by.given else alone

    def examples(start: int) -> Iterator[tuple[np.ndarray, Any]]:
        return zip(pictures.examples(start), labels[start:], strict=True)

    def contents(start: int) -> Iterator[tuple[bytes, Any]]:
        return zip(pictures.contents(start), labels[start:], strict=True)

    shown_names = tuple(printable(name) for name in class_names)
    name, attributes = printable(options.dataset), found.attributes
    spec = DataSpec(name, "", pictures.image_shape, shown_names, len(pictures), attributes=attributes)
    return Source(spec, examples, identify, contents=contents)


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a folder or an archive holds, by names alone.

    Attributes:
      files: where they are.
      by: where labels stand.
      names: of all images, in the order of the data set.
      part: those of them that `--split` selects.
      found: what was left aside.
    """

    files: Collection
    by: Labelling
    names: list[str]
    part: slice
    found: Scan


def list_folder(options: DataOptions) -> Listing:
    """Lists the folder or archive that `options.dataset` names, and looks into no image.

    Raises:
      MirageError: for a folder or file that can't be used, or without images.
    """
    root = local_folder(f"--dataset={options.dataset}", options.dataset.removeprefix(PREFIX))
    files = _opened(options, root)
    by = labelling(options, files)
    found = _images(options, root, files, by)
    # Mixed by name, so that a slice of the split holds every class; stable when files are added.
    names = _mixed(found.files)
    part = slice_of(options.split, len(names))
    if not names[part]:
        raise MirageError(
            f"--split={options.split} selects none of the {len(names)} images in {printable(root)}; widen it."
        )
    return Listing(files, by, names, part, found)


def _mixed(names: list[str]) -> list[str]:
    """In the order of their SHA-256."""
    digests = b"".join(hashlib.sha256(os.fsencode(name)).digest() for name in names)
    parts = np.frombuffer(digests, ">u8").reshape(-1, 4)  # a fifth of the memory of so many objects
    return [names[row] for row in np.lexsort(parts.T[::-1])]


def _opened(options: DataOptions, root: Path) -> Collection:
    """Opens a folder, whose files are not listed yet, or an archive."""
    name = printable(options.dataset)
    if os.path.isdir(root):
        return FolderCollection(root, ())
    if os.path.isfile(root):
        return open_archive(root, name)
    raise MirageError(
        f"--dataset={name}: there is no folder {printable(root)}; expected a folder with images, or an archive."
    )


def _images(options: DataOptions, root: Path, files: Collection, by: Labelling) -> Scan:
    """Finds the images, and says what is left aside."""
    name = printable(options.dataset)
    if isinstance(files, FolderCollection):
        found = scan(root, ENDINGS, by.levels, deeper=not by.strict)
    else:
        found = scan_names(files.names, ENDINGS, by.levels, deeper=not by.strict)
    _check_depths(name, root, found, by)
    left_aside = found.left_aside()
    if not found.files:
        because = f" ({left_aside})" if left_aside else ""
        raise MirageError(
            f"--dataset={name}: no image below {printable(root)}{because}; expected files that end in {_USUAL_ENDINGS} "
            "or another format that Pillow reads."
        )
    if left_aside:
        say_once(f"--dataset={name}: left aside {left_aside}.")
    return found


def _check_depths(name: str, root: Path, found: Scan, by: Labelling) -> None:
    if not by.strict:
        shallow = next((file for file in found.files if file.count("/") < by.levels), "")
        if shallow:
            raise MirageError(
                f"--dataset={name}: {printable(shallow)} does not lie {by.levels} folders below {printable(root)}, as "
                f"--class_depth={by.levels} says; move it, or choose another depth."
            )
        return
    direct, in_classes = (next((f for f in found.files if ("/" in f) == inner), "") for inner in (False, True))
    examples = [example for example in (direct, in_classes, found.too_deep) if example]
    part = examples[-1].partition("/")[0] if examples else ""
    if found.too_deep and part.lower() in _SPLITS:
        raise MirageError(
            f"--dataset={name} holds several sets, such as {printable(part)}; pass one of them: --dataset={name}/"
            f"{printable(part)}."
        )
    if found.too_deep or len(examples) > 1:
        raise MirageError(
            f"--dataset={name}: images lie at several depths below {printable(root)}, or too deep, such as "
            f"{' and '.join(map(printable, examples))}; put all directly into it, or each into one sub-folder per "
            "class, or say with --class_depth how many levels of folders name the class (0: none)."
        )
