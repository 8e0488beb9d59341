"""How figures that metrics report are told to people. Needs only the standard library."""

from collections.abc import Mapping
from typing import Any

from pipeline.metrics import distance_title

INTERVAL = "_interval"
"""What follows a figure's name where its interval of 95 % stands."""


def told(name: str, title: str = "") -> str:
    """Returns a figure's name as text; a Fréchet distance's with `title`, by what it is taken, if that is given."""
    return name.replace("_", " ") + (f" ({title})" if name == "frechet_distance" and title else "")


def format_scores(scores: Mapping[str, Any], extractor: str | None) -> str:
    """Formats figures for a log line, without their intervals.

    Args:
      scores: figures by name.
      extractor: name of what described the images, if anything did.

    Returns:
      Such as `frechet distance (FD-classifier) 3.21  recall 0.52`.
    """
    title = distance_title(extractor) if extractor else ""
    numbers = [(name, value) for name, value in scores.items() if not isinstance(value, list)]
    return "  ".join(f"{told(name, title)} {value:.4g}" for name, value in numbers)
