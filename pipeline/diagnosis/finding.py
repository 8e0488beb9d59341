"""A verdict on one thing, and how it is shown. Needs only the standard library."""

import dataclasses
from typing import Literal

_NAME_WIDTH = 16


@dataclasses.dataclass(frozen=True)
class Finding:
    """What was found of one thing.

    Attributes:
      name: what was looked at, such as "driver" or "gpu:0"; it stays the same between versions.
      verdict: "good", "bad", or "note" for what works, but not as well as it could.
      says: one sentence.
      do: what to do about it; empty if there is nothing to do.
    """

    name: str
    verdict: Literal["good", "bad", "note"]
    says: str
    do: str = ""

    def __str__(self) -> str:
        """The lines that are printed."""
        first = f"{self.verdict:<4}  {self.name:<{_NAME_WIDTH}}  {self.says}"
        return f"{first}\n      do: {self.do}" if self.do else first


def good(name: str, says: str) -> Finding:
    """What is as it should be."""
    return Finding(name, "good", says)


def bad(name: str, says: str, do: str) -> Finding:
    """What keeps training from working, or from using the GPUs."""
    return Finding(name, "bad", says, do)


def note(name: str, says: str, do: str = "") -> Finding:
    """What works, but not as well as it could."""
    return Finding(name, "note", says, do)


def gib(size: int) -> str:
    """Bytes in GiB, with one digit."""
    return f"{size / 2**30:,.1f}"
