"""The augmentation pipeline of ADA (Karras et al. 2020, arXiv 2006.06676, appendix B), group by group.

Every transformation is a linear function of the image, up to an offset, and which one it is follows from uniform random
numbers of that image: so it passes gradients of any order, and comes out the same whatever computes beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

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


def apply(images: tf.Tensor, numbers: tf.Tensor, pixels: tf.Tensor, shares: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """Augments each image in its own way.

    Args:
      images: float32 [n, H, W, C] in [-1, 1]; of four channels the last one is alpha, by which the others are
        multiplied.
      numbers: float32 [n, NUMBERS], uniform in [0, 1).
      pixels: float32 [n, H * W * C], standard normal, which "noise" alone looks at.
      shares: of each chosen group, float32 scalar, the probability of each of its transformations.

    Returns:
      float32 [n, H, W, C].
    """
    draws, first = {}, 0
    for name, count in GROUPS.items():
        if name in shares:
            draws[name] = Draws(numbers[:, first : first + count], shares[name])
        first += count
    if "geom" in draws:
        blit = geometry.blitting(draws["blit"], images.shape) if "blit" in draws else geometry.nothing(images)
        images = geometry.resampled(images, geometry.general(draws["geom"], images.shape, blit))
    elif "blit" in draws:
        images = geometry.moved(images, geometry.blitting(draws["blit"], images.shape))
    others: dict[str, Callable[[tf.Tensor, Draws], tf.Tensor]] = {
        "ada_color": color.recoloured,
        "filter": filters.filtered,
        "noise": lambda images, draws: filters.noisy(images, draws, tf.reshape(pixels, images.shape)),
    }
    for name, function in others.items():
        if name in draws:
            images = function(images, draws[name])
    return images
