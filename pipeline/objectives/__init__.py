"""Objectives by name: what is optimised, and in which updates.

An objective is a tuple of `Update`s that make up one training step. To add one, write a file beside
`nsgan.py` and enter it in `OBJECTIVES`. Losses are pure functions of the networks' outputs and return one
value per sample: averaging over the *global* batch, gradients and their reduction over replicas are the
step's business.
"""

from collections.abc import Callable, Mapping

from pipeline.config import Config
from pipeline.objectives import hinge, lsgan, minimax, nsgan, r3gan, wgan_gp
from pipeline.objectives.penalties import Penalties
from pipeline.objectives.update import Batch, Loss, Losses, Networks, Update

__all__ = ["OBJECTIVES", "Batch", "Loss", "Losses", "Networks", "Update", "updates"]


OBJECTIVES: Mapping[str, Callable[[Config], tuple[Update, ...]]] = {
    "nsgan": lambda c: nsgan.split_updates() if c.d_batches == "split" else nsgan.OBJECTIVE.updates(c.d_steps),
    "minimax": lambda c: minimax.OBJECTIVE.updates(c.d_steps),
    "lsgan": lambda c: lsgan.OBJECTIVE.updates(c.d_steps),
    "hinge": lambda c: hinge.OBJECTIVE.updates(c.d_steps),
    "wgan_gp": lambda c: wgan_gp.updates(weight=c.gp or wgan_gp.WEIGHT, d_steps=c.d_steps),
    "r3gan": lambda c: r3gan.updates(gamma=c.gamma, d_steps=c.d_steps),
}


def updates(config: Config) -> tuple[Update, ...]:
    """Returns the updates of one training step, in order."""
    added = Penalties(config.r1, config.r2, 0.0 if config.objective == "wgan_gp" else config.gp, config.penalty_every)
    return added.add_to(OBJECTIVES[config.objective](config))
