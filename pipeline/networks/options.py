"""Which networks are built. Needs only the standard library."""

import contextlib
import dataclasses
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.objects import resolve
from pipeline.base.parameters import Parameters, parameter, split
from pipeline.networks import ARCHITECTURES, NETWORKS_FILE
from pipeline.networks.paired import Paired

CONDITIONINGS = ("acgan", "concat", "projection")
SAME = "auto"
"""What `discriminator` is where it is that of `model`."""


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
    discriminator: str = parameter(
        SAME,
        "whose discriminator trains against the generator of --model: that of another network pair, by its name or "
        "import path, or projected (arXiv 2111.01007), which sees pictures as EfficientNet-Lite0 does and learns fast "
        "from few; auto: --model's own.",
    )
    discriminator_args: str = parameter(
        "", "parameters of --discriminator, as --model_args are of --model: projected has width and side."
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

    @property
    def pair(self) -> str:
        """What networks train against each other, such as `dcgan against projected`."""
        return self.model if self.discriminator == SAME else f"{self.model} against {self.discriminator}"

    def architecture(self, objects: Mapping[str, Any] | None = None) -> Any:
        """Makes what `model`, `discriminator` and their arguments choose, see `pipeline.networks`.

        Args:
          objects: what was passed in place of a name, by flag.

        Raises:
          MirageError: if there is no such thing.
        """
        given = objects or {}
        model = given["model"] if "model" in given else resolve("model", self.model, ARCHITECTURES, self.model_args)
        other = given.get("discriminator", self.discriminator)
        if other == SAME:
            return model
        if isinstance(other, str):
            other = resolve("discriminator", other, ARCHITECTURES, self.discriminator_args)
        return Paired(model, other)

    def lost(self, run_dir: str) -> bool:
        """Whether a run's networks are somebody's whose module is gone, and the run has stored what they are."""
        gone = any(map(_is_gone, (self.model, *([] if self.discriminator == SAME else [self.discriminator]))))
        return gone and (Path(run_dir) / NETWORKS_FILE).exists()

    def check(self, values: Mapping[str, Any]) -> None:
        """See `Parameters`."""
        if self.discriminator == SAME and self.discriminator_args:
            raise MirageError(
                f"--discriminator_args={self.discriminator_args} needs --discriminator; what --model builds has "
                "--model_args."
            )
        objects = {name: values[name] for name in ("model", "discriminator") if not isinstance(values[name], str)}
        try:
            architecture = self.architecture(objects)
        except MirageError:
            if self.lost(values["run_dir"]) and values["precision"] == "float32":
                return  # the run goes on with what it says of its networks
            raise
        if isinstance(architecture, Paired):
            _check_discriminator(architecture.discriminator, self.discriminator, values)
            # Of which its own discriminator is none.
            values = {**values, "spectral_norm": False}
            architecture = architecture.model
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


def _is_gone(name: str) -> bool:
    """Whether an architecture is somebody's whose module can't be found."""
    package = name.partition(":")[0].partition(".")[0]
    # What a script, notebook or function defines lies in no module that another process could find.
    named = package.isidentifier() and package != "__main__" and "<locals>" not in name
    return name not in ARCHITECTURES and not (named and importlib.util.find_spec(package) is not None)


def _check_discriminator(architecture: Any, name: str, values: Mapping[str, Any]) -> None:
    """Refuses what builds no discriminator, or flags that don't go with it."""
    if not any(hasattr(architecture, f"build_{what}") for what in ("discriminator", "features")):
        raise MirageError(
            f"--discriminator={name} has neither build_discriminator(image_shape, num_classes) nor build_features, and "
            "so builds no discriminator; choose another."
        )
    check = getattr(architecture, "check", None)
    if check is not None:
        with of_discriminator():
            check({**values, "model": values["discriminator"], "model_args": values["discriminator_args"]})


@contextlib.contextmanager
def of_discriminator() -> Iterator[None]:
    """Meanwhile, what an architecture says of `--model`, it says of `--discriminator`."""
    try:
        yield
    except MirageError as error:
        raise MirageError(str(error).replace("--model", "--discriminator")) from error
