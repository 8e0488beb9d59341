"""Objectives: what is optimised, and in which updates.

To add one, write a file beside `hinge.py` and enter it in `OBJECTIVES`; from outside, enter yours there, or pass it to
`Experiment` or its import path to --objective. What may be added to any of them is in `TERMS`. Importing this doesn't
load TensorFlow.
"""

from typing import Any

from pipeline.base.objects import Registry
from pipeline.objectives.acgan import ACGAN
from pipeline.objectives.adversarial import Adversarial
from pipeline.objectives.augment import Augmentation
from pipeline.objectives.hinge import Hinge
from pipeline.objectives.infogan import InfoGAN
from pipeline.objectives.lsgan import LSGAN
from pipeline.objectives.minimax import Minimax
from pipeline.objectives.nsgan import NSGAN
from pipeline.objectives.objective import Game, Objective
from pipeline.objectives.path_length import PathLength
from pipeline.objectives.penalties import Penalties
from pipeline.objectives.r3gan import R3GAN
from pipeline.objectives.sgan import SGAN
from pipeline.objectives.style_mixing import StyleMixing
from pipeline.objectives.update import Batch, Loss, Losses, Networks, Update, global_mean
from pipeline.objectives.vae import VAE, Autoencoder
from pipeline.objectives.wgan_gp import WGANGP

__all__ = [
    "ACGAN",
    "LSGAN",
    "NSGAN",
    "OBJECTIVES",
    "R3GAN",
    "SGAN",
    "TERMS",
    "VAE",
    "WGANGP",
    "Adversarial",
    "Augmentation",
    "Autoencoder",
    "Batch",
    "Game",
    "Hinge",
    "InfoGAN",
    "Loss",
    "Losses",
    "Minimax",
    "Networks",
    "Objective",
    "PathLength",
    "Penalties",
    "StyleMixing",
    "Update",
    "global_mean",
]

OBJECTIVES: Registry = {
    "autoencoder": Autoencoder,
    "hinge": Hinge,
    "lsgan": LSGAN,
    "minimax": Minimax,
    "nsgan": NSGAN,
    "r3gan": R3GAN,
    "sgan": SGAN,
    "vae": VAE,
    "wgan_gp": WGANGP,
}
"""By name, the class that makes the updates of a training step."""
TERMS: list[Any] = [Penalties, ACGAN, InfoGAN, Augmentation, StyleMixing, PathLength]
"""What can be added to any objective, in this order."""
