"""Which networks are built. Needs only the standard library."""

import dataclasses
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.objects import resolve
from pipeline.base.parameters import Parameters, parameter, split
from pipeline.networks import ARCHITECTURES, NETWORKS_FILE

CONDITIONINGS = ("acgan", "concat", "projection")


@dataclasses.dataclass(frozen=True)
class NetworkOptions(Parameters):
    """Which networks are built. Field names are flag names."""

    model: str = parameter(
        "dcgan",
        "network pair: dcgan (convolutional, 16 to 128 pixels on each side), resnet (residual, the same sizes, arXiv "
        "2501.05441), r3gan (that paper's own networks, 16 to 512 pixels), stylegan2 (8 to 1024 pixels, arXiv "
        "1912.04958), mlp (fully connected, any size), or the import path of your own, such as "
        "my_package.my_networks:MyNetworks; sgan's discriminator is one of its own (fully connected, with noise) "
        "unless yours builds one.",
    )
    model_args: str = parameter(
        "",
        "parameters of the networks, such as width=64: dcgan and mlp have width, resnet width, blocks and doubling, "
        "r3gan width, wide_stages, group, blocks, embedding and low_precision_stages, stylegan2 channel_base, "
        "channel_max, w_dim, mapping_layers, group, residual and low_precision_stages.",
        automatic=True,
    )
    conditional: bool = parameter(False, "train class-conditional networks, which need a labelled data set.")
    conditioning: str = parameter(
        "concat",
        "how the discriminator of a conditional pair uses labels, one or several of: concat (joined to the image), "
        "projection (arXiv 1802.05637) and acgan (it names the class itself, arXiv 1610.09585), such as "
        "projection,acgan.",
        automatic=True,
    )
    latent_dim: int = parameter(100, "number of components of the latent z.", minimum=1, automatic=True)
    spectral_norm: bool = parameter(
        False, "divide each of the discriminator's kernels by its largest singular value (arXiv 1802.05957)."
    )

    def conditionings(self) -> tuple[str, ...]:
        """Splits `conditioning`; raises MirageError if it names something unknown or nothing."""
        return split("conditioning", self.conditioning, CONDITIONINGS)

    def architecture(self) -> Any:
        """Makes what `model` and `model_args` choose, see `pipeline.networks`; raises MirageError if there is none."""
        return resolve("model", self.model, ARCHITECTURES, self.model_args)

    def lost(self, run_dir: str) -> bool:
        """Whether a run's networks are somebody's whose module is gone, and the run has stored what they are."""
        package = self.model.partition(":")[0].partition(".")[0]
        # What a script, notebook or function defines lies in no module that another process could find.
        named = package.isidentifier() and package != "__main__" and "<locals>" not in self.model
        there = named and importlib.util.find_spec(package) is not None
        return self.model not in ARCHITECTURES and not there and (Path(run_dir) / NETWORKS_FILE).exists()

    def check(self, values: Mapping[str, Any]) -> None:
        """See `Parameters`."""
        architecture = values["model"]
        if isinstance(architecture, str):
            try:
                architecture = self.architecture()
            except MirageError:
                if self.lost(values["run_dir"]) and values["precision"] == "float32":
                    return  # the run goes on with what it says of its networks
                raise
        if not hasattr(architecture, "build_generator"):
            raise MirageError(
                f"--model={self.model} has no build_generator(latent_dim, image_shape, num_classes), and so is no pair "
                "of networks; write one, or choose another."
            )
        check = getattr(architecture, "check", None)
        if check is not None:
            check(values)
        if self.conditioning != "concat" and not self.conditional:
            raise MirageError(f"--conditioning={self.conditioning} needs labels to condition on; add --conditional.")
        self.conditionings()
