"""What is drawn of one run or of several: quality over images and over time, and how the training went."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.evaluation.report.figures import Figure, figures_of
from pipeline.evaluation.report.record import COUNTS, Record, interval, number
from pipeline.pages.charts import Point, Series, chart
from pipeline.pages.markup import Html, tag
from pipeline.pages.numbers import count

_ACCURACIES = {"d_acc_real": "real", "d_acc_fake": "generated"}
_LOSSES = {"d_loss": "D", "g_loss": "G"}


def quality(records: Sequence[Record], colours: Sequence[int] = ()) -> Html:
    """Draws the figures of evaluations that stand beside one another: those of one judge.

    Args:
      records: the runs.
      colours: numbers of theirs; by default, they are counted.
    """
    colours = colours or range(len(records))
    figures = _figures(records)
    distances = [each for each in figures if each.name == "frechet_distance"]
    rest = [each for each in figures if each not in distances]
    panels = []
    for figure in distances:
        panels.append(_over(records, colours, figure, "images", "training images", count, log=True))
        panels.append(_over_time(records, colours, figure, log=True))
    main = tag("div", panels, class_="charts two") if any(panels) else Html("")
    small = []
    shares = [each for each in rest if each.is_share]
    if len(records) == 1 and shares:
        curves = [_series(records[0], each, "images", each.title, i) for i, each in enumerate(shares)]
        small.append(chart("Shares", curves, "training images", limits=(0, 1)))
        rest = [each for each in rest if each not in shares]
    for each in rest:
        small.append(
            _over(records, colours, each, "images", "training images", count, limits=(0, 1) if each.is_share else None)
        )
    return Html(main + (tag("div", small, class_="charts three") if any(small) else ""))


def training(records: Sequence[Record]) -> Html:
    """Draws what log lines say: losses, D's accuracy, speed and all else."""
    names = list(dict.fromkeys(name for record in records for line in record.log[-1:] for name in line))
    panels = []
    if len(records) == 1:
        panels.append(_logged(records, "Losses", _LOSSES))
        panels.append(_logged(records, "D's accuracy", _ACCURACIES, limits=(0, 1)))
    else:
        panels += [_logged(records, f"{letter}'s loss", {name: letter}) for name, letter in _LOSSES.items()]
        panels += [
            _logged(records, f"D's accuracy, {kind}", {name: kind}, limits=(0, 1)) for name, kind in _ACCURACIES.items()
        ]
    panels.append(_logged(records, "Speed, images/s", {"images_per_s": "images/s"}, limits=(0, 0)))
    known = {*COUNTS, *_LOSSES, *_ACCURACIES, "images_per_s"}
    panels += [_logged(records, name.replace("_", " "), {name: name}) for name in names if name not in known]
    return tag("div", panels, class_="charts three") if any(panels) else Html("")


def _figures(records: Sequence[Record]) -> list[Figure]:
    found: dict[str, Figure] = {}
    for record in records:
        every: dict[str, Any] = {}  # of each figure, the newest value
        for line in record.evaluations:
            every |= {name: value for name, value in line.items() if number(value) is not None}
        for figure in figures_of(every, record.values.metrics, record.judge()["extractor"]):
            found.setdefault(figure.name, figure)
    return list(found.values())


def _over(
    records: Sequence[Record],
    colours: Sequence[int],
    figure: Figure,
    column: str,
    label: str,
    text: Callable[[float], str],
    scale: float = 1,
    **options: Any,
) -> Html:
    names = [record.name for record in records] if len(records) > 1 else [figure.title]
    curves = [
        _series(record, figure, column, name, colour, scale)
        for record, name, colour in zip(records, names, colours, strict=True)
    ]
    floors = {round(each.floor, 6) for each in curves if each.floor is not None and each.points}
    if len(floors) == 1:  # the same line is drawn once
        curves = [dataclasses.replace(each, floor=each.floor if i == 0 else None) for i, each in enumerate(curves)]
    arrow = {"lower": " (lower is better)", "higher": " (higher is better)"}.get(figure.better, "")
    return chart(figure.title + arrow, curves, label, text, **options)


def _over_time(records: Sequence[Record], colours: Sequence[int], figure: Figure, **options: Any) -> Html:
    seconds = [number(line.get("seconds")) or 0 for record in records for line in record.evaluations]
    unit, scale = next(
        (each for each in (("hours", 3600), ("minutes", 60)) if max(seconds, default=0) >= 2 * each[1]), ("seconds", 1)
    )
    return _over(records, colours, figure, "seconds", f"{unit} of training", _three, scale, **options)


def _three(value: float) -> str:
    return f"{value:.3g}"


def _series(record: Record, figure: Figure, column: str, label: str, colour: int, scale: float = 1) -> Series:
    points: list[Point] = []
    band = []
    for line in record.evaluations:
        x, y = number(line.get(column)), number(line.get(figure.name))
        if x is not None and y is not None:
            points.append((x / scale, y))
            bounds = interval(line, figure.name)
            if bounds is not None:
                band.append((x / scale, *bounds))
    floors = [value for line in record.evaluations if (value := number(line.get(figure.floor))) is not None]
    best = None
    if points and figure.better:
        best = (min if figure.better == "lower" else max)(points, key=lambda point: point[1])
    return Series(label, points, band, colour, floors[-1] if floors else None, best)


def _logged(records: Sequence[Record], title: str, names: Mapping[str, str], **options: Any) -> Html:
    curves = []
    for i, record in enumerate(records):
        for j, (name, label) in enumerate(names.items()):
            found = [(number(line.get("images")), number(line.get(name))) for line in record.log]
            points = [(x, y) for x, y in found if x is not None and y is not None]
            curves.append(Series(label if len(records) == 1 else record.name, points, colour=i + j))
    if len(names) == 1 and len(records) == 1:
        curves = [dataclasses.replace(each, label=title) for each in curves]
    return chart(title, curves, "training images", **options)
