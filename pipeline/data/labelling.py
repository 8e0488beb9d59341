"""What each picture is of: a class, by its folder or by a table, or several attributes, by a table."""

import dataclasses
import json
import os
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.base.errors import MirageError
from pipeline.base.names import printable
from pipeline.data.attributes import Labels, as_numbers, attributes_from, check_there, is_one_hot, told
from pipeline.data.collection import Collection
from pipeline.data.elements import class_order, classes_of
from pipeline.data.image_file import BadImageError
from pipeline.data.label_tables import only_column, read_table, values_of
from pipeline.data.notices import say_once
from pipeline.data.options import DataOptions

_STYLEGAN = "dataset.json"
_TABLES = ("metadata.csv", "metadata.jsonl", "metadata.parquet", "labels.csv")
_KINDS = ("number", "class")
# Of a column of whole numbers, so many different ones may well be no classes.
_MANY_CLASSES = 20


@dataclasses.dataclass(frozen=True)
class Labelling:
    """Where labels stand.

    Attributes:
      levels: how many levels of folders name the class.
      strict: whether that is to be seen: all pictures lie directly in the data set's folder, or all one folder below.
      given: a table, as errors name it; empty if there is none.
      content: of the table's file.
      place: the table's path.
      column: the table's column, or several joined by commas, each maybe with `=number` or `=class` behind it; empty
        for the only one that is no path.
    """

    levels: int = 1
    strict: bool = True
    given: str = ""
    content: bytes = b""
    place: str = ""
    column: str = ""

    def labels(self, names: Sequence[str]) -> Labels:
        """Finds what pictures are of.

        Args:
          names: of all of them, with slashes.

        Raises:
          MirageError: if the table does not say it.
        """
        if not self.given:
            folders = ["/".join(name.split("/")[:-1][: self.levels]) for name in names]
            classes = set(folders) - {""}
            ordered = tuple(sorted(classes, key=class_order(classes)))
            number = {name: label for label, name in enumerate(ordered)}
            return Labels(np.array([number.get(folder, 0) for folder in folders], np.int32), ordered)
        table = read_table(self.content, self.place, self.given)
        column = self.column or only_column(table, self.given)
        kinds = columns_asked(column, table.columns, self.given)
        rows = values_of(table, [*kinds], names, self.given)
        columns: dict[str, Sequence[Any]] = dict(zip(kinds, zip(*rows, strict=True), strict=True))
        return labels_of(columns, kinds, self.given, names)


def columns_asked(asked: str, known: Container[str], given: str) -> dict[str, str]:
    """Takes apart what `--labels` asks for.

    Args:
      asked: a column, or several joined by commas, each maybe with `=number` or `=class` behind it.
      known: the columns that there are; others may be asked for as well.
      given: the flag, as errors name it.

    Returns:
      The columns, with the kind of each where that is said.

    Raises:
      MirageError: for another kind, or a column that is named twice.
    """
    if asked in known:
        return {asked: ""}
    kinds: dict[str, str] = {}
    for entry in asked.split(","):
        name, equals, kind = entry.rpartition("=")
        column, kind = (entry, "") if entry in known or not equals else (name, kind)
        if kind and kind not in _KINDS:
            raise MirageError(
                f"{given} asks for {printable(entry)}; expected the name of a column, and behind it nothing, "
                "=number or =class."
            )
        if column in kinds:
            raise MirageError(f"{given} names {printable(column)} twice; leave one out.")
        kinds[column] = kind
    return kinds


def labels_of(
    columns: Mapping[str, Sequence[Any]],
    kinds: Mapping[str, str],
    given: str,
    pictures: Sequence[str] = (),
    *,
    apart: bool = False,
) -> Labels:
    """Makes classes of an only column, unless it holds numbers that are no whole ones or vectors; else attributes.

    Args:
      columns: a value for each picture.
      kinds: see `columns_asked`.
      given: the flag, as errors name it.
      pictures: their names, for errors.
      apart: whether they are of a test split, of which a column may be constant.

    Raises:
      MirageError: for values that can be neither, or are missing.
    """
    if len(columns) == 1:
        column, values = next(iter(columns.items()))
        vectors = _vectors(values, given)
        if vectors and is_one_hot(np.array([*vectors.values()], object).T):
            codes = np.array([*vectors.values()]).argmax(axis=0).astype(np.int32)
            return Labels(codes, tuple(map(str, range(len(vectors)))))
        if vectors:
            columns = vectors
        elif not _is_number(given, column, values, kinds[column]):
            _check_named(column, values, given, pictures)
            return Labels(*classes_of(np.array([_named(value) for value in values], str), given))
    found = attributes_from(columns, given, kinds, pictures, apart=apart)
    if len(columns) > 1:
        say_once(f"{given}: attributes are {', '.join(map(told, found.attributes))}.")
    return found


