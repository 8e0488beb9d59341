"""The hinge loss (Lim and Ye 2017, arXiv 1705.02894; as used by Miyato et al. 2018, arXiv 1802.05957, eq. 16, 17).

    L_D = max(0, 1 - D(x)) + max(0, 1 + D(G(z)))        L_G = -D(G(z))

Only images near the boundary move D.
"""

from __future__ import annotations

import dataclasses

from pipeline.base.libraries import tf
from pipeline.objectives.adversarial import Adversarial


def d_loss_real(logits: tf.Tensor) -> tf.Tensor:
    """max(0, 1 - l), [n]."""
    return tf.nn.relu(1 - logits)


def d_loss_fake(logits: tf.Tensor) -> tf.Tensor:
    """max(0, 1 + l), [n]."""
    return tf.nn.relu(1 + logits)


@dataclasses.dataclass(frozen=True)
class Hinge(Adversarial):
    """The hinge loss; see the module."""

    d_loss_real = staticmethod(d_loss_real)
    d_loss_fake = staticmethod(d_loss_fake)

    @staticmethod
    def g_loss(logits: tf.Tensor) -> tf.Tensor:
        """-l, [n]."""
        return -logits
