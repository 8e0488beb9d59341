"""Labels of pictures in a table: CSV, TSV, JSON, JSON lines, Parquet, or StyleGAN's dataset.json."""

import csv
import dataclasses
import io
import json
import os
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.failures import in_a_line
from pipeline.base.names import printable

_NAMED = 3
_DECIMALS = re.compile(r"[-+]?\d+(,\d+)?")
# What columns of paths are called, of those that could be one equally well.
_CALLED = ("path", "paths", "file_name", "filename", "file", "image", "image_path", "image_file", "img", "name")
_ENDINGS = ".csv, .tsv, .json, .jsonl or .parquet"


@dataclasses.dataclass(frozen=True)
class Table:
    """What a file of labels holds.

    Attributes:
      columns: names, in order.
      rows: values by column.
    """

    columns: tuple[str, ...]
    rows: Sequence[Mapping[str, Any]]


def read_table(content: bytes, name: str, given: str) -> Table:
    """Reads a table.

    Args:
      content: the file's.
      name: the file's, by whose ending its format is known.
      given: what was given, as an error shall name it.

    Raises:
      MirageError: if it is no table.
    """
    ending = os.path.splitext(name)[1].lower()
    readers: dict[str, Callable[[bytes], Table]] = {
        ".csv": _csv,
        ".tsv": lambda each: _csv(each, "\t"),
        ".json": _json,
        ".jsonl": _json_lines,
        ".parquet": _parquet,
    }
    if ending not in readers:
        raise MirageError(f"{given} is no table that can be read; expected a file that ends in {_ENDINGS}.")
    try:
        table = readers[ending](content)
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        raise MirageError(f"{given} can't be read ({in_a_line(error, 200)}); mend it.") from None
    if not table.rows:
        raise MirageError(f"{given} has no rows; expected one for each picture.")
    return table


def _csv(content: bytes, delimiter: str = ",") -> Table:
    text = content.decode("utf-8-sig")
    if delimiter == "," and text.count(";") > text.count(","):
        delimiter = ";"
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows = list(reader)
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise ValueError(f"row {number} has another number of columns than the head")
    if delimiter == ";":  # of a spreadsheet where the comma is the decimal point
        for column in reader.fieldnames or ():
            if all(_DECIMALS.fullmatch(row[column].strip()) for row in rows if row[column].strip()):
                rows = [{**row, column: row[column].replace(",", ".")} for row in rows]
    return Table(tuple(reader.fieldnames or ()), rows)


def _json(content: bytes) -> Table:
    document = json.loads(content)
    if isinstance(document, dict) and isinstance(document.get("labels"), list):  # StyleGAN's
        return Table(("path", "label"), [{"path": str(path), "label": label} for path, label in document["labels"]])
    if isinstance(document, dict) and all(not isinstance(each, dict | list) for each in document.values()):
        return Table(("path", "label"), [{"path": path, "label": label} for path, label in document.items()])
    return _records(document)


def _json_lines(content: bytes) -> Table:
    return _records([json.loads(line) for line in content.decode("utf-8-sig").split("\n") if line.strip()])


def _records(rows: Any) -> Table:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("expected a list of objects, one for each picture")
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    return Table(columns, [{name: row.get(name) for name in columns} for row in rows])


def _parquet(content: bytes) -> Table:
    try:
        from pyarrow import parquet
    except ImportError:
        raise ValueError("Parquet needs the package pyarrow: pip install pyarrow") from None
    table = parquet.read_table(io.BytesIO(content))
    return Table(tuple(table.column_names), table.to_pylist())


