"""Whether two figures differ by more than the choice of the samples would explain.

Independent estimates a and b with 95 % intervals (l_a, u_a) and (l_b, u_b) give one of their difference, which need not
be symmetric (MOVER; Zou and Donner 2008, "Construction of confidence limits about effect measures", Statistics in
Medicine 27):

    a - b - sqrt((a - l_a)^2 + (u_b - b)^2)  to  a - b + sqrt((u_a - a)^2 + (b - l_b)^2)

Figures of two runs share their reference, whose part in the noise a difference loses: the interval is rather too wide.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.evaluation.report.figures import Figure
from pipeline.evaluation.report.record import interval, number

WITHIN = "within noise"


@dataclasses.dataclass(frozen=True)
class Difference:
    """How much better one figure is than another.

    Attributes:
      value: by how much; negative where it is worse.
      low: lower end of its 95 % interval.
      high: upper end.
    """

    value: float
    low: float
    high: float

    @property
    def within_noise(self) -> bool:
        """Whether the interval holds zero."""
        return self.low <= 0 <= self.high

    def __str__(self) -> str:
        if self.within_noise:
            return WITHIN
        if self.value > 0:
            return f"better by {shown_pair(self.value, self.low, self.high)}"
        return f"worse by {shown_pair(-self.value, -self.high, -self.low)}"


def shown_pair(value: float, low: float, high: float) -> str:
    """Writes a value and its interval with as many decimals as the interval is wide."""
    width = (high - low) / 2
    decimals = max(0, 1 - math.floor(math.log10(width))) if width > 0 else 4
    return f"{value:,.{decimals}f} ({low:,.{decimals}f} to {high:,.{decimals}f})"


def difference(figure: Figure, one: Mapping[str, Any], other: Mapping[str, Any]) -> Difference | None:
    """How much better a figure of `one` is than that of `other`.

    Args:
      figure: which, of which one way must be better.
      one: scores with intervals.
      other: the same.

    Returns:
      The difference; None where a figure or an interval is missing.
    """
    a, b = number(one.get(figure.name)), number(other.get(figure.name))
    of_a, of_b = interval(one, figure.name), interval(other, figure.name)
    if a is None or b is None or of_a is None or of_b is None or not figure.better:
        return None
    low = a - b - math.hypot(a - of_a[0], of_b[1] - b)
    high = a - b + math.hypot(of_a[1] - a, b - of_b[0])
    return Difference(a - b, low, high) if figure.better == "higher" else Difference(b - a, -high, -low)


def best(figure: Figure, rows: Sequence[Mapping[str, Any]]) -> int | None:
    """Which of the rows has the best figure; None where none has it, or no way is better."""
    known = [(value, i) for i, row in enumerate(rows) if (value := number(row.get(figure.name))) is not None]
    if not figure.better or not known:
        return None
    return (min if figure.better == "lower" else max)(known, key=lambda each: each[0])[1]


def sentences(figures: Sequence[Figure], rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """Says of each figure how the best run differs from the others.

    Args:
      figures: those to speak of.
      rows: scores, a run each.
      names: of the runs.

    Returns:
      Such as "FID: a is better than b by 1.3 (0.8 to 1.9), than c within noise."
    """
    found = []
    for figure in figures:
        first = best(figure, rows)
        if first is None:
            continue
        others = [
            (names[i], apart)
            for i, row in enumerate(rows)
            if i != first and (apart := difference(figure, rows[first], row)) is not None
        ]
        clear = [f"than {name} by {shown_pair(d.value, d.low, d.high)}" for name, d in others if not d.within_noise]
        noise = [name for name, apart in others if apart.within_noise]
        parts = [f"{names[first]} is better {', '.join(clear)}"] if clear else []
        if noise:
            parts.append(f"{names[first]} and {', '.join(noise)} are {WITHIN} of each other")
        if parts:
            found.append(f"{figure.title}: {'; '.join(parts)}.")
    return found
