"""Calls an objective's loss while a step is traced, and refuses what it couldn't train on, in one sentence."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from pipeline.base.errors import MirageError
from pipeline.base.failures import reason
from pipeline.objectives import Batch, Losses, Networks, Update


def losses_of(update: Update, networks: Networks, batch: Batch) -> Losses:
    """Calls an update's loss.

    Args:
      update: one of the objective's.
      networks: see `pipeline.objectives.update.Networks`.
      batch: likewise.

    Returns:
      (losses, figures by name), as `pipeline.objectives.update.Losses` has them.

    Raises:
      MirageError: if it fails, or returns something else.
    """
    given = f"the objective's loss of the {update.network}"
    try:
        returned = update.loss(networks, batch)
    except (MirageError, MemoryError, tf.errors.ResourceExhaustedError):
        raise
    except Exception as error:
        raise MirageError(f"{given} failed: {reason(error)}; mend it.") from error
    if not (isinstance(returned, tuple | list) and len(returned) == 2 and isinstance(returned[1], Mapping)):
        raise MirageError(
            f"{given} returned {_described(returned)}; expected (losses, float32 [n], and a dictionary of figures)."
        )
    loss, figures = returned
    _check(loss, f"{given} returned", batch, "a loss for each sample")
    for name in update.metrics:
        if name not in figures:
            reported = ", ".join(map(str, figures)) or "nothing"
            raise MirageError(f"{given} reports {reported}, and its Update says {name}; let both name the same.")
        _check(figures[name], f"{given} reports {name} as", batch, "a figure for each sample")
    return loss, figures


def check_gradients(gradients: Sequence[Any], variables: Sequence[tf.Variable], update: Update) -> None:
    """Refuses a loss on which weights of its network have no effect; raises MirageError."""
    without = [variable.name for value, variable in zip(gradients, variables, strict=True) if value is None]
    if without:
        many = f"{len(without)} of its {len(variables)} weights, such as" if len(without) > 1 else "its weight"
        raise MirageError(
            f"the objective's loss of the {update.network} doesn't depend on {many} {without[0]}; use all that the "
            "network has in the loss, without tf.stop_gradient or numpy, or leave the rest out of the network."
        )


def _check(value: Any, what: str, batch: Batch, expected: str) -> None:
    size = batch.images.shape[0]
    # Out of a branch of a graph a tensor may come without its shape, which is compatible with any.
    fits = tf.is_tensor(value) and value.dtype == tf.float32 and value.shape.is_compatible_with([size])
    if not fits:
        here = "" if size is None else f", here [{size}]"
        raise MirageError(
            f"{what} {_described(value)}; expected {expected}, float32 [n]{here}: Mirage takes the mean over the batch."
        )


def _described(value: Any) -> str:
    if not tf.is_tensor(value):
        return f"{value!r:.60} of type {type(value).__name__}"
    return f"{value.dtype.name} {'?' if value.shape.rank is None else list(value.shape)}"
