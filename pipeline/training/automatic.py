"""The rules by which parameters that are `auto` are chosen. Needs only the standard library.

They know Mirage's convolutional networks trained with r3gan, and stylegan2 with nsgan, each with its own discriminator,
and a projected discriminator trained with hinge; any other objective or network gets the defaults of its flags. What a
rule looks at was given, or has been chosen before it: a rate follows a batch size, whoever chose that.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.base.objects import parsed_arguments
from pipeline.networks.pyramid import WIDTH
from pipeline.networks.pyramid import width as width_at


@dataclasses.dataclass(frozen=True)
class Case:
    """What the rules look at.

    Attributes:
      flags: the value of each: as it was given, or has been chosen so far.
      size: larger side of the images, in pixels.
      shorter: the other one.
      grey: whether they have one channel.
      pictures: number of images.
      gpu: whether it trains on GPUs.
      replicas: number of replicas, over all workers.
    """

    flags: Mapping[str, Any]
    size: int
    shorter: int
    grey: bool
    pictures: int
    gpu: bool
    replicas: int

    @property
    def width(self) -> int:
        """Planes of the widest stage of residual networks."""
        given = parsed_arguments(self.flags["model_args"], "model_args")
        if self.flags["model"] == "r3gan":
            width = given.get("width", 768)
            return max(width) if isinstance(width, tuple) else int(width)
        # D halves the sides, rounded up, until the shorter one is at most 4; G begins no lower.
        halvings = math.ceil(math.log2(max(self.shorter, 4) / 4)) if given.get("doubling", True) else 0
        return width_at(halvings, int(given.get("width", WIDTH)))

    @property
    def group(self) -> int:
        """Images that D compares with one another on a device: as many divide its share of a batch."""
        if self.flags["model"] != "stylegan2" or self.flags["discriminator"] != "auto":
            return 1
        return int(parsed_arguments(self.flags["model_args"], "model_args").get("group", 4))

    @property
    def rules(self) -> Mapping[str, Callable[[Case], Any]]:
        """The rules that know the objective and the networks; what is in none has the default of its flag."""
        objective, model = self.flags["objective"], self.flags["model"]
        if self.flags["discriminator"] != "auto":
            known = objective == "hinge" and self.flags["discriminator"] == "projected"
            return PROJECTED_RULES if known else OTHER_RULES
        if objective == "r3gan" and model in ("dcgan", "r3gan", "resnet"):
            return RULES
        return STYLE_RULES if objective == "nsgan" and model == "stylegan2" else {}

    @property
    def batch(self) -> int:
        """Images per update."""
        return int(self.flags["batch_size"] * self.flags["accumulate"])


def model_args(case: Case) -> str:
    """The networks' own width, until a wider one has been shown to be better in the same time."""
    return ""


def batch_size(case: Case) -> int:
    """As large as learns fastest per second: a GPU is idle with few images, a CPU gets through more updates."""
    if case.gpu:
        return 256
    if case.size > 32:
        return 32
    return 128 if case.grey and case.pictures >= 20_000 else 64


def latent_dim(case: Case) -> int:
    """As in R3GAN's networks; more if InfoGAN's codes need them."""
    return max(64, case.flags["categories"] + case.flags["codes"])


def conditioning(case: Case) -> str:
    """Telling D the class and asking it for the class is better than either, and than joining labels to pixels.

    R3GAN's networks are told it, as the paper has it.
    """
    if case.flags["conditional"] and case.flags["model"] == "r3gan":
        return "projection"
    return "projection,acgan" if case.flags["conditional"] else "concat"


def class_weight(case: Case) -> float:
    """Little where D is told the class as well; where it isn't, this loss alone makes the classes."""
    return 1.0 if case.flags["conditioning"] == "acgan" else 0.05


def learning_rate(case: Case) -> float:
    """Digits bear more with a larger batch; larger pictures less, as D's gradients at them grow.

    Adam moves each weight as far, however many a unit has: residual networks, which nothing normalises, get R3GAN's
    0.0002 at 768 planes, and as much more as they are narrower.
    """
    rate = min(0.0012, 0.0004 * (1 + case.batch / 64)) if case.grey else 0.002
    rate *= min(1.0, 32 / case.size)
    return min(rate, 0.0002 * 768 / case.width) if case.flags["model"] in ("r3gan", "resnet") else rate


