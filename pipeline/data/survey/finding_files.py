"""What is found of files: bad ones, ignored ones, and what is made of unusual ones."""

import collections
import dataclasses

from pipeline.data.survey.finding import NOTES, STOPS, WARNS, Example, Finding, in_numbers
from pipeline.data.survey.measures import ANIMATED, CMYK, DEEP, TRANSPARENT, TURNED
from pipeline.data.survey.survey import Survey

_NAMED = 5
_SHOWN = 12


def unreadable(survey: Survey) -> Finding | None:
    """Files that can't be read."""
    bad = {row: why for row, why in survey.bad.items() if not survey.apart[row]}
    if not bad:
        return None
    reasons = collections.Counter(bad.values()).most_common(_NAMED)
    named = ", ".join(f"{survey.name(row)} ({why})" for row, why in sorted(bad.items())[:_NAMED])
    more = f", and {len(bad) - _NAMED:,} more ({len(reasons)} reasons)" if len(bad) > _NAMED else ""
    says = f"{in_numbers(len(bad), 'picture')} of {survey.looked_at:,} can't be read: {named}{more}."
    skipped = survey.options.skip_bad_images
    do = (
        "--skip_bad_images leaves them out."
        if skipped
        else "Mend or remove them, or leave them out with --skip_bad_images."
    )
    return Finding("unreadable", WARNS if skipped and len(bad) < survey.looked_at else STOPS, len(bad), says, do)


def ignored(survey: Survey) -> Finding | None:
    """Files that are left aside."""
    if not survey.ignored and not survey.empty:
        return None
    counts = sorted(survey.ignored.items(), key=lambda each: (-each[1], each[0]))
    parts = [f"{count:,} {reason}" for reason, count in counts]
    if survey.empty:
        parts.append(f"{in_numbers(len(survey.empty), 'folder')} without pictures")
    total = sum(survey.ignored.values())
    says = f"{in_numbers(total, 'file or folder is', 'files and folders are')} left aside: {', '.join(parts)}."
    do = (
        "That is well if they are no pictures; what is one needs the usual ending of its format, and a name without a "
        "dot in front."
    )
    return Finding("ignored", NOTES, total + len(survey.empty), says, do)


def animated(survey: Survey) -> Finding | None:
    """Files that hold several pictures."""
    says = "{} several pictures, as animations do, of which the first is taken."
    do = "Save the others as files of their own, if they should count."
    return _with(survey, "animated", ANIMATED, "hold", says, do)


def transparent(survey: Survey) -> Finding | None:
    """Files with pixels that are not opaque."""
    if survey.options.transparency == "keep":
        says, do = "{} transparent parts, which stay so.", "Nothing; --transparency=white lays them over white."
    else:
        says = "{} transparent parts, which are laid over white."
        do = "Keep them with --transparency=keep, or lay them over another colour yourself, if white is wrong."
    return _with(survey, "transparent", TRANSPARENT, "have", says, do)


def cmyk(survey: Survey) -> Finding | None:
    """Files in the colours of print."""
    says = "{} CMYK, the colours of print, which are converted to RGB without a colour profile."
    do = "Look at their colours, and convert them by a profile if these are wrong."
    return _with(survey, "cmyk", CMYK, "are", says, do)


def deep(survey: Survey) -> Finding | None:
    """Files of more than 8 bits."""
    says = "{} more than 8 bits a value, which are scaled to 8 by the range that the file declares."
    warning = survey.ruler.depths.warning()
    do = f"{warning[:1].upper()}{warning[1:]}" if warning else "Nothing is to be done."
    found = _with(survey, "deep", DEEP, "have", says, do)
    return dataclasses.replace(found, level=WARNS) if found is not None and warning else found


def turned(survey: Survey) -> Finding | None:
    """Files whose camera was turned."""
    says = "{} a mark by which the camera was turned (EXIF), and {} turned upright."
    do = "Look whether they stand upright here; remove the mark of those that don't."
    return _with(survey, "turned", TURNED, "have", says, do)


_SINGULAR = {"hold": "holds", "have": "has", "are": "is"}


def _with(survey: Survey, name: str, trait: int, verb: str, says: str, do: str) -> Finding | None:
    good = survey.good
    rows = good[(survey.rows["traits"][good] & trait) != 0]
    if not len(rows):
        return None
    counted = in_numbers(len(rows), f"picture {_SINGULAR[verb]}", f"pictures {verb}")
    told = says.format(counted, "is" if len(rows) == 1 else "are")
    return Finding(name, NOTES, len(rows), told, do, [Example([int(row)], survey.name(row)) for row in rows[:_SHOWN]])
