"""Where a benchmark's figures go."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


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
