"""How attributes are scaled for networks. Needs only the standard library."""

from collections.abc import Sequence

from serving.contract.attributes import Attribute


def affine(attributes: Sequence[Attribute]) -> tuple[list[float], list[float]]:
    """Returns (scale, offset) of each: `label * scale + offset` goes from -1, its least value, to 1, its greatest."""
    scale = [2 / (each.high - each.low) for each in attributes]
    return scale, [-1 - each.low * of for each, of in zip(attributes, scale, strict=True)]
