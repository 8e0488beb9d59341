"""Which class each picture is of: by its folder, or by a table."""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.base.names import printable
from pipeline.data.collection import Collection
from pipeline.data.elements import class_order, classes_of
from pipeline.data.image_file import BadImageError
from pipeline.data.label_tables import read_table, values_of
from pipeline.data.notices import say_once
from pipeline.data.options import DataOptions

_STYLEGAN = "dataset.json"
_TABLES = ("metadata.csv", "metadata.jsonl", "metadata.parquet", "labels.csv")


@dataclasses.dataclass(frozen=True)
class Labelling:
    """Where classes stand.

    Attributes:
      levels: how many levels of folders name the class.
      strict: whether that is to be seen: all pictures lie directly in the data set's folder, or all one folder below.
      given: a table, as errors name it; empty if there is none.
      content: of the table's file.
      place: the table's path.
      column: the table's column; empty for the only one that is no path.
    """

    levels: int = 1
    strict: bool = True
    given: str = ""
    content: bytes = b""
    place: str = ""
    column: str = ""

    def classes(self, names: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
        """Finds the classes of pictures.

        Args:
          names: of all of them, with slashes.

        Returns:
          (labels int32 [N]; names of the classes, of which there are none if none are named).

        Raises:
          MirageError: if the table does not say it.
        """
        if not self.given:
            folders = ["/".join(name.split("/")[:-1][: self.levels]) for name in names]
            classes = set(folders) - {""}
            ordered = tuple(sorted(classes, key=class_order(classes)))
            number = {name: label for label, name in enumerate(ordered)}
            return np.array([number.get(folder, 0) for folder in folders], np.int32), ordered
        table = read_table(self.content, self.place, self.given)
        column = self.column or ("label" if "label" in table.columns else "")
        values = [_named(value) for (value,) in values_of(table, [column], names, self.given)]
        return classes_of(np.array(values, str), self.given)


def labelling(options: DataOptions, files: Collection) -> Labelling:
    """Finds out where classes stand.

    Args:
      options: `dataset`, `class_depth` and `labels` count.
      files: where the pictures are.

    Raises:
      MirageError: if the table can't be had.
    """
    if options.labels:
        return _table(options, files)
    if options.class_depth >= 0:
        return Labelling(options.class_depth, strict=False)
    document = files.content(_STYLEGAN)
    if document is not None and (labels := _stylegan_labels(document)) is not None:
        name = printable(options.dataset)
        if not labels:
            say_once(f"--dataset={name}: {_STYLEGAN} says that there are no labels.")
            return Labelling(0, strict=False)
        say_once(f"--dataset={name}: labels are those of {_STYLEGAN}.")
        return Labelling(0, False, f"{_STYLEGAN} of --dataset={name}", document, _STYLEGAN)
    for table in (each for each in _TABLES if files.content(each) is not None):
        say_once(
            f"--dataset={printable(options.dataset)}: {table} lies beside the pictures; --labels={table}:COLUMN takes "
            "classes from it."
        )
    return Labelling()


def _table(options: DataOptions, files: Collection) -> Labelling:
    given = f"--labels={printable(options.labels)}"
    place, colon, column = options.labels.rpartition(":")
    if not colon or os.path.basename(options.labels) == _STYLEGAN:
        place, column = options.labels, ""
    try:
        inside = files.content(place)
        content = Path(place).expanduser().read_bytes() if inside is None else inside
    except (OSError, RuntimeError, BadImageError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MirageError(
            f"{given} can't be read ({reason}); expected FILE:COLUMN, FILE in the data set's folder or elsewhere."
        ) from None
    return Labelling(0, False, given, content, place, column)


def _stylegan_labels(document: bytes) -> list | None:
    """The labels in a file as StyleGAN's tools write it, [] if it says that there are none; None for another file."""
    try:
        content: Any = json.loads(document)
    except ValueError:
        return None
    if not isinstance(content, dict) or "labels" not in content:
        return None
    return content["labels"] or []


def _named(value: Any) -> str:
    """A class's name; whole numbers are whole, whatever their type."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
