"""Bars: counts by name, and histograms, which take their colours from the page."""

from collections.abc import Callable, Sequence

from pipeline.pages.markup import Content, Html, tag
from pipeline.pages.numbers import count

_WIDTH, _HEIGHT = 440, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 36
_LEAST = 1.5  # of a column that is not empty


def bars(rows: Sequence[tuple[Content, int]], marked: Callable[[int], bool] = lambda number: False) -> Html:
    """A bar a row, in proportion to its count.

    Args:
      rows: (name, count) of each.
      marked: whether the row of a number is to be noticed.
    """
    most = max((number for _, number in rows), default=0) or 1
    lines = [
        tag(
            "div",
            tag("span", name, class_="name"),
            tag("span", tag("i", style=f"width:{100 * number / most:.2f}%"), class_="track"),
            tag("span", f"{number:,}", class_="number"),
            class_="bar worse" if marked(place) else "bar",
        )
        for place, (name, number) in enumerate(rows)
    ]
    return tag("div", lines, class_="bars") if lines else Html("")


def histogram(
    title: str, edges: Sequence[float], counts: Sequence[int], label: str, text: Callable[[float], str] = count
) -> Html:
    """Counts over a range of values.

    Args:
      title: what is drawn.
      edges: of the bins, ascending, one more than these.
      counts: how many there are in each bin.
      label: what stands below the axis.
      text: writes a value.

    Returns:
      A figure; empty if there is nothing to draw.
    """
    most = max(counts, default=0)
    if not most:
        return Html("")
    width, height = (_WIDTH - _LEFT - _RIGHT) / len(counts), _HEIGHT - _TOP - _BOTTOM
    base = _HEIGHT - _BOTTOM
    parts = [tag("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=base, y2=base, class_="axis")]
    for place, number in enumerate(counts):
        high = max(height * number / most, _LEAST * bool(number))
        hint = tag("title", f"{text(edges[place])} to {text(edges[place + 1])}: {number:,}")
        x, y = round(_LEFT + place * width + 0.5, 1), round(base - high, 1)
        size = {"width": round(max(width - 1, 1), 1), "height": round(high, 1)}
        parts.append(tag("rect", hint, x=x, y=y, **size, class_="column c0"))
    parts.append(tag("text", count(most), x=_LEFT - 6, y=_TOP + 4, class_="tick y"))
    for place in sorted({0, len(counts) // 2, len(counts)}):
        x = round(_LEFT + place * width, 1)
        parts.append(tag("text", text(edges[place]), x=x, y=base + 15, class_="tick x"))
    parts.append(tag("text", label, x=(_LEFT + _WIDTH - _RIGHT) / 2, y=_HEIGHT - 5, class_="label"))
    peak = max(range(len(counts)), key=lambda place: counts[place])
    told = f"{title}: from {text(edges[0])} to {text(edges[-1])}, most about {text(edges[peak])}."
    drawn = tag("svg", parts, viewBox=f"0 0 {_WIDTH} {_HEIGHT}", role="img", aria_label=told)
    return tag("figure", tag("figcaption", title), drawn, class_="chart")
