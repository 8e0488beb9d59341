"""How figures that metrics report are told to people. Needs only the standard library."""

from collections.abc import Mapping
from typing import Any

from pipeline.metrics import distance_title


def format_scores(scores: Mapping[str, Any], extractor: str | None) -> str:
    """Formats figures for a log line, without their intervals.

    Args:
      scores: figures by name.
      extractor: name of what described the images, if anything did.

    Returns:
      Such as `frechet distance (FD-classifier) 3.21  recall 0.52`.
    """
    titles = {"frechet_distance": f"frechet distance ({distance_title(extractor)})"} if extractor else {}
    numbers = [(name, value) for name, value in scores.items() if not isinstance(value, list)]
    return "  ".join(f"{titles.get(name, name.replace('_', ' '))} {value:.4g}" for name, value in numbers)
