"""Gradient penalties, for any objective to add to D's loss.

    R1  gamma/2 |grad_x D(x)|^2 at real images (Mescheder et al. 2018, arXiv 1801.04406, equation 9)
    R2  the same at generated images
    GP  lambda (|grad D(x')| - 1)^2 between both (Gulrajani et al. 2017, arXiv 1704.00028)

Lazy regularisation (Karras et al. 2019, arXiv 1912.04958, appendix B): in every k-th step only, k times as
strong.
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from pipeline.objectives.update import Batch, Loss, Losses, Networks, Update


def logits_and_penalty(networks: Networks, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Judges images and computes the squared norm of the gradient of each logit.

    Args:
      networks: with a "discriminator" that treats samples independently.
      images: float32 [n, H, W, C].
      labels: int32 [n].

    Returns:
      (logits [n], |grad_x D(x)|^2 [n], summed over pixels and channels).
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        logits = networks["discriminator"](images, labels)
        total = tf.reduce_sum(logits)
    gradient = tape.gradient(total, images)
    return logits, tf.reduce_sum(tf.square(gradient), axis=[1, 2, 3])


def gradient_norm_penalty(networks: Networks, batch: Batch, generated: tf.Tensor) -> tf.Tensor:
    """(|grad D(x')| - 1)^2 at a random point between each real and each generated image, [n]."""
    u = batch.u[:, None, None, None]
    between = u * batch.images + (1 - u) * generated
    _, squared_norm = logits_and_penalty(networks, between, batch.labels)
    # The square root has no derivative at 0.
    return tf.square(tf.sqrt(squared_norm + 1e-12) - 1)


@dataclasses.dataclass(frozen=True)
class Penalties:
    """Which penalties to add.

    Attributes:
      r1: gamma of R1; 0 leaves it out.
      r2: gamma of R2.
      gp: lambda of the gradient penalty.
      every: k of lazy regularisation; 1 computes them in every step.
    """

    r1: float = 0.0
    r2: float = 0.0
    gp: float = 0.0
    every: int = 1

    def add_to(self, updates: tuple[Update, ...]) -> tuple[Update, ...]:
        """Adds the penalties to each update of D that sees both real and generated images."""
        names = tuple(name for name in ("r1", "r2", "gp") if getattr(self, name))
        if not names:
            return updates
        return tuple(
            dataclasses.replace(
                update,
                loss=self._penalised(update.loss),
                metrics=(*update.metrics, *names),
                needs_u=update.needs_u or bool(self.gp),
            )
            if update.network == "discriminator"
            else update
            for update in updates
        )

    def _penalised(self, loss: Loss) -> Loss:
        def penalised(networks: Networks, batch: Batch) -> Losses:
            made: list[tf.Tensor] = []

            def generator(z: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
                made.append(networks["generator"](z, labels))
                return made[-1]

            value, metrics = loss({**networks, "generator": generator}, batch)
            terms = self._terms(networks, batch, made[0])
            for name, term in terms.items():
                metrics[name] = _every(self.every, batch, term)
                weight = self.gp if name == "gp" else getattr(self, name) / 2
                value += weight * metrics[name]
            return value, metrics

        return penalised

    def _terms(self, networks: Networks, batch: Batch, generated: tf.Tensor) -> dict[str, Callable[[], tf.Tensor]]:
        terms = {
            "r1": lambda: logits_and_penalty(networks, batch.images, batch.labels)[1],
            "r2": lambda: logits_and_penalty(networks, generated, batch.labels)[1],
            "gp": lambda: gradient_norm_penalty(networks, batch, generated),
        }
        return {name: term for name, term in terms.items() if getattr(self, name)}


def _every(k: int, batch: Batch, term: Callable[[], tf.Tensor]) -> tf.Tensor:
    """K times the term in every k-th step, so that its mean over steps is the term's."""
    if k == 1:
        return term()
    return tf.cond(batch.step % k == 0, lambda: k * term(), lambda: tf.zeros_like(batch.u))
