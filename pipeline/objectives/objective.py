"""What is optimised, as an object. Needs only the standard library.

Anything with a method `updates` can be an objective, see `Objective`; whoever inherits from that has defaults for the
rest. Losses are pure functions of the networks' outputs and return one value per sample: averaging over the *global*
batch, gradients and their reduction over replicas are the step's business.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.base.errors import MirageError
from pipeline.base.needs import Needs
from pipeline.base.parameters import Parameters, parameter

if TYPE_CHECKING:
    from pipeline.objectives.update import Update


@dataclasses.dataclass(frozen=True)
class Objective(Parameters):
    """Base of objectives.

    Attributes:
      discriminator: whether it trains one.
      joint: whether each update of the discriminator judges real and generated images by its logits, in one batch or
        one after the other, so that penalties and heads can be added.
      absolute: whether a logit says of an image by itself whether it is real: positive if it is. Then the figure
        `d_acc_real` is the share of real images of which it does.
      paired: whether `d_acc_real` is the share of pairs in which the real image has the larger logit.
    """

    discriminator: ClassVar[bool] = True
    absolute: ClassVar[bool] = False
    paired: ClassVar[bool] = False

    @property
    def joint(self) -> bool:
        """See the class."""
        return self.discriminator

    def updates(self) -> tuple[Update, ...]:
        """Returns the updates that make up one training step, in order.

        It may ask for any of these by name: `images` uint8 [N, H, W, C] and `labels` int32 [N], or of
        attributes float32 [N, A], of the whole data set, `num_labels`, the number of its classes or attributes,
        `attributes`, and `seed`, the run's.
        """
        raise NotImplementedError

    def needs(self, num_labels: int, latent_dim: int) -> Needs:
        """Says what networks it needs.

        Args:
          num_labels: number of classes that the data have; 0 without labels.
          latent_dim: components of a latent.
        """
        del num_labels, latent_dim
        return Needs()


@dataclasses.dataclass(frozen=True)
class Game(Objective):
    """An objective that a generator and a discriminator play against each other."""

    d_steps: int = parameter(
        1,
        "updates of the discriminator, each on new images, for each update of the generator; wgan_gp wants 5.",
        minimum=1,
    )


def refuse(values: Mapping[str, Any], names: tuple[str, ...], objective: str, why: str, remedy: str) -> None:
    """Refuses flags that ask for something.

    Args:
      values: all of the run's parameters.
      names: those that don't go with the objective.
      objective: what they don't go with, such as "objective=vae".
      why: a clause that follows, such as "which has no discriminator".
      remedy: what to do.

    Raises:
      MirageError: naming the first that isn't at its default.
    """
    for name in names:
        if values[name] not in (0, "", False, _DEFAULTS.get(name)):
            given = name if values[name] is True else f"{name}={values[name]}"
            raise MirageError(f"--{given} does not go with --{objective}, {why}; {remedy}.")


# What asks for nothing, where it is not 0.
_DEFAULTS = {"d_steps": 1, "conditioning": "concat", "discriminator": "auto"}
