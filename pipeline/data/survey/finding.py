"""What is told of a data set: a sentence of what was found, one of what to do, and the pictures that show it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

STOPS, WARNS, NOTES = "stops", "warns", "notes"
LEVELS = {STOPS: "training refuses this", WARNS: "worth mending", NOTES: "good to know"}


@dataclasses.dataclass(frozen=True)
class Example:
    """A picture, or several that belong together.

    Attributes:
      rows: their rows in the survey.
      caption: what is said of them.
    """

    rows: Sequence[int]
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class Finding:
    """Something about a data set.

    Attributes:
      name: a key.
      level: one of `LEVELS`.
      count: of how many pictures, classes or files it is true.
      says: what was found, a sentence.
      do: what to do about it, a sentence.
      examples: pictures that show it, the worst first.
    """

    name: str
    level: str
    count: int
    says: str
    do: str
    examples: Sequence[Example] = ()

    def line(self) -> str:
        """Both sentences."""
        return f"{self.says} {self.do}"


def in_numbers(count: Any, noun: str, plural: str = "") -> str:
    """Such as "1 picture" or "2,000 pictures"."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
