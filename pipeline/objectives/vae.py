"""The variational autoencoder (Kingma and Welling 2013, arXiv 1312.6114), and the plain one beside it.

The encoder gives mean m and log variance s of a normal distribution of codes; the decoder, here the
generator, makes an image y of a code z = m + exp(s / 2) e, e standard normal. Both minimise, per image x,

    L = |x - y|^2 / (2 sigma^2) + KL( N(m, exp s) || N(0, 1) ),    KL = 1/2 sum (exp s + m^2 - 1 - s),

the negative evidence lower bound up to a constant, for pixels of standard deviation sigma around y.

The autoencoder minimises |x - y|^2 / 2 with z the encoder's output. Nothing but that encoder's
standardisation makes its codes lie where standard normal latents do, so its samples are poor: that is what
the VAE adds.
"""

import functools

import tensorflow as tf

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


def _vae(networks: Networks, batch: Batch, *, sigma: float) -> Losses:
    mean, log_variance = tf.split(networks["encoder"](batch.images, batch.labels), 2, axis=1)
    z = mean + tf.exp(0.5 * log_variance) * batch.z
    error = _squared_error(batch.images, networks["generator"](z, batch.labels))
    kl = kl_to_standard_normal(mean, log_variance)
    loss = error / (2 * sigma**2) + kl
    return loss, {**_metrics(batch, loss, error), "kl": kl}


def _autoencoder(networks: Networks, batch: Batch) -> Losses:
    z = networks["encoder"](batch.images, batch.labels)
    error = _squared_error(batch.images, networks["generator"](z, batch.labels))
    return 0.5 * error, _metrics(batch, 0.5 * error, error)


def updates(*, sigma: float) -> tuple[Update, ...]:
    """Returns the VAE's one update.

    Args:
      sigma: standard deviation of pixels, which run from -1 to 1.
    """
    return (Update("generator+encoder", functools.partial(_vae, sigma=sigma), ("loss", "mse", "kl")),)


def autoencoder_updates() -> tuple[Update, ...]:
    """Returns the autoencoder's one update."""
    return (Update("generator+encoder", _autoencoder, ("loss", "mse")),)
