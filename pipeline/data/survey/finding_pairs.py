"""What is found of pictures that are the same, or look alike."""

import numpy as np
from numpy.typing import NDArray

from pipeline.data.survey.finding import NOTES, WARNS, Example, Finding, in_numbers
from pipeline.data.survey.survey import Survey

_SHOWN = 16
_MANY = 0.05  # a share of pictures that are more than an accident


def same(survey: Survey) -> Finding | None:
    """Pictures that are there several times."""
    rows = copies(survey)
    if not len(rows):
        return None
    files = int(survey.alike.same_bytes[rows].sum())
    rest = len(rows) - files
    how = f"{files:,} byte for byte" if files else ""
    how += f"{', ' * bool(how)}{rest:,} pixel for pixel" if rest else ""
    says = f"{in_numbers(len(rows), 'picture is a copy of another', 'pictures are copies of others')}: {how}."
    do = "Remove the copies: what is there more often is learnt more often."
    pairs = _pairs(survey, rows, survey.alike.original)
    return Finding("copies", WARNS, len(rows), says, do, pairs)


def contradicting(survey: Survey) -> Finding | None:
    """The same picture in different classes, or with different attributes."""
    if len(survey.class_names) < 2 and not survey.attributes:
        return None
    rows, labels = copies(survey), survey.labels
    differs = labels[rows] != labels[survey.alike.original[rows]]
    rows = rows[differs.any(axis=1) if survey.attributes else differs]
    if not len(rows):
        return None
    says = f"{in_numbers(len(rows), 'copy is', 'copies are')} of another class than the original."
    do = "Decide on one class for each: at most one of two can be right."
    if survey.attributes:
        says = f"{in_numbers(len(rows), 'copy has', 'copies have')} other attributes than the original."
        do = "Decide on those of each: at most one of two can be right."
    pairs = _pairs(survey, rows, survey.alike.original, classes=not survey.attributes)
    return Finding("contradicting", WARNS, len(rows), says, do, pairs)


def similar(survey: Survey) -> Finding | None:
    """Pictures that look alike."""
    rows = near_copies(survey)
    if not len(rows):
        return None
    rows = rows[np.argsort(survey.alike.distance[rows], kind="stable")]
    reach = f" (hashes that differ in up to {survey.alike.reach} of 64 bits)"
    says = f"{in_numbers(len(rows), 'picture looks', 'pictures look')} very much like an earlier one{reach}."
    do = (
        "They may be the same picture, resized, compressed again or brightened, or frames of one film: keep the best "
        "of each."
    )
    level = WARNS if len(rows) > _MANY * survey.looked_at else NOTES
    return Finding("alike", level, len(rows), says, do, _pairs(survey, rows, survey.alike.like))


def across(survey: Survey) -> Finding | None:
    """Pictures that are in both splits."""
    equal, near = leaked(survey)
    rows = np.concatenate([equal, near])
    if not len(rows):
        return None
    other = survey.other
    says = (
        f"{in_numbers(len(rows), 'picture')} of {other} {'is' if len(rows) == 1 else 'are'} among those trained on, "
        f"too: {len(equal):,} the same, {len(near):,} very much alike."
    )
    do = "Remove them from one of both: what is measured by pictures that were trained on says nothing."
    originals = np.where(np.isin(np.arange(len(survey.rows)), equal), survey.alike.original, survey.alike.across)
    return Finding("across", WARNS, len(rows), says, do, _pairs(survey, rows, originals))


def copies(survey: Survey) -> NDArray[np.int64]:
    """Rows of the pictures trained on that an earlier one of them equals."""
    return np.flatnonzero((survey.alike.original != np.arange(len(survey.rows))) & ~survey.apart)


def near_copies(survey: Survey) -> NDArray[np.int64]:
    """Rows of the pictures trained on that look like an earlier one of them."""
    like = survey.alike.like
    return np.flatnonzero((like >= 0) & (like < np.arange(len(like))) & ~survey.apart)


def leaked(survey: Survey) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the other split that equal one that is trained on, and those that look like one."""
    original, like = survey.alike.original, survey.alike.across
    equal = survey.apart & ~survey.apart[original]
    return np.flatnonzero(equal), np.flatnonzero(survey.apart & ~equal & (like >= 0))


def _pairs(survey: Survey, rows: NDArray[np.int64], of: NDArray[np.int64], *, classes: bool = False) -> list[Example]:
    labels = survey.labels

    def told(row: int) -> str:
        return f"{survey.name(row)} ({survey.class_names[labels[row]]})" if classes else survey.name(row)

    return [Example([int(of[row]), int(row)], f"{told(of[row])} and {told(row)}") for row in rows[:_SHOWN]]
