"""`data.html`: what a survey found, in one file that needs nothing else."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.base.names import printable
from pipeline.data.survey.attributes import distribution_table, pictures_by_attribute
from pipeline.data.survey.finding import LEVELS, STOPS, WARNS, Finding, in_numbers
from pipeline.data.survey.survey import Survey
from pipeline.data.survey.target import target_of
from pipeline.data.survey.thumbnails import SHEET_CLASSES, drawn, fetched, shown_size
from pipeline.pages.bars import bars, histogram
from pipeline.pages.frame import Section, framed, tile, warnings
from pipeline.pages.markup import Html, escaped, table, tag
from pipeline.pages.numbers import count
from pipeline.pages.pictures import img, strip
from serving.contract.attributes import BINARY

PAGE_FILE = "data.html"
_BINS = 24
_MOST_CLASSES = 200
_MOST_BAD = 2000
_SIDE = 96  # of a picture in a sheet

Pictures = dict[int, NDArray[np.uint8]]


def page_of(survey: Survey, found: Sequence[Finding]) -> str:
    """Lays out the page; pictures that it shows are read again."""
    sheets = drawn(survey)
    shown = {row for each in found for example in each.examples for row in example.rows}
    whole, seen = fetched(survey, shown, sheets.rows)
    sheet = _sheet([seen[row] for row in sheets.random if row in seen])
    sections: list[Section] = [
        ("findings", "Findings", _FINDINGS, _findings(found, whole)),
        ("sheet", "Pictures drawn at random", _seen_hint(survey), sheet),
        ("classes", "Classes", _classes_hint(survey), _classes(survey)),
        ("attributes", "Attributes", None, distribution_table(survey)),
        ("by-class", "Pictures by class", None, _by_class(survey, sheets.by_class, seen)),
        ("by-attribute", "Pictures by attribute", None, pictures_by_attribute(survey, sheets.by_attribute, seen)),
        ("sizes", "Sizes, shapes, brightness", None, _charts(survey)),
        ("kinds", "Formats and modes", None, _kinds(survey)),
        ("unreadable", "Files that can't be read", None, _unreadable(survey)),
        ("ignored", "Left aside", None, _ignored(survey)),
    ]
    stops = [each.line() for each in found if each.level == STOPS]
    top = Html(warnings(stops, "What stands in the way of a training") + _tiles(survey, found))
    return framed(printable(survey.options.dataset), _lead(survey), top, sections)


def _lead(survey: Survey) -> str:
    split = f", --split={survey.options.split}" if survey.options.split != "train" else ""
    size = f", --image_size={survey.options.image_size}" if target_of(survey.options) else ""
    how = "drawn at random" if survey.at_random else "the first"
    part = "" if survey.looked_at == survey.total else f"; {survey.looked_at:,} of them, {how}, were looked at"
    other = f"; compared with {int(survey.apart.sum()):,} of {survey.other}" if survey.other else ""
    return f"{survey.total:,} pictures{split}{size}{part}{other}"


def _tiles(survey: Survey, found: Sequence[Finding]) -> Html:
    good, rows = survey.good, survey.rows
    bad = f"{len(survey.bad):,} can't be read" if survey.bad else "all can be read"
    parts = [tile("Pictures", f"{survey.total:,}", bad)]
    if survey.class_names:
        counts = survey.per_class
        parts.append(tile("Classes", f"{len(counts):,}", f"of {counts.min():,} to {counts.max():,} pictures"))
    if survey.attributes:
        numbers = sum(each.kind != BINARY for each in survey.attributes)
        kinds = f"{len(survey.attributes) - numbers:,} yes or no, {in_numbers(numbers, 'number')}"
        parts.append(tile("Attributes", f"{len(survey.attributes):,}", kinds))
    if len(good):
        low, high = (f"{rows['width'][good[each]]}x{rows['height'][good[each]]}" for each in _extreme_sizes(survey))
        sizes = low if low == high else f"{low} to {high}"
        parts.append(tile("Sizes", sizes, f"pictures of {survey.mode}"))
        kind = "in files" if survey.with_files else "of pixels"
        parts.append(tile("Bytes", f"{count(float(rows['bytes'][good].sum()))}B", kind))
    for level in (STOPS, WARNS):
        number = sum(each.level == level for each in found)
        parts.append(tile(f"Findings: {LEVELS[level]}", f"{number:,}", ""))
    return tag("div", parts, class_="tiles")


def _extreme_sizes(survey: Survey) -> tuple[int, int]:
    good, rows = survey.good, survey.rows
    areas = rows["width"][good].astype(np.int64) * rows["height"][good]
    return int(areas.argmin()), int(areas.argmax())


def _findings(found: Sequence[Finding], whole: Pictures) -> Html:
    if not found:
        return tag("p", "Nothing is amiss.")
    parts = []
    for each in found:
        figures = []
        for example in each.examples:
            pictures = [img(whole[row], example.caption, 12_000) for row in example.rows if row in whole]
            if pictures:
                figures.append(tag("figure", tag("div", pictures), tag("figcaption", example.caption)))
        rest = tag("div", figures, class_="shown") if figures else None
        heading = [tag("b", each.says), " ", tag("small", LEVELS[each.level], class_="note")]
        parts.append(
            tag("div", tag("p", heading), tag("p", each.do, class_="do"), rest, class_=f"finding {each.level}")
        )
    return Html("".join(parts))


def _sheet(pictures: Sequence[NDArray[np.uint8]]) -> Html:
    if not pictures:
        return Html("")
    columns = 12
    rows = [strip(pictures[start : start + columns], side=_SIDE) for start in range(0, len(pictures), columns)]
    width = rows[0].shape[1]
    rows = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    picture = img(np.concatenate(rows), f"{len(pictures)} pictures drawn at random", 2_000_000)
    return tag("figure", picture, class_="sheet")


def _classes(survey: Survey) -> Html:
    counts = survey.per_class
    order = np.arange(len(counts))
    if len(counts) > _MOST_CLASSES:
        order = np.argsort(-counts, kind="stable")
        order = np.concatenate([order[: _MOST_CLASSES // 2], order[-_MOST_CLASSES // 2 :]])
    single = counts[order] <= 1
    names = survey.class_names
    drawn_bars = bars(
        [(names[label], int(counts[label])) for label in order.tolist()], lambda place: bool(single[place])
    )
    rest = len(counts) - len(order)
    more = tag("p", f"The largest and the smallest; {rest:,} others are in data.json.", class_="hint") if rest else ""
    return Html(drawn_bars + more)


def _classes_hint(survey: Survey) -> str | None:
    counts = survey.per_class
    if len(counts) < 2 or not counts.min():
        return None
    times = counts.max() / counts.min()
    if times == 1:
        return "All have the same number of pictures."
    return f"The largest has {times:.3g} times as many pictures as the smallest."


def _by_class(survey: Survey, by_class: Sequence[tuple[int, Sequence[int]]], seen: Pictures) -> Html:
    rows = []
    for label, numbers in by_class:
        pictures = [seen[row] for row in numbers if row in seen]
        if pictures:
            name = survey.class_names[label]
            picture = strip(pictures, side=_SIDE)
            share = f"width:{100 * len(pictures) / max(len(each) for _, each in by_class):.1f}%"
            rows.append((name, img(picture, f"pictures of the class {name}", 40_000, style=share)))
    if not rows:
        return Html("")
    rest = len(survey.class_names) - SHEET_CLASSES
    more = tag("p", f"and {rest:,} more classes", class_="hint") if rest > 0 else ""
    return Html(tag("div", table(("class", "pictures as the networks will see them"), rows), class_="classes") + more)


def _charts(survey: Survey) -> Html:
    good, rows = survey.good, survey.rows
    if not len(good):
        return Html("")
    width, height = rows["width"][good].astype(float), rows["height"][good].astype(float)
    charts = [
        _histogram("Width", width, "pixels"),
        _histogram("Height", height, "pixels"),
        _histogram("Width by height", width / height, "", log=True),
        _histogram("Brightness", rows["mean"][good], "mean grey, 0 to 255", limits=(0, 255)),
        _histogram("Contrast", rows["deviation"][good], "standard deviation of greys", limits=(0, 128)),
    ]
    if survey.with_files:
        charts.append(_histogram("File sizes", rows["bytes"][good].astype(float), "bytes", log=True))
    return tag("div", charts, class_="charts three")


def _histogram(
    title: str, values: NDArray, label: str, *, log: bool = False, limits: tuple[float, float] | None = None
) -> Html:
    if values.min() == values.max():  # which the tiles tell
        return Html("")
    low, high = limits or (float(values.min()), float(values.max()))
    edges = np.geomspace(low, high, _BINS + 1) if log else np.linspace(low, high, _BINS + 1)
    edges[0], edges[-1] = min(edges[0], values.min()), max(edges[-1], values.max())  # whatever was rounded
    counts, _ = np.histogram(values, edges)
    return histogram(title, edges.tolist(), counts.tolist(), label)


def _kinds(survey: Survey) -> Html:
    rows = survey.rows[survey.good]
    parts = []
    for title, kinds, column in (("format", survey.ruler.formats, "format"), ("mode", survey.ruler.modes, "mode")):
        found = [(name, number) for name, number in kinds.counts(rows[column]).items() if name]
        if found:
            parts.append(tag("h3", title) + bars(found))
    return Html("".join(parts))


def _unreadable(survey: Survey) -> Html:
    if not survey.bad:
        return Html("")
    rows = [(survey.name(row), why) for row, why in sorted(survey.bad.items())]
    more = f"{len(rows) - _MOST_BAD:,} more are in data.json." if len(rows) > _MOST_BAD else ""
    return escaped([table(("file", "why"), rows[:_MOST_BAD]), tag("p", more, class_="hint") if more else None])


def _ignored(survey: Survey) -> Html:
    rows = sorted(survey.ignored.items(), key=lambda each: -each[1])
    parts = [table(("what", "number"), [(why, f"{number:,}") for why, number in rows])] if rows else []
    if survey.empty:
        names = ", ".join(sorted(map(printable, survey.empty))[:_MOST_CLASSES])
        parts.append(tag("p", f"Folders without pictures: {names}"))
    return Html("".join(parts))


def _seen_hint(survey: Survey) -> str:
    target = target_of(survey.options)
    if target:
        over = ", here over white" if survey.mode == "RGBA" else ""
        part = survey.options.picture_size or target[::-1]
        cut = "" if part == target[::-1] else f"; parts of {part[0]}x{part[1]} of these, cut at random"
        return f"As the networks will see them: {target[1]}x{target[0]} pixels, {survey.mode}{over}{cut}."
    if shown_size(survey):
        return "They have various sizes: here brought to one, as --image_size would."
    return "As the networks will see them."


_FINDINGS = "What stops a training comes first, then what is worth mending, then what is good to know."
