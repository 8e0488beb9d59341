"""Objectives by name: what is optimised, and in which updates.

An objective is a tuple of `Update`s that make up one training step. To add one, write a file beside
`nsgan.py` and enter it in `OBJECTIVES`. Losses are pure functions of the networks' outputs and return one
value per sample: averaging over the *global* batch, gradients and their reduction over replicas are the
step's business.
"""

from collections.abc import Callable, Mapping

from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.objectives import acgan, augment, hinge, infogan, lsgan, minimax, nsgan, r3gan, sgan, vae, wgan_gp
from pipeline.objectives.penalties import Penalties
from pipeline.objectives.update import Batch, Loss, Losses, Networks, Update

__all__ = ["OBJECTIVES", "Batch", "Loss", "Losses", "Networks", "Update", "check_divisible", "updates"]


# What a configuration and, for semi-supervised learning, the labelled images decide.
Make = Callable[[Config, sgan.Labelled | None], tuple[Update, ...]]


def _sgan(config: Config, labelled: sgan.Labelled | None) -> tuple[Update, ...]:
    if labelled is None:
        raise ValueError("sgan needs the labelled images; pass labelled=.")
    return sgan.updates(labelled, weight=config.unlabelled_weight)


OBJECTIVES: Mapping[str, Make] = {
    "nsgan": lambda c, _: nsgan.split_updates() if c.d_batches == "split" else nsgan.OBJECTIVE.updates(c.d_steps),
    "minimax": lambda c, _: minimax.OBJECTIVE.updates(c.d_steps),
    "lsgan": lambda c, _: lsgan.OBJECTIVE.updates(c.d_steps),
    "hinge": lambda c, _: hinge.OBJECTIVE.updates(c.d_steps),
    "wgan_gp": lambda c, _: wgan_gp.updates(weight=c.gp or wgan_gp.WEIGHT, d_steps=c.d_steps),
    "r3gan": lambda c, _: r3gan.updates(gamma=c.gamma, d_steps=c.d_steps),
    "sgan": _sgan,
    "vae": lambda c, _: vae.updates(sigma=c.sigma),
    "autoencoder": lambda c, _: vae.autoencoder_updates(),
}
"""By name, what makes the updates of a training step."""


def updates(config: Config, labelled: sgan.Labelled | None = None) -> tuple[Update, ...]:
    """Returns the updates of one training step, in order.

    Args:
      config: the run's configuration.
      labelled: for `sgan`, the images whose labels may be used.
    """
    chosen = OBJECTIVES[config.objective](config, labelled)
    gp = 0.0 if config.objective == "wgan_gp" else config.gp  # which has it already
    chosen = Penalties(config.r1, config.r2, gp, config.penalty_every).add_to(chosen)
    if config.conditional and "acgan" in config.conditionings():
        chosen = acgan.add_to(chosen, config.class_weight)
    if config.categories or config.codes:
        chosen = infogan.add_to(chosen, config.categories, config.codes, config.info_weight)
    kinds = config.augmentations()
    return augment.add_to(chosen, kinds) if kinds else chosen


def check_divisible(batch_size: int, updates: tuple[Update, ...], replicas: int) -> None:
    """Refuses a global batch that can't be shared by replicas; raises MirageError."""
    divisor = replicas * max(update.batch_divisor for update in updates)
    if batch_size % divisor:
        halves = " in half batches" if divisor != replicas else ""
        raise MirageError(
            f"--batch_size={batch_size} can't be shared by {replicas} replicas{halves}; choose a multiple of {divisor}."
        )
