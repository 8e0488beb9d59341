"""The augmentation pipeline of ADA (Karras et al. 2020, arXiv 2006.06676, appendix B), group by group.

Every transformation is a linear function of the image, up to an offset, and which one it is follows from uniform random
numbers of that image: so it passes gradients of any order, and comes out the same whatever computes beside it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

from pipeline.base.libraries import tf
from pipeline.objectives.ada import color, filters, geometry
from pipeline.objectives.ada.draws import Draws

# Of each group, in the paper's order, how many random numbers an image needs.
GROUPS = {
    "blit": geometry.BLIT_NUMBERS,
    "geom": geometry.NUMBERS,
    "ada_color": color.NUMBERS,
    "filter": filters.NUMBERS,
    "noise": filters.NOISE_NUMBERS,
}
NUMBERS = sum(GROUPS.values())
WORDS = {
    "bg": "blit,geom",
    "bgc": "blit,geom,ada_color",
    "bgcf": "blit,geom,ada_color,filter",
    "bgcfn": "blit,geom,ada_color,filter,noise",
    "bgcfnc": "blit,geom,ada_color,filter,noise,cutout",
}
"""What the paper calls several groups together."""


def changes(
    numbers: tf.Tensor, pixels: tf.Tensor, shares: Mapping[str, tf.Tensor], shape: Sequence[int]
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Chooses how each image is augmented.

    Args:
      numbers: float32 [n, NUMBERS], uniform in [0, 1).
      pixels: float32 [n, H * W * C], standard normal, which "noise" alone looks at.
      shares: of each chosen group, float32 scalar, the probability of each of its transformations.
      shape: (H, W, C).

    Returns:
      A function of images float32 [n, H, W, C] in [-1, 1], of the same shape; of four channels the last one is alpha,
      by which the others are multiplied.
    """
    draws, first = {}, 0
    for name, count in GROUPS.items():
        if name in shares:
            draws[name] = Draws(numbers[:, first : first + count], shares[name])
        first += count
    chosen: list[Callable[[tf.Tensor], tf.Tensor]] = []
    blit = geometry.blitting(draws["blit"], shape) if "blit" in draws else None
    if "geom" in draws:
        inverse = geometry.general(draws["geom"], shape, blit or geometry.nothing(numbers))
        chosen.append(geometry.resampling(inverse, shape))
    elif blit:
        chosen.append(geometry.moving(blit, shape))
    if "ada_color" in draws:
        chosen.append(color.recolouring(draws["ada_color"]))
    if "filter" in draws:
        chosen.append(filters.filtering(draws["filter"], shape))
    if "noise" in draws:
        chosen.append(filters.adding(draws["noise"], tf.reshape(pixels, [-1, *shape])))
    return lambda images: functools.reduce(lambda done, change: change(done), chosen, images)
