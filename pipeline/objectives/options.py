"""What is optimised: the parameters of every objective and of what is added to it. Needs only the standard library."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipeline.base.parameters import Parameters, parameter, summed
from pipeline.objectives import OBJECTIVES, TERMS


@dataclasses.dataclass(frozen=True)
class _Choice(Parameters):
    objective: str = parameter(
        "r3gan",
        "what is optimised: r3gan (relativistic pairing with R1 and R2 penalties, arXiv 2501.05441), nsgan "
        "(non-saturating cross-entropy, arXiv 1406.2661), minimax (the same paper's game), lsgan (least squares, "
        "arXiv 1611.04076), hinge (arXiv 1705.02894), wgan_gp (Wasserstein distance with gradient penalty, "
        "arXiv 1704.00028) or sgan (semi-supervised: the discriminator names classes, of which it is told few, "
        "arXiv 1606.03498); or, with an encoder instead of a discriminator, vae (variational autoencoder, "
        "arXiv 1312.6114) or autoencoder (squared error); or your own, as package.module:Name.",
    )
    objective_args: str = parameter(
        "", "arguments of your own --objective, such as weight=0.5,margin=2; Mirage's have flags of their own."
    )

    def check(self, values: Mapping[str, Any]) -> None:
        """See `Parameters`."""
        if not isinstance(values["objective"], str) or ":" not in self.objective:  # which would be imported first
            from pipeline.objectives.composition import compose

            compose(values)


if TYPE_CHECKING:
    ObjectiveOptions = _Choice
else:
    ObjectiveOptions = dataclasses.make_dataclass(
        "ObjectiveOptions",
        summed(*OBJECTIVES.values(), *TERMS),
        bases=(_Choice,),
        frozen=True,
        namespace={"__module__": __name__},
    )