def _is_number(given: str, column: str, values: Sequence[Any], kind: str) -> bool:
    """Whether the values of an only column are numbers rather than names of classes, and says so."""
    if kind:
        return kind == "number"
    numbers = as_numbers(values)
    if numbers is None:
        return False
    finite = numbers[np.isfinite(numbers)]
    if (finite != np.rint(finite)).any():
        say_once(
            f"{given}: {printable(column)} is taken as a number from {finite.min():g} to {finite.max():g}; "
            f"{printable(column)}=class takes its values as classes."
        )
        return True
    if len(different := np.unique(finite)) > _MANY_CLASSES:
        say_once(
            f"{given}: {len(different):,} whole numbers from {different[0]:g} to {different[-1]:g} are taken "
            f"as classes; {printable(column)}=number takes them as a number."
        )
    return False


def _check_named(column: str, values: Sequence[Any], given: str, pictures: Sequence[str]) -> None:
    """Refuses classes that nobody named: an empty cell of a table, or a number that is none."""
    numbers = as_numbers(values)
    check_there(column, values, None if numbers is None else np.where(np.isnan(numbers), np.nan, 0), given, pictures)


def _vectors(values: Sequence[Any], given: str) -> dict[str, Sequence[Any]]:
    """Of values that are lists of numbers, as StyleGAN's labels may be, the columns; otherwise none."""
    if not any(isinstance(value, list) for value in values):
        return {}
    sizes = {len(value) if isinstance(value, list) else 0 for value in values}
    if len(sizes) > 1 or 0 in sizes:
        raise MirageError(
            f"{given} has lists of {', '.join(map(str, sorted(sizes)))} labels; expected as many in each."
        )
    return {f"attribute {place}": column for place, column in enumerate(zip(*values, strict=True))}


def labelling(options: DataOptions, files: Collection) -> Labelling:
    """Finds out where labels stand.

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
    document = _content(options, files, _STYLEGAN)
    if document is not None and (labels := _stylegan_labels(document)) is not None:
        name = printable(options.dataset)
        if not labels:
            say_once(f"--dataset={name}: {_STYLEGAN} says that there are no labels.")
            return Labelling(0, strict=False)
        say_once(f"--dataset={name}: labels are those of {_STYLEGAN}.")
        return Labelling(0, False, f"{_STYLEGAN} of --dataset={name}", document, _STYLEGAN)
    for table in filter(files.holds, _TABLES):
        say_once(
            f"--dataset={printable(options.dataset)}: {table} lies beside the pictures; --labels={table}:COLUMN takes "
            "classes from it, and COLUMN,COLUMN attributes."
        )
    return Labelling()


def _content(options: DataOptions, files: Collection, name: str) -> bytes | None:
    """What lies in a file beside the pictures; None if there is none, or it can't be read, which is said."""
    try:
        return files.content(name)
    except (OSError, BadImageError) as error:
        reason = getattr(error, "strerror", None) or error
        say_once(f"--dataset={printable(options.dataset)}: {name} can't be read ({reason}) and is left aside.")
        return None


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
            f"{given} can't be read ({reason}); expected FILE:COLUMN, or FILE:COLUMN,COLUMN, FILE in the data set's "
            "folder or elsewhere."
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
    labels = content["labels"] or []
    pairs = isinstance(labels, list) and all(isinstance(each, list) and len(each) == 2 for each in labels)
    return labels if pairs else None


def _named(value: Any) -> str:
    """A class's name; whole numbers are whole, whatever their type."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
