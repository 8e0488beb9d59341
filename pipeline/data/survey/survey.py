"""Looks through a data set, picture by picture, and keeps a row for each."""

import dataclasses
import functools
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tqdm
from numpy.typing import NDArray
from PIL import Image

from pipeline.base.names import printable
from pipeline.data.folder import PREFIX, Listing, list_folder
from pipeline.data.objects import origin_of
from pipeline.data.options import DataOptions
from pipeline.data.survey.alike import Alike, find_alike
from pipeline.data.survey.measures import ALPHA, GREY, ROW, Ruler
from pipeline.data.survey.subjects import Examples, Files, Subject
from serving.contract.attributes import Attribute

_PROGRESS_S = 1.0
_SEED = 0


@dataclasses.dataclass(frozen=True)
class Survey:
    """What was seen of a data set. Rows are those of the pictures that are trained on, then those of the other split.

    Attributes:
      options: which data.
      sides: the pictures that are trained on, and those of the other split, if there is one.
      other: what the other split is called; empty if there is none.
      numbers: int64 [N], of each row, the number within its side.
      apart: bool [N], whether a row is of the other split.
      rows: of `ROW`; those of bad pictures mean nothing.
      bad: why pictures can't be read, by row.
      alike: which good rows are the same or look alike.
      ruler: what it was measured by.
      ignored: number of files left aside, by reason.
      empty: folders without pictures.
    """

    options: DataOptions
    sides: Sequence[Subject]
    other: str
    numbers: NDArray[np.int64]
    apart: NDArray[np.bool_]
    rows: NDArray[Any]
    bad: Mapping[int, str]
    alike: Alike
    ruler: Ruler
    ignored: Mapping[str, int] = dataclasses.field(default_factory=dict)
    empty: Sequence[str] = ()

    @property
    def total(self) -> int:
        """Number of pictures that are trained on."""
        return len(self.sides[0])

    @property
    def looked_at(self) -> int:
        """How many of them were looked at."""
        return len(self.rows) - int(self.apart.sum())

    @property
    def at_random(self) -> bool:
        """Whether those were drawn at random; the first of them otherwise."""
        return self.sides[0].at_random

    @property
    def with_files(self) -> bool:
        """Whether the pictures are files."""
        return self.sides[0].with_files

    @functools.cached_property
    def class_names(self) -> Sequence[str]:
        """In label order."""
        return [printable(name) for name in self.sides[0].class_names]

    @functools.cached_property
    def good(self) -> NDArray[np.int64]:
        """Rows of the pictures that are trained on and can be read."""
        good = ~self.apart
        good[[*self.bad]] = False
        return np.flatnonzero(good)

    @property
    def attributes(self) -> Sequence[Attribute]:
        """What labels are, where they are attributes."""
        return self.sides[0].attributes

    @functools.cached_property
    def labels(self) -> NDArray[Any]:
        """int32 [N], or float32 [N, A], of all rows; those of the other split may be numbered in another way."""
        first = self.sides[0].labels
        parts = [each.labels[self.numbers[self.apart == side]] for side, each in enumerate(self.sides)]
        # Those of the other split may even be of another kind.
        shape = first.shape[1:]
        fitting = [part if part.shape[1:] == shape else np.zeros((len(part), *shape), first.dtype) for part in parts]
        return np.concatenate(fitting)

    @functools.cached_property
    def per_class(self) -> NDArray[np.int64]:
        """int64 [K], how many pictures each class has, of all that are trained on where that is known."""
        subject = self.sides[0]
        if not subject.class_names:
            return np.zeros(0, np.int64)
        labels = subject.labels if self.with_files else self.labels[~self.apart]
        return np.bincount(labels, minlength=len(subject.class_names)).astype(np.int64)

    @functools.cached_property
    def all_grey(self) -> bool:
        """Whether networks get grey pictures."""
        return bool((self.rows["traits"][self.good] & GREY).all())

    @functools.cached_property
    def mode(self) -> str:
        """What networks get: grey, RGB or RGBA."""
        alpha = (self.rows["traits"][self.good] & ALPHA) != 0
        if self.options.transparency == "keep" and alpha.any():
            return "RGBA"
        return "grey" if self.all_grey else "RGB"

    def name(self, row: int) -> str:
        """What a picture is called."""
        side = int(self.apart[row])
        where = f"{self.other}, " if side and not self.sides[side].with_files else ""
        return where + printable(self.sides[side].name(int(self.numbers[row])))

    def pictures(self, rows: Sequence[int]) -> Iterator[tuple[int, Image.Image]]:
        """Reads some of the pictures again: (row, picture), upright, grey or RGB."""
        for side, subject in enumerate(self.sides):
            mine = sorted({int(row) for row in rows if self.apart[row] == side})
            found = subject.pictures([int(self.numbers[row]) for row in mine])
            yield from ((row, picture) for row, picture in zip(mine, found, strict=True) if picture is not None)


