"""Gradient penalties, for any objective to add to D's loss.

    R1  gamma/2 |grad_x D(x)|^2 at real images (Mescheder et al. 2018, arXiv 1801.04406, equation 9)
    R2  the same at generated images
    GP  lambda (|grad D(x')| - 1)^2 between both (Gulrajani et al. 2017, arXiv 1704.00028)

Lazy regularisation (Karras et al. 2019, arXiv 1912.04958, appendix B): in every k-th step only, k times as
strong.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Self

from pipeline.base.errors import MirageError
from pipeline.base.libraries import tf
from pipeline.base.parameters import UNDECIDED, Parameters, parameter
from pipeline.objectives.objective import Objective, refuse
from pipeline.objectives.update import Batch, Loss, Losses, Networks, Update, per_image


def logits_and_penalty(networks: Networks, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Judges images and computes the squared norm of the gradient of each one's logit, or of the mean of its logits.

    Args:
      networks: with a "discriminator" that treats samples independently.
      images: float32 [n, H, W, C].
      labels: int32 [n].

    Returns:
      (logits [n] or [n, J], |grad_x D(x)|^2 [n], summed over pixels and channels).
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(images)
        logits = networks["discriminator"](images, labels)
        total = tf.reduce_sum(per_image(logits))
    gradient = tape.gradient(total, images)
    return logits, tf.reduce_sum(tf.square(gradient), axis=[1, 2, 3])


def gradient_norm_penalty(networks: Networks, batch: Batch, generated: tf.Tensor) -> tf.Tensor:
    """(|grad D(x')| - 1)^2 at a random point between each real and each generated image, [n]."""
    u = batch.u[:, None, None, None]
    between = u * batch.images + (1 - u) * generated
    _, squared_norm = logits_and_penalty(networks, between, batch.labels)
    # The square root has no derivative at 0.
    return tf.square(tf.sqrt(squared_norm + 1e-12) - 1)


# Of WGAN-GP, which has it for its own, and of any other objective, to which it is added.
GP: float = parameter(
    0.0,
    "lambda of WGAN-GP's penalty between real and generated images, for any objective; 0 means none, and 10 for "
    "wgan_gp.",
    minimum=0,
)


@dataclasses.dataclass(frozen=True)
class Penalties(Parameters):
    """Which penalties to add; see the module."""

    r1: float = parameter(
        0.0,
        "gamma of an R1 penalty added to the discriminator's loss (arXiv 1801.04406): gamma / 2 times the squared "
        "gradient at real images.",
        minimum=0,
        automatic=True,
    )
    r2: float = parameter(0.0, "the same at generated images.", minimum=0)
    gp: float = GP
    penalty_every: int = parameter(
        1,
        "compute the penalties that --r1, --r2 and --gp add in every such step only, and as many times as strong "
        "(arXiv 1912.04958).",
        minimum=1,
    )

    @classmethod
    def asked(cls, values: Mapping[str, Any], objective: Objective) -> Self:
        """Makes the term of a run; what the objective has for its own is none of it."""
        own = {field.name for field in dataclasses.fields(objective)} if dataclasses.is_dataclass(objective) else set()
        return cls.of({name: value for name, value in values.items() if name not in own})

    def check_with(self, values: Mapping[str, Any], objective: Objective) -> None:
        """See `Term`."""
        if not getattr(objective, "joint", True):
            way = "d_batches=split" if values["d_batches"] == "split" else f"objective={values['objective']}"
            refuse(self.to_dict(), self._names, way, "which has no update of D for them", "leave it out")
        if self.penalty_every > 1 and not self._names and "r1" not in values.get(UNDECIDED, ()):
            raise MirageError(
                f"--penalty_every={self.penalty_every} is of the penalties that --r1, --r2 and --gp add, and none is "
                "added (an objective's own are of every step); set one of them, or leave it out."
            )

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(name for name in ("r1", "r2", "gp") if getattr(self, name))

    def add_to(self, updates: tuple[Update, ...]) -> tuple[Update, ...]:
        """Adds the penalties to each update of D, which sees both real and generated images."""
        if not self._names:
            return updates
        return tuple(
            dataclasses.replace(
                update,
                loss=self._penalised(update.loss),
                metrics=(*update.metrics, *self._names),
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
                metrics[name] = _every(self.penalty_every, batch, term)
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
