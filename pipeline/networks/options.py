"""Which networks are built. Needs only the standard library."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.parameters import Parameters, parameter, split

CONDITIONINGS = ("acgan", "concat", "projection")


@dataclasses.dataclass(frozen=True)
class NetworkOptions(Parameters):
    """Which networks are built. Field names are flag names."""

    model: str = parameter(
        "dcgan",
        "network pair: dcgan (convolutional, 16 to 128 pixels), resnet (residual, the same sizes, arXiv 2501.05441) or "
        "mlp (fully connected, any size); sgan's discriminator is one of its own (fully connected, with noise).",
        choices=("dcgan", "mlp", "resnet"),
    )
    conditional: bool = parameter(False, "train class-conditional networks, which need a labelled data set.")
    conditioning: str = parameter(
        "concat",
        "how the discriminator of a conditional pair uses labels, one or several of: concat (joined to the image), "
        "projection (arXiv 1802.05637) and acgan (it names the class itself, arXiv 1610.09585), such as "
        "projection,acgan.",
    )
    latent_dim: int = parameter(100, "number of components of the latent z.", minimum=1)
    spectral_norm: bool = parameter(
        False, "divide each of the discriminator's kernels by its largest singular value (arXiv 1802.05957)."
    )

    def conditionings(self) -> tuple[str, ...]:
        """Splits `conditioning`; raises MirageError if it names something unknown or nothing."""
        return split("conditioning", self.conditioning, CONDITIONINGS)

    def check(self, values: Mapping[str, Any]) -> None:
        """See `Parameters`."""
        size = values["image_size"]
        if self.model != "mlp" and size and not 16 <= size <= 128:
            raise MirageError(
                f"--image_size={size} is outside 16 to 128, which --model={self.model} supports; choose a size "
                "within, or --model=mlp."
            )
        if self.spectral_norm and self.model == "resnet":
            raise MirageError(
                "--spectral_norm does not go with --model=resnet, which starts with kernels that are zero; use "
                "--nospectral_norm."
            )
        if self.conditioning != "concat" and not self.conditional:
            raise MirageError(f"--conditioning={self.conditioning} needs labels to condition on; add --conditional.")
        self.conditionings()
