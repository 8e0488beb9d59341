"""Figures laid out for people. Standard library only."""

from collections.abc import Mapping
from typing import Any

from pipeline.metrics.figures import INTERVAL, told

# What real images get is named after a figure by one of these.
_OF_REAL = ("_of_real", "_of_reference", "_floor")
_NAME, _VALUE = 42, 10


def table(scores: Mapping[str, Any], title: str = "") -> str:
    """Lays figures out, a line each: its value, the interval in which it lies with 95 %, what real images get.

    Args:
      scores: what `pipeline.evaluation.evaluate.evaluate` returns.
      title: what a Fréchet distance with this extractor is called.
    """
    lines = []
    beside = {floor for name in scores if (floor := _floor_of(name, scores))}
    for name, value in scores.items():
        if name in beside or name.endswith(INTERVAL) or isinstance(value, Mapping):
            continue
        line = f"{told(name, title):{_NAME}}  {_text(value):{_VALUE}}"
        interval, floor = scores.get(name + INTERVAL), _floor_of(name, scores)
        line += f"{_range(interval):24}" if interval or floor else ""
        if floor:
            around = scores.get(floor + INTERVAL)
            line += f"real images: {_text(scores[floor])}" + (f" ({_range(around)})" if around else "")
        lines.append(line.rstrip())
    return "\n".join(lines)


def _floor_of(name: str, scores: Mapping[str, Any]) -> str:
    stem = name.removesuffix("_distance")
    names = [stem + ending for ending in _OF_REAL] + [name + ending for ending in _OF_REAL]
    return next((each for each in names if each in scores), "")


def _range(interval: Any) -> str:
    return " to ".join(f"{each:.4g}" for each in interval) if interval else ""


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(value) if isinstance(value[0], str) else " ".join(f"{each:.3f}" for each in value)
    return "unknown" if value is None else str(value)
