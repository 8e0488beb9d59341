"""What is optimised. Needs only the standard library."""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.parameters import Parameters, parameter, split

AUGMENTATIONS = ("translation", "cutout", "color")
# Objectives whose logits say of each image by itself whether it is real.
_ABSOLUTE = ("hinge", "lsgan", "minimax", "nsgan")


@dataclasses.dataclass(frozen=True)
class ObjectiveOptions(Parameters):
    """What is optimised. Field names are flag names."""

    objective: str = parameter(
        "r3gan",
        "what is optimised: r3gan (relativistic pairing with R1 and R2 penalties, arXiv 2501.05441), nsgan "
        "(non-saturating cross-entropy, arXiv 1406.2661), minimax (the same paper's game), lsgan (least squares, "
        "arXiv 1611.04076), hinge (arXiv 1705.02894), wgan_gp (Wasserstein distance with gradient penalty, "
        "arXiv 1704.00028) or sgan (semi-supervised: the discriminator names classes, of which it is told few, "
        "arXiv 1606.03498); or, with an encoder instead of a discriminator, vae (variational autoencoder, "
        "arXiv 1312.6114) or autoencoder (squared error).",
        choices=("autoencoder", "hinge", "lsgan", "minimax", "nsgan", "r3gan", "sgan", "vae", "wgan_gp"),
    )
    d_steps: int = parameter(
        1,
        "updates of the discriminator, each on new images, for each update of the generator; wgan_gp wants 5.",
        minimum=1,
    )
    gamma: float = parameter(0.5, "weight of R3GAN's two gradient penalties, each gamma / 2.", minimum=0)
    r1: float = parameter(
        0.0,
        "gamma of an R1 penalty added to the discriminator's loss (arXiv 1801.04406): gamma / 2 times the squared "
        "gradient at real images.",
        minimum=0,
    )
    r2: float = parameter(0.0, "the same at generated images.", minimum=0)
    gp: float = parameter(
        0.0,
        "lambda of WGAN-GP's penalty between real and generated images, for any objective; 0 means none, and 10 for "
        "wgan_gp.",
        minimum=0,
    )
    class_weight: float = parameter(1.0, "weight of acgan's class losses.", minimum=0)
    categories: int = parameter(
        0,
        "of how many categories the generator shall find one for each latent, without labels (arXiv 1606.03657): the "
        "place of the largest of z's first so many components.",
        minimum=0,
    )
    codes: int = parameter(
        0, "how many of z's components after those shall each say one thing of the image.", minimum=0
    )
    info_weight: float = parameter(1.0, "weight of the loss for --categories and --codes.", minimum=0)
    labelled: int = parameter(100, "number of images whose labels sgan may use, as many of each class.", minimum=1)
    unlabelled_weight: float = parameter(
        1.0, "weight of sgan's loss without labels; 0 leaves a plain classifier, to compare with.", minimum=0
    )
    sigma: float = parameter(
        0.3,
        "standard deviation of a VAE's pixels around its decoder's output, where black is -1 and white 1; larger "
        "values blur, smaller ones let codes drift from the prior.",
        minimum=1e-3,
    )
    augment: str = parameter(
        "",
        "for small data sets: how all images that the discriminator sees are augmented (arXiv 2006.10738): some of "
        "translation, cutout, color, such as translation,cutout.",
    )
    augment_adaptive: bool = parameter(
        False, "augment with a probability that follows the discriminator's overfitting (arXiv 2006.06676)."
    )
    penalty_every: int = parameter(
        1,
        "compute the penalties that --r1, --r2 and --gp add in every such step only, and as many times as strong "
        "(arXiv 1912.04958).",
        minimum=1,
    )
    d_batches: str = parameter(
        "joint",
        "joint: the discriminator sees a batch of real and a batch of generated images in one "
        "update; split: half a batch of each in two updates (nsgan only).",
        choices=("joint", "split"),
    )

    @property
    def one_loss(self) -> bool:
        """Whether the networks share one loss, rather than play against each other."""
        return self.objective in ("autoencoder", "vae")

    def augmentations(self) -> tuple[str, ...]:
        """Splits `augment`; raises MirageError if it names something unknown."""
        return split("augment", self.augment, AUGMENTATIONS) if self.augment else ()

    def check(self, values: Mapping[str, Any]) -> None:
        """See `Parameters`."""
        every = types.SimpleNamespace(**values, one_loss=self.one_loss, augmentations=self.augmentations)
        _check_objective(every)
        _check_heads(every)
        _check_augmentation(every)