def lr_decay_images(case: Case) -> int:
    """The rate ends at a tenth: falling to 0 would waste the last steps, not falling would leave noise."""
    images_per_step = case.batch * case.flags["d_steps"]  # each of D's updates is on images of its own
    return round(1.25 * case.flags["steps"] * images_per_step)


def beta_2(case: Case) -> float:
    """The second moment is of a hundred updates, or of twenty: gradients of games change faster than 0.999 follows."""
    return 0.99 if case.grey else 0.95


def gamma(case: Case) -> float:
    """Penalties hold D back: the more, the larger the images (the paper's grow with about the third power of the side).

    Colour pictures say more than digits, and labels tell D what to look at, so that it needs less.
    """
    at_32 = 0.5 if case.grey else 0.03 if case.flags["conditional"] else 0.1
    return at_32 * max(1.0, case.size / 32) ** 3


def ema_images(case: Case) -> int:
    """Half life of the average: fewer, noisier updates need more of it (20,000 images with batches of 64)."""
    return round(10_000 * (1 + case.batch / 64))


def augment(case: Case) -> str:
    """D learns fewer than 5,000 pictures by heart, unless it never sees the same one twice."""
    return "translation,cutout,color" if case.pictures < 5_000 else ""


def r1(case: Case) -> float:
    """None, as r3gan has its own."""
    return 0.0


def style_batch_size(case: Case) -> int:
    """On each device what its memory holds, in whole groups for D to compare."""
    each = min(max(4096 // case.size, 4), 32)
    shared = case.group * case.replicas
    return max(min(each * case.replicas, 64) // shared, 1) * shared


def style_latent_dim(case: Case) -> int:
    """As in the paper; more if InfoGAN's codes need them."""
    return max(512, case.flags["categories"] + case.flags["codes"])


def style_learning_rate(case: Case) -> float:
    """As in the paper."""
    return 0.002 if case.size >= 1024 else 0.0025


def style_r1(case: Case) -> float:
    """The rule of arXiv 2006.06676 for pictures that nobody has tried; half of its gamma, as nsgan's loss of D is."""
    return 0.0001 * case.size**2 / case.batch


def style_ema_images(case: Case) -> int:
    """As there: so many images for each 32 of a batch."""
    return round(10_000 * case.batch / 32)


def projected_batch_size(case: Case) -> int:
    """As small on the CPU as learns fastest per second; on a GPU as in arXiv 2111.01007."""
    return 32 if case.size > 32 and not case.gpu else 64


def projected_learning_rate(case: Case) -> float:
    """What cats and flowers were learned with, 32 at a time."""
    return 0.0005


def projected_ema_images(case: Case) -> int:
    """Half life of the average: G changes fast, and is worth looking at after a few ten thousand images."""
    return 10_000


def projected_augment(case: Case) -> str:
    """Always: eyes that know so much tell pictures apart at once."""
    return "translation,cutout,color"


# In this order, so that each may look at those before it.
RULES: dict[str, Callable[[Case], Any]] = {
    "model_args": model_args,
    "batch_size": batch_size,
    "latent_dim": latent_dim,
    "conditioning": conditioning,
    "class_weight": class_weight,
    "learning_rate": learning_rate,
    "lr_decay_images": lr_decay_images,
    "beta_2": beta_2,
    "gamma": gamma,
    "r1": r1,
    "ema_images": ema_images,
    "augment": augment,
}
OTHER_RULES: dict[str, Callable[[Case], Any]] = {"augment": augment}
PROJECTED_RULES: dict[str, Callable[[Case], Any]] = {
    "batch_size": projected_batch_size,
    "latent_dim": latent_dim,
    "learning_rate": projected_learning_rate,
    "ema_images": projected_ema_images,
    "augment": projected_augment,
}
STYLE_RULES: dict[str, Callable[[Case], Any]] = {
    "batch_size": style_batch_size,
    "latent_dim": style_latent_dim,
    "learning_rate": style_learning_rate,
    "r1": style_r1,
    "ema_images": style_ema_images,
}
