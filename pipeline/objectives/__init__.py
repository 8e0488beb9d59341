"""Objectives by name: what is optimised, and in which updates.

An objective is a tuple of `Update`s that make up one training step. To add one, write a file beside
`nsgan.py` with a function that returns its updates, and enter it in `_OBJECTIVES`. Losses are pure
functions of the networks' outputs and return one value per sample: averaging over the *global*
batch, gradients and their reduction over replicas are the step's business.
"""

from collections.abc import Callable, Mapping

from pipeline.objectives import nsgan, r3gan
from pipeline.objectives.update import Batch, Loss, Networks, Update

__all__ = ["Batch", "Loss", "Networks", "Update", "updates"]

_OBJECTIVES: Mapping[str, Callable[[str, float], tuple[Update, ...]]] = {
    "nsgan": lambda d_batches, gamma: nsgan.updates(split=d_batches == "split"),
    "r3gan": lambda d_batches, gamma: r3gan.updates(gamma=gamma),
}


def updates(objective: str, *, d_batches: str, gamma: float) -> tuple[Update, ...]:
    """Returns the updates of one training step, in order.

    Args:
      objective: a value of `--objective`.
      d_batches: "joint" or "split", see `--d_batches`.
      gamma: weight of R3GAN's penalties, see `--gamma`.
    """
    return _OBJECTIVES[objective](d_batches, gamma)
