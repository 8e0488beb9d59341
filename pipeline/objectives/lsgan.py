"""Least squares (Mao et al. 2016, arXiv 1611.04076, equation 2 with a = 0, b = c = 1).

    L_D = 1/2 (D(x) - 1)^2 + 1/2 D(G(z))^2        L_G = 1/2 (D(G(z)) - 1)^2

Images that D has long judged rightly still pull, towards the boundary, which lies at 1/2.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from pipeline.base.libraries import tf
from pipeline.objectives.adversarial import Adversarial


def towards_one(logits: tf.Tensor) -> tf.Tensor:
    """1/2 (l - 1)^2, [n]."""
    return 0.5 * tf.square(logits - 1)


def towards_zero(logits: tf.Tensor) -> tf.Tensor:
    """1/2 l^2, [n]."""
    return 0.5 * tf.square(logits)


@dataclasses.dataclass(frozen=True)
class LSGAN(Adversarial):
    """Least squares; see the module."""

    boundary: ClassVar[float] = 0.5
    d_loss_real = g_loss = staticmethod(towards_one)
    d_loss_fake = staticmethod(towards_zero)
