"""Flags that don't go together. Needs only the standard library."""

from typing import TYPE_CHECKING

from pipeline.base.errors import MirageError

if TYPE_CHECKING:
    from pipeline.config import Config

# Objectives whose logits say of each image by itself whether it is real.
_ABSOLUTE = ("hinge", "lsgan", "minimax", "nsgan")


def check(config: "Config") -> None:
    """Refuses combinations of flags that can't work.

    Args:
      config: whose flags are each in their range.

    Raises:
      MirageError: naming the flags and what to do.
    """
    _check_data_and_devices(config)
    _check_objective(config)
    _check_heads(config)
    _check_augmentation(config)


def _check_data_and_devices(config: "Config") -> None:
    if config.skip_bad_images and not config.dataset.removeprefix("stacked:").startswith("folder:"):
        raise MirageError(
            f"--skip_bad_images does not go with --dataset={config.dataset}, only with folders; leave it out."
        )
    if config.keep_best and not config.eval_every:
        raise MirageError("--keep_best needs evaluations; set --eval_every, such as --eval_every=2000.")
    if config.strategy == "one_device" and config.virtual_devices > 1:
        raise MirageError(
            f"--virtual_devices={config.virtual_devices} does not go with --strategy=one_device, which uses one "
            "device; use --strategy=mirrored."
        )
    if config.model != "mlp" and config.image_size and not 16 <= config.image_size <= 128:
        raise MirageError(
            f"--image_size={config.image_size} is outside 16 to 128, which --model={config.model} supports; choose a "
            "size within, or --model=mlp."
        )


def _check_objective(config: "Config") -> None:
    added = [name for name in ("r1", "r2", "gp") if getattr(config, name)]
    if config.d_batches == "split":
        if config.objective != "nsgan":
            raise MirageError(
                f"--d_batches=split does not go with --objective={config.objective}; use --d_batches=joint or "
                "--objective=nsgan."
            )
        if config.d_steps > 1 or added:
            name = "d_steps" if config.d_steps > 1 else added[0]
            raise MirageError(
                f"--{name}={getattr(config, name)} does not go with --d_batches=split, in which no update of D sees "
                "both real and generated images; use --d_batches=joint."
            )
        if config.batch_size % 2:
            raise MirageError(f"--batch_size={config.batch_size} can't be halved for --d_batches=split; make it even.")
    if config.one_loss and (added or config.d_steps > 1 or config.conditioning != "concat"):
        name = added[0] if added else "d_steps" if config.d_steps > 1 else "conditioning"
        raise MirageError(
            f"--{name}={getattr(config, name)} does not go with --objective={config.objective}, which has no "
            "discriminator; leave it out."
        )
    if config.objective == "sgan" and (config.conditional or added):
        name = "conditional" if config.conditional else f"{added[0]}={getattr(config, added[0])}"
        raise MirageError(f"--{name} does not go with --objective=sgan, whose discriminator names classes itself.")
    if config.conditioning != "concat" and not config.conditional:
        raise MirageError(f"--conditioning={config.conditioning} needs labels to condition on; add --conditional.")
    if config.objective == "r3gan" and (config.r1 or config.r2):
        raise MirageError("--r1 and --r2 do not go with --objective=r3gan, which has both: set --gamma.")


def _check_heads(config: "Config") -> None:
    """What the discriminator outputs, and how it is built."""
    config.conditionings()
    read = [name for name in ("categories", "codes") if getattr(config, name)]
    if read and (config.one_loss or config.objective == "sgan" or config.d_batches == "split"):
        with_what = "d_batches=split" if config.d_batches == "split" else f"objective={config.objective}"
        raise MirageError(
            f"--{read[0]}={getattr(config, read[0])} does not go with --{with_what}; use another --objective such as "
            "nsgan, with --d_batches=joint."
        )
    if config.categories == 1:
        raise MirageError("--categories=1 says nothing; expected 2 or more, or 0 for none.")
    if config.categories + config.codes > config.latent_dim:
        raise MirageError(
            f"--categories={config.categories} and --codes={config.codes} are together more than "
            f"--latent_dim={config.latent_dim}, whose components they are; raise that."
        )
    if config.spectral_norm and (config.one_loss or config.model == "resnet"):
        what = f"objective={config.objective}" if config.one_loss else "model=resnet"
        why = "has no discriminator" if config.one_loss else "starts with kernels that are zero"
        raise MirageError(f"--spectral_norm does not go with --{what}, which {why}; use --nospectral_norm.")


def _check_augmentation(config: "Config") -> None:
    kinds = config.augmentations()
    if kinds and config.one_loss:
        raise MirageError(
            f"--augment={config.augment} does not go with --objective={config.objective}, which has no discriminator; "
            "leave it out."
        )
    if config.augment_adaptive and not kinds:
        raise MirageError("--augment_adaptive needs something to adapt; set --augment=translation,cutout,color.")
    if config.augment_adaptive and config.objective not in _ABSOLUTE:
        raise MirageError(
            f"--augment_adaptive does not go with --objective={config.objective}, whose logits say nothing of a single "
            f"image; use one of {', '.join(_ABSOLUTE)}, or --noaugment_adaptive."
        )
