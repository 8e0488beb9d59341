"""The pictures of a survey that its page shows: whole ones, and as the networks will see them."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.data.survey.survey import Survey
from pipeline.data.survey.target import prepared_picture, target_of

_WHOLE = 112  # pixels of the longer side of a picture that is shown whole
_SEED = 1
SHEET, SHEET_CLASSES, PER_CLASS = 96, 40, 10


@dataclasses.dataclass(frozen=True)
class Sheets:
    """Which pictures are shown as the networks will see them.

    Attributes:
      random: rows drawn at random.
      by_class: (label, rows) of the first classes.
      by_attribute: rows of each of the first attributes, from its least to its greatest value.
    """

    random: Sequence[int]
    by_class: Sequence[tuple[int, Sequence[int]]]
    by_attribute: Sequence[Sequence[int]] = ()

    @property
    def rows(self) -> set[int]:
        """All of them."""
        of_labels = (*(rows for _, rows in self.by_class), *self.by_attribute)
        return {*self.random, *(row for rows in of_labels for row in rows)}


def drawn(survey: Survey) -> Sheets:
    """Draws pictures, always the same ones of the same data."""
    rng = np.random.default_rng(_SEED)
    good, labels = survey.good, survey.labels
    by_class = []
    if survey.class_names:
        mixed = rng.permutation(good)
        for label in range(min(len(survey.class_names), SHEET_CLASSES)):
            by_class.append((label, mixed[labels[mixed] == label][:PER_CLASS].tolist()))
    by_attribute = [_spread(good, labels[good, place]) for place in range(min(len(survey.attributes), SHEET_CLASSES))]
    random = np.sort(rng.choice(good, min(SHEET, len(good)), replace=False)) if len(good) else good
    return Sheets(random.tolist(), by_class, by_attribute)


def _spread(rows: NDArray[np.int64], values: NDArray[np.float32]) -> list[int]:
    """Draws rows whose values go evenly from the least to the greatest; where there are two, half of either."""
    if not len(rows):
        return []
    order = np.random.default_rng(_SEED).permutation(len(rows))
    wanted = np.linspace(values.min(), values.max(), PER_CLASS)
    if len(np.unique(values)) == 2:
        wanted = np.repeat(wanted[[0, -1]], PER_CLASS // 2)
    found: list[int] = []
    for value in wanted:
        left = order[~np.isin(rows[order], found)]
        if len(left):
            found.append(int(rows[left[np.abs(values[left] - value).argmin()]]))
    return found


def fetched(
    survey: Survey, whole: Iterable[int], seen: Iterable[int]
) -> tuple[dict[int, NDArray[np.uint8]], dict[int, NDArray[np.uint8]]]:
    """Reads pictures again.

    Args:
      survey: the survey.
      whole: rows of those to be shown as they are, made small.
      seen: rows of those to be shown as the networks will see them.

    Returns:
      uint8 [H, W, C] by row, for both; what can't be read any more is missing.
    """
    whole, seen = {*whole}, {*seen}
    mode = "L" if survey.all_grey else "RGB"
    target = shown_size(survey)
    small: dict[int, NDArray[np.uint8]] = {}
    as_seen: dict[int, NDArray[np.uint8]] = {}
    for row, picture in survey.pictures([*(whole | seen)]):
        if row in seen:
            as_seen[row] = _pixels(prepared_picture(picture, target, mode, survey.options.fit))
        if row in whole:
            picture.thumbnail((_WHOLE, _WHOLE), Image.Resampling.LANCZOS)
            small[row] = _pixels(picture)
    return small, as_seen


def shown_size(survey: Survey) -> tuple[int, int] | None:
    """The size to which pictures are brought on the page: that of training, or one that suits where there is none."""
    target = target_of(survey.options)
    width, height = (survey.rows[name][survey.good] for name in ("width", "height"))
    if target or not len(width) or ((width == width[0]) & (height == height[0])).all():
        return target
    side = int(min(np.median(np.minimum(width, height)), 128))
    return side, side


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image).reshape(image.height, image.width, -1)
