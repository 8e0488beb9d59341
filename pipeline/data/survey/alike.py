"""Which pictures of a table are the same, or look alike."""

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.survey.hashes import hashes
from pipeline.data.survey.near import REACH, Same, nearest

_CORRELATION = 0.98  # of the little grey pictures
_COLOUR, _COLOUR_SHARE = 6.0, 0.3  # by how much colours may differ: levels, and a share of how strong they are
_BLOCK = 1 << 14


@dataclasses.dataclass(frozen=True)
class Alike:
    """Of N pictures.

    Attributes:
      original: int64 [N], the first picture with the same pixels, or bytes; its own number where it is the first.
      same_bytes: bool [N], whether its file is that of the original, byte for byte.
      like: int64 [N], the picture that looks most like it and is not the same; -1 if there is none, and of all but the
        first of the same ones.
      distance: int64 [N], the number of bits in which their hashes differ.
      across: int64 [N], as `like`, of those of the other split alone.
      reach: up to how many bits was looked.
    """

    original: NDArray[np.int64]
    same_bytes: NDArray[np.bool_]
    like: NDArray[np.int64]
    distance: NDArray[np.int64]
    across: NDArray[np.int64]
    reach: int = REACH

    def spread(self, places: NDArray[np.int64], count: int) -> "Alike":
        """The same, of `count` pictures, of which these are the ones at `places`; the others are alone."""

        def numbers(mine: NDArray[np.int64], alone: NDArray[np.int64]) -> NDArray[np.int64]:
            alone[places] = np.where(mine >= 0, places[mine], -1)
            return alone

        same_bytes, distance, nobody = np.zeros(count, np.bool_), np.zeros(count, np.int64), np.full(count, -1)
        same_bytes[places], distance[places] = self.same_bytes, self.distance
        original, like = numbers(self.original, np.arange(count)), numbers(self.like, nobody.copy())
        return Alike(original, same_bytes, like, distance, numbers(self.across, nobody), self.reach)


def find_alike(rows: NDArray[Any], apart: NDArray[np.bool_]) -> Alike:
    """Compares pictures.

    Args:
      rows: of `pipeline.data.survey.measures.ROW`.
      apart: bool [N], whether each is of the other split.
    """
    original = _first_of(rows["pixels"])
    number = np.arange(len(rows))
    by_bytes = _first_of(rows["file"])
    same_bytes = (by_bytes != number) & (rows["file"] != 0).any(axis=1)
    found, sound = hashes(rows["little"])
    ones = np.flatnonzero((original == number) & sound)
    like, distance, reach = _nearest(rows, found, ones, lambda one, other: np.ones(len(one), np.bool_))
    across = np.full(len(rows), -1)
    if apart.any() and not apart.all():
        across, _, _ = _nearest(rows, found, ones, lambda one, other: apart[one] != apart[other])
    return Alike(original, same_bytes, like, distance, across, reach)


def _nearest(
    rows: NDArray[Any], found: NDArray[np.uint64], ones: NDArray[np.int64], may: Same
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """As `nearest`, among some of the rows that look alike, and of pairs that `may` allows."""
    little, colours = rows["little"], rows["colours"]

    def same(one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.bool_]:
        kept = may(ones[one], ones[other])
        tried = np.flatnonzero(kept)
        for start in range(0, len(tried), _BLOCK):
            block = tried[start : start + _BLOCK]
            a, b = ones[one[block]], ones[other[block]]
            kept[block] = looks_alike(little[a], little[b], colours[a], colours[b])
        return kept

    nearest_one, bits, reach = nearest(found[ones], same)
    there = nearest_one >= 0
    like, distance = np.full(len(rows), -1), np.zeros(len(rows), np.int64)
    like[ones[there]], distance[ones[there]] = ones[nearest_one[there]], bits[there]
    return like, distance, reach


def looks_alike(
    one: NDArray[np.uint8], other: NDArray[np.uint8], its_colours: NDArray[np.uint8], others: NDArray[np.uint8]
) -> NDArray[np.bool_]:
    """Whether pairs of pictures look alike: in their greys whatever the brightness and contrast, and in their colours.

    Args:
      one: uint8 [n, S, S], little grey pictures, none of them flat.
      other: the same of the others.
      its_colours: uint8 [n, P, P, 2], the colours of `one`, 128 for grey.
      others: the same of the others.
    """
    a, b = _centred(one), _centred(other)
    correlation = (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    c, d = (each.reshape(len(each), -1).astype(np.float32) - 128 for each in (its_colours, others))
    strength = np.maximum(_root_mean_square(c), _root_mean_square(d))
    return (correlation >= _CORRELATION) & (_root_mean_square(c - d) <= _COLOUR + _COLOUR_SHARE * strength)


def _centred(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    flat = pictures.reshape(len(pictures), -1).astype(np.float32)
    return flat - flat.mean(axis=1, keepdims=True)


def _root_mean_square(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.sqrt(np.mean(values * values, axis=1))


def _first_of(digests: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The first row with the same digest, of each, int64 [N]."""
    keys = np.ascontiguousarray(digests).view([("a", "<u8"), ("b", "<u8")]).reshape(-1)
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    return first[group.reshape(-1)]
