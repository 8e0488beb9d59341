"""The variational autoencoder (Kingma and Welling 2013, arXiv 1312.6114), and the plain one beside it.

The encoder gives mean m and log variance s of a normal distribution of codes; the decoder, here the
generator, makes an image y of a code z = m + exp(s / 2) e, e standard normal. Both minimise, per image x,

    L = |x - y|^2 / (2 sigma^2) + KL( N(m, exp s) || N(0, 1) ),    KL = 1/2 sum (exp s + m^2 - 1 - s),

the negative evidence lower bound up to a constant, for pixels of standard deviation sigma around y.

The autoencoder minimises |x - y|^2 / 2 with z the encoder's output. Nothing but that encoder's
standardisation makes its codes lie where standard normal latents do, so its samples are poor: that is what
the VAE adds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from pipeline.base.libraries import tf
from pipeline.base.needs import Needs
from pipeline.base.parameters import parameter
from pipeline.objectives.objective import Objective, refuse
from pipeline.objectives.update import Batch, Losses, Networks, Update


def kl_to_standard_normal(mean: tf.Tensor, log_variance: tf.Tensor) -> tf.Tensor:
    """KL divergence of diagonal normal distributions from the standard one, in nats.

    Args:
      mean: float32 [n, d].
      log_variance: float32 [n, d].

    Returns:
      float32 [n].
    """
    return 0.5 * tf.reduce_sum(tf.exp(log_variance) + tf.square(mean) - 1 - log_variance, axis=1)


def _squared_error(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Summed over pixels and channels, [n]."""
    return tf.reduce_sum(tf.square(a - b), axis=[1, 2, 3])


def _metrics(batch: Batch, loss: tf.Tensor, error: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"loss": loss, "mse": error / tf.cast(tf.size(batch.images[0]), tf.float32)}


@dataclasses.dataclass(frozen=True)
class Autoencoder(Objective):
    """The plain autoencoder; see the module."""

    discriminator: ClassVar[bool] = False
    _name: ClassVar[str] = "autoencoder"

    def updates(self) -> tuple[Update, ...]:
        """Returns the one update."""
        return (Update("generator+encoder", self._loss, ("loss", "mse")),)

    def needs(self, num_labels: int, latent_dim: int) -> Needs:
        """See `Objective`."""
        return Needs(("generator", "encoder"), ("generator+encoder",), code=latent_dim, standardised=True)

    def check(self, values: Mapping[str, Any]) -> None:
        """See `Parameters`."""
        heads = ("conditioning", "categories", "codes")
        names = ("r1", "r2", "gp", "d_steps", "augment", "discriminator", "spectral_norm", *heads)
        refuse(values, names, f"objective={self._name}", "which has no discriminator", "leave it out")

    def _loss(self, networks: Networks, batch: Batch) -> Losses:
        z = networks["encoder"](batch.images, batch.labels)
        error = _squared_error(batch.images, networks["generator"](z, batch.labels))
        return 0.5 * error, _metrics(batch, 0.5 * error, error)


@dataclasses.dataclass(frozen=True)
class VAE(Autoencoder):
    """The variational autoencoder; see the module."""

    _name: ClassVar[str] = "vae"
    sigma: float = parameter(
        0.3,
        "standard deviation of a VAE's pixels around its decoder's output, where black is -1 and white 1; larger "
        "values blur, smaller ones let codes drift from the prior.",
        minimum=1e-3,
    )

    def updates(self) -> tuple[Update, ...]:
        """Returns the one update."""
        return (Update("generator+encoder", self._loss, ("loss", "mse", "kl")),)

    def needs(self, num_labels: int, latent_dim: int) -> Needs:
        """See `Objective`."""
        return Needs(("generator", "encoder"), ("generator+encoder",), code=2 * latent_dim)

    def _loss(self, networks: Networks, batch: Batch) -> Losses:
        mean, log_variance = tf.split(networks["encoder"](batch.images, batch.labels), 2, axis=1)
        z = mean + tf.exp(0.5 * log_variance) * batch.z
        error = _squared_error(batch.images, networks["generator"](z, batch.labels))
        kl = kl_to_standard_normal(mean, log_variance)
        loss = error / (2 * self.sigma**2) + kl
        return loss, {**_metrics(batch, loss, error), "kl": kl}
