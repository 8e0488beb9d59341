"""Labels of pictures in a table: CSV, TSV, JSON, JSON lines, Parquet, or StyleGAN's dataset.json."""

import collections
import csv
import dataclasses
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.failures import in_a_line
from pipeline.base.names import printable

_NAMED = 3
_LOOKED_AT = 1000  # rows by which the column of paths is found
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
    return Table(tuple(reader.fieldnames or ()), rows)


def _json(content: bytes) -> Table:
    document = json.loads(content)
    if isinstance(document, dict) and isinstance(document.get("labels"), list):  # StyleGAN's
        return Table(("path", "label"), [{"path": str(path), "label": label} for path, label in document["labels"]])
    if isinstance(document, dict) and all(not isinstance(each, dict | list) for each in document.values()):
        return Table(("path", "label"), [{"path": path, "label": label} for path, label in document.items()])
    return _records(document)


def _json_lines(content: bytes) -> Table:
    return _records([json.loads(line) for line in content.decode("utf-8-sig").splitlines() if line.strip()])


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
    known = _known(pictures)
    path = _path_column(table, columns, known, given)
    found: dict[str, tuple[Any, ...]] = {}
    for row in table.rows:
        picture = known.get(_key(row[path]))
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


def _key(value: Any) -> str:
    return str(PurePosixPath(str(value).replace("\\", "/").removeprefix("./")))


def _known(pictures: Sequence[str]) -> dict[str, str]:
    """Pictures by all names that mean one of them only: path, the end of it, file name, that without its ending."""
    names: dict[str, str] = {}
    short: collections.Counter[str] = collections.Counter()
    candidates: dict[str, str] = {}
    for picture in pictures:
        parts = picture.split("/")
        ends = {"/".join(parts[start:]) for start in range(1, len(parts))}
        ends |= {os.path.splitext(each)[0] for each in (*ends, picture)}
        for end in ends:
            short[end] += 1
            candidates[end] = picture
        names[picture] = picture
    return {end: picture for end, picture in candidates.items() if short[end] == 1} | names


def _path_column(table: Table, columns: Sequence[str], known: Mapping[str, str], given: str) -> str:
    rows = table.rows[:_LOOKED_AT]
    hits = {name: sum(_key(row[name]) in known for row in rows) for name in table.columns if name not in columns}
    best = max(hits, key=hits.__getitem__, default="")
    if not best or not hits[best]:
        raise MirageError(
            f"{given}: no column names the pictures; expected one with paths such as {printable(next(iter(known)))}; "
            f"there are {_listed(table.columns)}."
        )
    return best
