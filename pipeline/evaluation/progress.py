"""A bar on standard error for what takes long in an evaluation."""

import sys
from collections.abc import Iterable
from typing import Any

import tqdm

_AFTER_S = 3.0  # what is done sooner shows none


def progress(what: str, unit: str, total: int, items: Iterable[Any] | None = None, *, shown: bool = True) -> tqdm.tqdm:
    """Returns a bar, which is gone when it is done, and shows itself on terminals only.

    Args:
      what: what is being made.
      unit: one of it.
      total: how many.
      items: what to go through; without it, the bar is moved by `update`.
      shown: False for none at all.
    """
    return tqdm.tqdm(
        items,
        what,
        total,
        unit=unit,
        file=sys.stderr,
        delay=_AFTER_S,
        leave=False,
        disable=None if shown else True,
    )
