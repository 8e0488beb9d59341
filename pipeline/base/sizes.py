"""Sizes of pictures as people write them: 64 or 96x64, the height first. Needs only the standard library."""

import numbers
import re
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.names import printable

Size = tuple[int, int]
"""Height and width, in pixels."""

_BELOW = 2**14


def read_size(value: Any) -> int | str:
    """Reads `--image_size`.

    Args:
      value: a number, a text, or (height, width); 0 stands for no size.

    Returns:
      The side of a square as a number, any other size as a text such as "96x64".

    Raises:
      MirageError: if it is no size.
    """
    given = "x".join(map(str, value)) if isinstance(value, tuple | list) else value
    number = isinstance(given, numbers.Integral) and not isinstance(given, bool)
    match = re.fullmatch(r"(\d{1,9})(?:[xX](\d{1,9}))?", str(given), re.ASCII)
    sides = [int(side) for side in match.groups() if side is not None] if match else []
    if not (number or isinstance(given, str)) or not match or (0 in sides and sides != [0]):
        raise MirageError(
            f"--image_size={printable(str(given)):.100} is no size; expected a side such as 64, HEIGHTxWIDTH such as "
            "96x64, or 0 for the data's own."
        )
    if max(sides) >= _BELOW:
        raise MirageError(f"--image_size={given} is too large; expected less than {_BELOW} pixels.")
    return sides[0] if len({*sides}) == 1 else f"{sides[0]}x{sides[1]}"


def size_of(image_size: int | str) -> Size | None:
    """The height and width that a value of `read_size` stands for; None if it stands for none."""
    if not image_size:
        return None
    sides = [int(side) for side in str(image_size).split("x")]
    return sides[0], sides[-1]