def survey(options: DataOptions, data: Any = None, most: int = 0) -> Survey:
    """Looks through a data set, by all cores, with a progress bar.

    Args:
      options: which data.
      data: as for `pipeline.data.dataset.open_data`.
      most: how many pictures of a split to look at; 0 for all.

    Returns:
      What was seen. Bad files are no error.

    Raises:
      MirageError: if there are no such data, or they can't be listed.
    """
    if data is None and options.dataset.startswith(PREFIX):
        listing = list_folder(options)
        sides, other = _of_folder(options, listing)
        return _survey(options, sides, other, most, listing.found.ignored, listing.found.empty)
    origin = origin_of(data, options)
    sides = [Examples(origin.open())]
    test = origin.test() if options.split != "test" else None
    if test is not None:
        sides.append(Examples(test.open()))
    return _survey(options, sides, "the test split" if len(sides) > 1 else "", most)


def _of_folder(options: DataOptions, listing: Listing) -> tuple[list[Subject], str]:
    found = listing.by.labels(listing.names)
    chosen = np.zeros(len(listing.names), np.bool_)
    chosen[listing.part] = True
    sides: list[Subject] = []
    for part in (np.flatnonzero(chosen), np.flatnonzero(~chosen)):
        if len(part):
            names = [listing.names[each] for each in part]
            sides.append(Files(listing.files.among(names), dataclasses.replace(found, values=found.values[part])))
    return sides, f"what --split={options.split} leaves out" if len(sides) > 1 else ""


def _survey(
    options: DataOptions,
    sides: Sequence[Subject],
    other: str,
    most: int,
    ignored: Mapping[str, int] | None = None,
    empty: Sequence[str] = (),
) -> Survey:
    numbers = [_drawn(subject, most) for subject in sides]
    rows = np.zeros(sum(map(len, numbers)), ROW)
    ruler, bad, row = Ruler(), {}, 0
    with tqdm.tqdm(
        desc="surveying", total=len(rows), unit="picture", file=sys.stderr, delay=_PROGRESS_S, disable=None
    ) as progress:
        for subject, chosen in zip(sides, numbers, strict=True):
            for measured in subject.measured(ruler, chosen.tolist()):
                if isinstance(measured, str):
                    bad[row] = measured
                else:
                    rows[row] = measured
                row += 1
                progress.update()
    apart = np.repeat(np.arange(len(sides)) > 0, [len(each) for each in numbers])
    good = np.setdiff1d(np.arange(len(rows)), list(bad))
    alike = find_alike(rows[good], apart[good]).spread(good, len(rows))
    return Survey(options, sides, other, np.concatenate(numbers), apart, rows, bad, alike, ruler, ignored or {}, empty)


def _drawn(subject: Subject, most: int) -> NDArray[np.int64]:
    """Numbers of the pictures that are looked at, ascending."""
    count = len(subject)
    if not most or count <= most:
        return np.arange(count)
    if not subject.at_random:
        return np.arange(most)
    return np.sort(np.random.default_rng(_SEED).choice(count, most, replace=False))
