"""Where a benchmark's figures go."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.files import write_file


def publish(results: Mapping[str, Any], report: str, path: str) -> None:
    """Prints a report, and writes the figures.

    Args:
      results: all figures, as JSON types.
      report: the same for people.
      path: file for the figures; empty writes none.
    """
    print(report)
    save(results, path)


def save(results: Mapping[str, Any], path: str) -> None:
    """Writes the figures; see `publish`."""
    if path:
        Path(path).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def place(text: str, document: Path, begin: str, end: str) -> None:
    """Writes a text into its place in a document.

    Args:
      text: Markdown.
      document: a file with two marks around that place.
      begin: the first mark.
      end: the second one.

    Raises:
      MirageError: if it has no such place.
    """
    head, first, rest = document.read_text(encoding="utf-8").partition(begin)
    _, second, tail = rest.partition(end)
    if not first or not second:
        raise MirageError(f"{document} has no place for this; add the lines {begin} and {end} where it belongs.")
    write_file(document, f"{head}{begin}\n\n{text}\n{end}{tail}".encode())
