"""Parts of data that have no splits of their own."""

import re

from pipeline.base.errors import MirageError
from pipeline.base.names import printable


def slice_of(split: str, count: int) -> slice:
    """Finds what `--split` chooses of data that have but one.

    Args:
      split: train, or a slice of it in tensorflow-datasets' notation.
      count: number of examples.

    Raises:
      MirageError: if it is something else.
    """
    match = re.fullmatch(r"train(?:\[(-?\d{1,18}%?)?:(-?\d{1,18}%?)?\])?", split, re.ASCII)
    if not match:
        raise MirageError(
            f"--split={printable(split)} is unknown to a folder or a file; expected train or a slice of it, such as "
            "train[:80%]."
        )

    def position(text: str | None) -> int | None:
        if text is None:
            return None
        if text.endswith("%") and abs(int(text[:-1])) > 100:
            raise MirageError(f"--split={split} goes beyond 100%; expected a slice such as train[:80%].")
        return round(count * int(text[:-1]) / 100) if text.endswith("%") else int(text)

    return slice(position(match[1]), position(match[2]))
