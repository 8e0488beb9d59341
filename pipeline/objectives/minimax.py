"""The minimax game as stated (Goodfellow et al. 2014, arXiv 1406.2661, equation 1).

D minimises the cross-entropy of `nsgan.py`, and G minimises log(1 - D(G(z))), whose gradient vanishes where
D is sure: it is here to see that happen.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from pipeline.base.libraries import tf
from pipeline.objectives.adversarial import Adversarial
from pipeline.objectives.nsgan import d_loss_fake, d_loss_real


def g_loss(logits: tf.Tensor) -> tf.Tensor:
    """log(1 - p) = -softplus(l), [n]."""
    return -tf.nn.softplus(logits)


@dataclasses.dataclass(frozen=True)
class Minimax(Adversarial):
    """The minimax game; see the module."""

    d_weight: ClassVar[float] = 0.5
    d_loss_real = staticmethod(d_loss_real)
    d_loss_fake = staticmethod(d_loss_fake)
    g_loss = staticmethod(g_loss)
