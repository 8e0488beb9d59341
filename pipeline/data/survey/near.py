"""Finds the nearest among many hashes without comparing each with each: multi-index hashing (arXiv 1307.2982).

Hashes that differ in at most 7 of 64 bits differ in at most one bit of one of their four bands of 16. So each is
compared only with those that have the same band, or one that differs in a bit.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.data.survey.hashes import BANDS, BITS, distances

REACH = 7  # bits; what differs in more is not looked for
_SHORT_REACH = BANDS - 1  # what is found by bands that are the same
_BAND = BITS // BANDS
_CHUNK = 1 << 21  # pairs that are compared at once
_MOST = 2 * 10**9  # pairs that are compared at all: a minute or two
_NONE = np.iinfo(np.int64).max

Same = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]


def nearest(hashes: NDArray[np.uint64], same: Same) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Finds the nearest other one of each.

    Args:
      hashes: uint64 [N].
      same: told numbers of some pairs, says of which pairs both really look alike.

    Returns:
      (the number of the nearest, int64 [N], of several the first, -1 where there is none; the number of bits in which
      they differ, int64 [N]; up to how many bits was looked, which is less than `REACH` where too many are too much
      alike).
    """
    best = np.full(len(hashes), _NONE)
    reach = REACH if _cost(hashes, deep=True) <= _MOST else _SHORT_REACH
    most_each = len(hashes)
    if reach < REACH and _cost(hashes, deep=False) > _MOST:  # such as a film: each is compared with the likest alone
        most_each = max(1, _MOST // (BANDS * len(hashes)))
    for one, other in _candidates(hashes, most_each, deep=reach == REACH):
        apart = distances(hashes[one], hashes[other])
        close = np.flatnonzero(apart <= reach)
        one, other, apart = one[close], other[close], apart[close].astype(np.int64)
        kept = same(one, other)
        one, other, apart = one[kept], other[kept], apart[kept]
        np.minimum.at(best, one, (apart << 40) + other)
        np.minimum.at(best, other, (apart << 40) + one)
    found = best != _NONE
    return np.where(found, best & ((1 << 40) - 1), -1), np.where(found, best >> 40, 0), reach


def _masks(*, deep: bool) -> list[int]:
    return [0, *(1 << bit for bit in range(_BAND))] if deep else [0]


def _band(hashes: NDArray[np.uint64], band: int) -> NDArray[np.int64]:
    return ((hashes >> np.uint64(band * _BAND)) & np.uint64((1 << _BAND) - 1)).astype(np.int64)


def _cost(hashes: NDArray[np.uint64], *, deep: bool) -> int:
    """How many pairs would be compared."""
    keys, total = np.arange(1 << _BAND), 0
    for band in range(BANDS):
        counts = np.bincount(_band(hashes, band), minlength=1 << _BAND)
        total += sum(int(counts @ counts[keys ^ mask]) // 2 for mask in _masks(deep=deep))
    return total


def _candidates(
    hashes: NDArray[np.uint64], most_each: int, *, deep: bool
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yields numbers of pairs with a band that is the same or, if `deep`, differs in a bit; some of them repeatedly."""
    for band in range(BANDS):
        keys = _band(hashes, band)
        order = np.lexsort((hashes, keys))
        keys = keys[order]
        first = np.searchsorted(keys, np.arange((1 << _BAND) + 1))
        for mask in _masks(deep=deep):
            wanted = keys ^ mask
            start, stop = first[wanted], first[wanted + 1]
            if mask == 0:
                start = np.arange(1, len(keys) + 1)  # each pair once
            else:
                stop = np.where(keys < wanted, stop, start)
            yield from _expanded(order, start, np.clip(stop - start, 0, most_each))


def _expanded(
    order: NDArray[np.int64], start: NDArray[np.int64], counts: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of each place with the `counts` places from `start` on, in chunks."""
    ends = np.cumsum(counts)
    row = 0
    while row < len(counts):
        before = int(ends[row - 1]) if row else 0
        last = max(row + 1, int(np.searchsorted(ends, before + _CHUNK, "right")))
        part = counts[row:last]
        left = np.repeat(np.arange(row, last), part)
        offsets = np.arange(len(left)) - np.repeat(ends[row:last] - part - before, part)
        if len(left):
            yield order[left], order[start[left] + offsets]
        row = last
