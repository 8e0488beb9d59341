"""Curves as inline SVG, which take their colours from the page."""

import bisect
import dataclasses
import json
import math
from collections.abc import Callable, Sequence

from pipeline.pages.markup import Html, tag
from pipeline.pages.numbers import count, shown

_WIDTH, _HEIGHT = 440, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 36
_MOST_POINTS = 240  # of a curve: no screen shows more
_MOST_DOTS = 40
COLOURS = 8  # that the style sheet has

Point = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Series:
    """A curve.

    Attributes:
      label: its name in the legend.
      points: (x, y), finite, in the order of x.
      band: (x, low, high) of intervals around it.
      colour: number of its colour.
      floor: a level that belongs to it, drawn as a broken line.
      best: the point to mark.
    """

    label: str
    points: Sequence[Point]
    band: Sequence[tuple[float, float, float]] = ()
    colour: int = 0
    floor: float | None = None
    best: Point | None = None


@dataclasses.dataclass(frozen=True)
class Axis:
    """From values to places: `low` to `high` becomes `start` to `stop`."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Returns the place of a value; what lies outside is put at the edge."""
        low, high, at = (math.log10(each) if self.log else each for each in (self.low, self.high, self._inside(value)))
        return self.start + (at - low) / (high - low) * (self.stop - self.start)

    def _inside(self, value: float) -> float:
        return min(max(value, self.low), self.high)

    def ticks(self) -> list[float]:
        """Round values for its marks."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            for steps in ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 5), (1, 3), (1,)):
                every = max(1, (last - first) // 6)
                found = [step * 10.0**power for power in range(first, last + 1, every) for step in steps]
                found = [each for each in found if self.low <= each <= self.high]
                if len(found) <= 6:
                    break
            return found if len(found) >= 2 else [self.low, self.high]
        span = self.high - self.low
        power = 10.0 ** math.floor(math.log10(span / 4))
        step = next(step * power for step in (1, 2, 2.5, 5, 10) if span / (step * power) <= 5)
        first = math.ceil(self.low / step - 1e-9)
        return [(first + i) * step for i in range(int((self.high - first * step) / step + 1e-9) + 1)]


def chart(
    title: str,
    series: Sequence[Series],
    x_label: str,
    x_text: Callable[[float], str] = count,
    *,
    log: bool = False,
    limits: tuple[float, float] | None = None,
    summary: str = "",
) -> Html:
    """Draws curves over a common axis.

    Args:
      title: what is drawn.
      series: the curves; those without points are left out.
      x_label: what stands below the axis.
      x_text: writes a value of x.
      log: whether heights are logarithmic, if all values are positive.
      limits: lowest and highest value at least shown; by default those that occur.
      summary: what a reader who doesn't see it is told.

    Returns:
      A figure; empty if there is nothing to draw.
    """
    series = [dataclasses.replace(each, points=thinned(each.points, each.best)) for each in series if each.points]
    if not series:
        return Html("")
    x, y = _axes(series, log, limits)
    inner = [_grid(x, y, x_label, x_text)]
    inner += [_curve(each, x, y) for each in series]
    data = [
        {
            "label": each.label,
            "colour": each.colour % COLOURS,
            "points": [[round(x(a), 1), round(y(b), 1), x_text(a), shown(b)] for a, b in each.points],
        }
        for each in series
    ]
    last = "; ".join(f"{each.label}: {shown(each.points[-1][1])} at the end" for each in series)
    drawn = tag(
        "svg",
        inner,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=f"{title} over {x_label}. {summary or last}.",
        data_series=json.dumps(data, separators=(",", ":")),
    )
    return tag("figure", tag("figcaption", title, legend(series)), drawn, class_="chart")


def legend(series: Sequence[Series]) -> Html:
    """Names the curves by their colours; a single one needs none, but its broken line does."""
    keys = [
        tag("span", tag("i", class_=f"key c{each.colour % COLOURS}"), each.label, class_="name")
        for each in series
        if len(series) > 1
    ]
    if any(each.floor is not None for each in series):
        keys.append(tag("span", tag("i", class_="key floor"), "real images", class_="name"))
    return tag("span", keys, class_="legend") if keys else Html("")


def thinned(points: Sequence[Point], keep: Point | None = None) -> list[Point]:
    """Replaces neighbours among many points by their means, but keeps the ends and `keep`."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    size = math.ceil((len(points) - 2) / (_MOST_POINTS - 2))
    middle = [points[start : min(start + size, len(points) - 1)] for start in range(1, len(points) - 1, size)]
    means = [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in middle]
    found = [points[0], *means, points[-1]]
    if keep is not None and keep not in found:
        bisect.insort(found, keep)
    return found