def _check_objective(values: Any) -> None:
    added = [name for name in ("r1", "r2", "gp") if getattr(values, name)]
    if values.d_batches == "split":
        if values.objective != "nsgan":
            raise MirageError(
                f"--d_batches=split does not go with --objective={values.objective}; use --d_batches=joint or "
                "--objective=nsgan."
            )
        if values.d_steps > 1 or added:
            name = "d_steps" if values.d_steps > 1 else added[0]
            raise MirageError(
                f"--{name}={getattr(values, name)} does not go with --d_batches=split, in which no update of D sees "
                "both real and generated images; use --d_batches=joint."
            )
        if values.batch_size % 2:
            raise MirageError(f"--batch_size={values.batch_size} can't be halved for --d_batches=split; make it even.")
    if values.one_loss and (added or values.d_steps > 1 or values.conditioning != "concat"):
        name = added[0] if added else "d_steps" if values.d_steps > 1 else "conditioning"
        raise MirageError(
            f"--{name}={getattr(values, name)} does not go with --objective={values.objective}, which has no "
            "discriminator; leave it out."
        )
    if values.objective == "sgan" and (values.conditional or added):
        name = "conditional" if values.conditional else f"{added[0]}={getattr(values, added[0])}"
        raise MirageError(f"--{name} does not go with --objective=sgan, whose discriminator names classes itself.")
    if values.conditioning != "concat" and not values.conditional:
        raise MirageError(f"--conditioning={values.conditioning} needs labels to condition on; add --conditional.")
    if values.objective == "r3gan" and (values.r1 or values.r2):
        raise MirageError("--r1 and --r2 do not go with --objective=r3gan, which has both: set --gamma.")


def _check_heads(values: Any) -> None:
    """What the discriminator outputs, and how it is built."""
    read = [name for name in ("categories", "codes") if getattr(values, name)]
    if read and (values.one_loss or values.objective == "sgan" or values.d_batches == "split"):
        with_what = "d_batches=split" if values.d_batches == "split" else f"objective={values.objective}"
        raise MirageError(
            f"--{read[0]}={getattr(values, read[0])} does not go with --{with_what}; use another --objective such as "
            "nsgan, with --d_batches=joint."
        )
    if values.categories == 1:
        raise MirageError("--categories=1 says nothing; expected 2 or more, or 0 for none.")
    if values.categories + values.codes > values.latent_dim:
        raise MirageError(
            f"--categories={values.categories} and --codes={values.codes} are together more than "
            f"--latent_dim={values.latent_dim}, whose components they are; raise that."
        )
    if values.spectral_norm and values.one_loss:
        raise MirageError(
            f"--spectral_norm does not go with --objective={values.objective}, which has no discriminator; use "
            "--nospectral_norm."
        )


def _check_augmentation(values: Any) -> None:
    kinds = values.augmentations()
    if kinds and values.one_loss:
        raise MirageError(
            f"--augment={values.augment} does not go with --objective={values.objective}, which has no discriminator; "
            "leave it out."
        )
    if values.augment_adaptive and not kinds:
        raise MirageError("--augment_adaptive needs something to adapt; set --augment=translation,cutout,color.")
    if values.augment_adaptive and values.objective not in _ABSOLUTE:
        raise MirageError(
            f"--augment_adaptive does not go with --objective={values.objective}, whose logits say nothing of a single "
            f"image; use one of {', '.join(_ABSOLUTE)}, or --noaugment_adaptive."
        )
