"""The minimax game as stated (Goodfellow et al. 2014, arXiv 1406.2661, equation 1).

D minimises the cross-entropy of `nsgan.py`, and G minimises log(1 - D(G(z))), whose gradient vanishes where
D is sure: it is here to see that happen.
"""

import tensorflow as tf

from pipeline.objectives.nsgan import d_loss_fake, d_loss_real
from pipeline.objectives.update import Adversarial


def g_loss(logits: tf.Tensor) -> tf.Tensor:
    """log(1 - p) = -softplus(l), [n]."""
    return -tf.nn.softplus(logits)


OBJECTIVE = Adversarial(d_loss_real, d_loss_fake, g_loss, d_weight=0.5)