def _axes(series: Sequence[Series], log: bool, limits: tuple[float, float] | None) -> tuple[Axis, Axis]:
    xs = [x for each in series for x, _ in each.points]
    ys = [y for each in series for _, y in each.points]
    ys += [each.floor for each in series if each.floor is not None] + list(limits or ())
    log = log and min(ys) > 0
    low, high = min(ys), max(ys)
    if log:
        low, high = low / 1.15, high * 1.15
        if high / low < 2:
            low, high = low / 1.3, high * 1.3
    else:
        room = 0.06 * (high - low)
        if room <= 1e-9 * abs(high):  # a constant, of which means differ in their last digits
            room = 0.1 * abs(high) or 1.0
        low, high = low - room * (limits is None or low < limits[0]), high + room * (limits is None or high > limits[1])
    first, last = min(xs), max(xs)
    if first == last:
        first, last = first - 1, last + 1
    first = 0.0 if 0 < first < 0.5 * last else first
    return Axis(first, last, _LEFT, _WIDTH - _RIGHT), Axis(low, high, _HEIGHT - _BOTTOM, _TOP, log)


def _grid(x: Axis, y: Axis, x_label: str, x_text: Callable[[float], str]) -> list[Html]:
    marks = []
    for value in y.ticks():
        at = round(y(value), 1)
        marks.append(tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=at, y2=at, class_="grid"))
        marks.append(tag("text", shown(round(value, 12)), x=_LEFT - 6, y=at, class_="tick y"))
    for value in x.ticks():
        at = round(x(value), 1)
        marks.append(tag("text", x_text(value), x=at, y=_HEIGHT - _BOTTOM + 15, class_="tick x"))
    marks.append(tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y.start, y2=y.start, class_="axis"))
    marks.append(tag("text", x_label, x=(_LEFT + _WIDTH - _RIGHT) / 2, y=_HEIGHT - 5, class_="label"))
    return marks


def _curve(series: Series, x: Axis, y: Axis) -> list[Html]:
    colour = f"c{series.colour % COLOURS}"
    parts = []
    if series.floor is not None:
        at = round(y(series.floor), 1)
        parts.append(tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=at, y2=at, class_=f"floor {colour}"))
    if len(series.band) > 1:
        there = [f"{x(a):.1f} {y(low):.1f}" for a, low, _ in series.band]
        back = [f"{x(a):.1f} {y(high):.1f}" for a, _, high in reversed(series.band)]
        parts.append(tag("path", d=f"M{'L'.join(there + back)}Z", class_=f"band {colour}"))
    places = [(x(a), y(b)) for a, b in series.points]
    parts.append(tag("path", d="M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in places), class_=f"curve {colour}"))
    if len(places) <= _MOST_DOTS:
        parts += [tag("circle", cx=round(a, 1), cy=round(b, 1), r=2, class_=f"dot {colour}") for a, b in places]
    if series.best is not None:
        a, b = series.best
        parts.append(tag("circle", cx=round(x(a), 1), cy=round(y(b), 1), r=5, class_=f"best {colour}"))
    return parts