def values_of(table: Table, columns: Sequence[str], pictures: Sequence[str], given: str) -> list[tuple[Any, ...]]:
    """Finds the values of pictures.

    Args:
      table: the table; one of its columns says which picture a row is of: by its path, its file name, or that without
        its ending.
      columns: of the values.
      pictures: paths of the pictures, with slashes.
      given: what was given, as an error shall name it.

    Returns:
      The values of each picture, a value for each column.

    Raises:
      MirageError: if a column or a picture is missing, or a picture has two rows that differ.
    """
    for column in columns:
        if column not in table.columns:
            raise MirageError(f"{given} has no column {printable(column)}; there are {_listed(table.columns)}.")
    known = _Known(pictures)
    path = _path_column(table, columns, known, given)
    found: dict[str, tuple[Any, ...]] = {}
    for row in table.rows:
        picture = known.picture(row[path])
        values = tuple(row[column] for column in columns)
        if picture is not None and found.setdefault(picture, values) != values:
            raise MirageError(f"{given} has two rows for {printable(picture)} that differ; leave one.")
    missing = [name for name in pictures if name not in found or None in found[name]]
    if missing:
        named = ", ".join(printable(name) for name in missing[:_NAMED])
        more = f" and {len(missing) - _NAMED:,} more" if len(missing) > _NAMED else ""
        raise MirageError(
            f"{given} has no row, or no value, for {len(missing):,} of {len(pictures):,} pictures: {named}{more}; add "
            "them, or remove the pictures."
        )
    return [found[name] for name in pictures]


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(printable(each) for each in columns[:20])


def only_column(table: Table, given: str) -> str:
    """The column of labels where none is named: `label`, or the only one with a name beside that of the paths."""
    named = [name for name in table.columns if name]
    if "label" in named:
        return "label"
    others = [name for name in named if name.lower() not in _CALLED]
    if len(named) == 2 and len(others) == 1:
        return others[0]
    raise MirageError(f"{given} doesn't say which column; expected FILE:COLUMN, and there are {_listed(named)}.")


class _Known:
    """Pictures by all names that mean one of them only: path, the end of it, file name, that without its ending."""

    def __init__(self, pictures: Sequence[str]) -> None:
        """Takes their paths."""
        self.paths = {_key(picture): picture for picture in pictures}
        whole: dict[str, set[str]] = {}
        stems: dict[str, set[str]] = {}
        for key, picture in self.paths.items():
            parts = key.split("/")
            for start in range(len(parts)):
                end = "/".join(parts[start:])
                whole.setdefault(end, set()).add(picture)
                stems.setdefault(os.path.splitext(end)[0], set()).add(picture)
        self.files = {end: next(iter(each)) for end, each in whole.items() if len(each) == 1} | self.paths
        self.stems = {end: next(iter(each)) for end, each in stems.items() if len(each) == 1}

    def file(self, value: Any) -> str | None:
        """The picture that a path with an ending means: it may also begin above the data set's folder."""
        key = _key(value)
        found = self.files.get(key)
        while found is None and "/" in key:
            key = key.partition("/")[2]
            found = self.paths.get(key)
        return found

    def picture(self, value: Any) -> str | None:
        """The picture that a value means, if any."""
        found = self.file(value)
        return self.stems.get(_key(value)) if found is None else found


def _key(value: Any) -> str:
    """A path as it is looked for: one system's accents, slashes and letters are another's."""
    text = unicodedata.normalize("NFC", str(value)).replace("\\", "/").removeprefix("./")
    return str(PurePosixPath(text))


def _path_column(table: Table, columns: Sequence[str], known: _Known, given: str) -> str:
    """Finds the column that names most pictures, by files rather than by numbers that some files are called."""
    found: dict[str, tuple[int, int, int]] = {}
    for name in (name for name in table.columns if name not in columns):
        values = {row[name] for row in table.rows if isinstance(row[name], str | int | float)}
        files = len({picture for picture in map(known.file, values) if picture})
        stems = files or len({picture for picture in map(known.picture, values) if picture})
        found[name] = files, stems, name.lower() in _CALLED
    most = max(found.values(), default=(0, 0, 0))
    best = [name for name, count in found.items() if count == most]
    if not most[1]:
        example = printable(next(iter(known.paths.values()), ""))
        raise MirageError(
            f"{given}: no column names the pictures; expected one with paths such as {example}; there are "
            f"{_listed(table.columns)}."
        )
    if any(row[name] != row[best[0]] for row in table.rows for name in best[1:]):
        raise MirageError(f"{given}: pictures could be named by {' or '.join(map(printable, best))}; leave one out.")
    return best[0]
