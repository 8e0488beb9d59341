"""All that may be found in a data set: one function each, which returns None where there is nothing to tell."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline.base.names import printable
from pipeline.data.survey import attributes, finding_files, finding_pairs
from pipeline.data.survey.finding import LEVELS, NOTES, STOPS, WARNS, Example, Finding, in_numbers
from pipeline.data.survey.measures import GREY
from pipeline.data.survey.survey import Survey
from pipeline.data.survey.target import enlarged, lost, target_of

_NAMED = 5
_SHOWN = 24
_IMBALANCE = 10  # times as many pictures in one class as in another
_SMALL = 20  # pictures of a class that are hardly learnt from
_LOST = 0.5  # share of a picture that is cropped away
_DARK, _BRIGHT, _TONE = 6.0, 249.0, 3.0  # grey levels: mean, mean, deviation
_FAR = 5.0  # standard deviations
_UNUSUAL = 0.05  # a share of pictures that is not what the data set is about
_FEW = 500  # pictures, of which a network remembers each


def find(survey: Survey) -> list[Finding]:
    """Finds all there is to tell, what stops a training first."""
    found = [each for function in _ALL if (each := function(survey)) is not None]
    return sorted(found, key=lambda each: [*LEVELS].index(each.level))


def _few(survey: Survey) -> Finding | None:
    if survey.total >= _FEW:
        return None
    says = f"There are {in_numbers(survey.total, 'picture')} only."
    do = (
        "A generator would repeat them: gather more, or train with --augment=translation,cutout,color and look at the "
        "nearest training images in report.html."
    )
    return Finding("few", WARNS, survey.total, says, do)


def _classes(survey: Survey) -> Finding | None:
    """Classes of very different sizes."""
    counts = survey.per_class
    if len(counts) < 2 or counts.max() < _IMBALANCE * max(counts.min(), 1):
        return None
    most, least = int(counts.argmax()), int(counts.argmin())
    says = (
        f"Classes are uneven: {survey.class_names[most]} has {counts[most]:,} pictures and {survey.class_names[least]} "
        f"{counts[least]:,}."
    )
    do = "With --conditional, rare classes are learnt from few pictures: gather more of them, or leave them out."
    return Finding("imbalance", WARNS, int((counts * _IMBALANCE <= counts.max()).sum()), says, do)


def _small_classes(survey: Survey) -> Finding | None:
    """Classes with a single picture, or a few."""
    counts = survey.per_class
    small = np.flatnonzero(counts < _SMALL)
    if len(counts) < 2 or not len(small):
        return None
    single = np.flatnonzero(counts <= 1)
    few = f"{in_numbers(len(small), 'class', 'classes')} of {len(counts):,} with fewer than {_SMALL} pictures"
    alone = f", of which {len(single):,} with one or none" if len(single) else ""
    ordered = small[np.argsort(counts[small], kind="stable")]
    named = ", ".join(f"{survey.class_names[each]} ({counts[each]:,})" for each in ordered[:_NAMED])
    says = f"There are {few}{alone}: {named}{_more(len(small))}."
    do = "Nothing but these very pictures could be learnt of them: join small classes, add pictures, or leave them out."
    labels = survey.labels
    rows = survey.good[np.isin(labels[survey.good], ordered[:_SHOWN])][:_SHOWN]
    shown = [Example([int(row)], survey.class_names[labels[row]]) for row in rows]
    return Finding("small_classes", WARNS, len(small), says, do, shown)


def _sizes(survey: Survey) -> Finding | None:
    """Various sizes where none was chosen."""
    good, rows = survey.good, survey.rows
    if target_of(survey.options) or not survey.with_files or not len(good):
        return None
    sizes, counts = np.unique(np.stack([rows["width"][good], rows["height"][good]], 1), axis=0, return_counts=True)
    if len(sizes) < 2:
        return None
    order = np.argsort(-counts, kind="stable")
    named = ", ".join(f"{sizes[each][0]}x{sizes[each][1]} ({counts[each]:,})" for each in order[:_NAMED])
    says = f"Pictures have {len(sizes):,} sizes: {named}{_more(len(sizes))}."
    shorter = int(np.percentile(np.minimum(rows["width"][good], rows["height"][good]), 10))
    side = max((each for each in (16, 32, 64, 128, 256, 512, 1024) if each <= shorter), default=16)
    do = f"Set --image_size to bring all to one; {side} enlarges at most a tenth of them."
    return Finding("sizes", STOPS, len(sizes), says, do)


def _upscaled(survey: Survey) -> Finding | None:
    target = target_of(survey.options)
    good, rows = survey.good, survey.rows
    if target is None or not survey.with_files:
        return None
    times = enlarged(rows["width"][good], rows["height"][good], target)
    small = np.flatnonzero(times > 1)
    if not len(small):
        return None
    worst = small[np.argsort(-times[small], kind="stable")]
    says = (
        f"{in_numbers(len(small), 'picture is', 'pictures are')} smaller than {target[1]}x{target[0]} pixels, and "
        f"{'is' if len(small) == 1 else 'are'} enlarged, which blurs; the smallest has {_size(survey, good[worst[0]])}."
    )
    do = "Leave such out, or choose a smaller --image_size; else the generator learns the blur, too."
    shown = [Example([int(good[each])], _size(survey, good[each])) for each in worst[:_SHOWN]]
    return Finding("upscaled", WARNS, len(small), says, do, shown)


def _aspects(survey: Survey) -> Finding | None:
    good, rows = survey.good, survey.rows
    if not len(good) or not survey.with_files:
        return None
    shares = lost(rows["width"][good], rows["height"][good], target_of(survey.options), survey.options.fit)
    odd = np.flatnonzero(shares > _LOST + 1e-6)
    if not len(odd):
        return None
    worst = odd[np.argsort(-shares[odd], kind="stable")]
    says = (
        f"{in_numbers(len(odd), 'picture is', 'pictures are')} of another shape: more than half of each is cropped "
        f"away, {shares[worst[0]]:.0%} of the worst."
    )
    do = "What is cropped may be what the picture shows: crop such by hand, or leave them out."
    shown = [Example([int(good[each])], _size(survey, good[each])) for each in worst[:_SHOWN]]
    return Finding("aspect", WARNS, len(odd), says, do, shown)


def _tones(survey: Survey) -> Finding | None:
    """Nearly black, nearly white, or of one tone."""
    good, rows = survey.good, survey.rows
    mean, deviation = rows["mean"][good], rows["deviation"][good]
    kinds = {
        "nearly black": (mean < _DARK) & (deviation < 4 * _TONE),
        "nearly white": (mean > _BRIGHT) & (deviation < 4 * _TONE),
        "of one tone": deviation < _TONE,
    }
    kinds["of one tone"] &= ~kinds["nearly black"] & ~kinds["nearly white"]
    if not any(each.any() for each in kinds.values()):
        return None
    parts = [f"{int(each.sum()):,} {kind}" for kind, each in kinds.items() if each.any()]
    every = np.flatnonzero(np.any([*kinds.values()], axis=0))
    worst = every[np.argsort(deviation[every], kind="stable")]
    says = f"{in_numbers(len(every), 'picture shows', 'pictures show')} next to nothing: {', '.join(parts)}."
    do = "Look at them, and remove those that are mistakes: a generator learns to make such, too."
    shown = [
        Example([int(good[each])], next(kind for kind, those in kinds.items() if those[each]))
        for each in worst[:_SHOWN]
    ]
    return Finding("tones", WARNS, len(every), says, do, shown)


def _brightness(survey: Survey) -> Finding | None:
    """Far darker, brighter or flatter than the others, though not empty."""
    good, rows = survey.good, survey.rows
    if not len(good):
        return None
    far: NDArray[np.float64] = np.zeros(len(good))
    for values in (rows["mean"][good].astype(float), rows["deviation"][good].astype(float)):
        middle = np.median(values)
        spread = 1.4826 * np.median(np.abs(values - middle))
        far = np.maximum(far, np.abs(values - middle) / max(spread, 4.0))
    empty = (rows["deviation"][good] < 4 * _TONE) & ((rows["mean"][good] < _DARK) | (rows["mean"][good] > _BRIGHT))
    empty |= rows["deviation"][good] < _TONE
    odd = np.flatnonzero((far > _FAR) & ~empty)
    if not len(odd) or len(odd) > _UNUSUAL * len(good):
        return None
    worst = odd[np.argsort(-far[odd], kind="stable")]
    says = f"{in_numbers(len(odd), 'picture is', 'pictures are')} much darker, brighter or flatter than the others."
    do = "Look whether they belong there."
    shown = [Example([int(good[each])], f"mean {rows['mean'][good[each]]:.0f}") for each in worst[:_SHOWN]]
    return Finding("brightness", NOTES, len(odd), says, do, shown)


def _colours(survey: Survey) -> Finding | None:
    """A few grey pictures among coloured ones, or a few coloured ones among grey ones."""
    good, rows = survey.good, survey.rows
    grey = (rows["traits"][good] & GREY) != 0
    if grey.all() or not grey.any():
        return None
    rare = np.flatnonzero(grey if grey.mean() <= 0.5 else ~grey)
    mostly = grey.mean() > 0.5
    says = (
        f"{in_numbers(len(rare), 'picture has', 'pictures have')} {'colours' if mostly else 'no colours'}, and "
        f"{len(good) - len(rare):,} {'have none' if mostly else 'have some'}: all are trained on as RGB."
    )
    do = (
        "Convert those with colours to grey, if they should be: a grey data set trains faster and better."
        if mostly
        else "Leave the grey ones out, unless the generator shall make grey pictures as well."
    )
    return Finding("colours", WARNS if mostly else NOTES, len(rare), says, do, _shown(survey, good[rare]))


def _more(count: int) -> str:
    return f" and {count - _NAMED:,} more" if count > _NAMED else ""


def _size(survey: Survey, row: int) -> str:
    return f"{survey.rows['width'][row]}x{survey.rows['height'][row]}"


def _shown(survey: Survey, rows: NDArray[np.int64]) -> list[Example]:
    return [Example([int(row)], printable(survey.name(row))) for row in rows[:_SHOWN]]


_ALL: tuple[Callable[[Survey], Finding | None], ...] = (
    finding_files.unreadable,
    _sizes,
    _few,
    _classes,
    _small_classes,
    attributes.rare,
    attributes.rare_combinations,
    attributes.together,
    finding_pairs.same,
    finding_pairs.contradicting,
    finding_pairs.similar,
    finding_pairs.across,
    _tones,
    _brightness,
    _aspects,
    _upscaled,
    _colours,
    finding_files.ignored,
    finding_files.animated,
    finding_files.transparent,
    finding_files.cmyk,
    finding_files.deep,
    finding_files.turned,
)
