"""The configuration of a training run: one frozen dataclass, one field per flag.

`Config` is the only place where a training flag gets its name, type, default, choices, range and
help text; `pipeline/__main__.py` generates the absl flags from it. This module imports nothing but
the standard library, so that flags can be checked before TensorFlow is loaded.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pipeline import contradictions
from pipeline.base.errors import MirageError
from pipeline.base.parameters import check_range
from pipeline.base.parameters import flag as _flag

AUGMENTATIONS = ("translation", "cutout", "color")
CONDITIONINGS = ("acgan", "concat", "projection")
# A shorter run would end sooner without the measurement.
JIT_WORTHWHILE_STEPS = 1000


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that decides a training run. Field names are flag names."""

    # Data
    dataset: str = _flag(
        "mnist5k",
        "what to learn: mnist5k (5,000 digits that come with the installation), any image data set of "
        "tensorflow-datasets by name (mnist, fashion_mnist, cifar10, ...), folder:/path with images, "
        "flat or in one sub-folder per class, or stacked:NAME, three grey images of a data set as red, green and blue.",
    )
    data_dir: str = _flag(
        "",
        "where prepared and decoded data sets are kept; empty means tensorflow-datasets' own default, and "
        "~/.cache/mirage for what is decoded or compiled.",
        may_change=True,
    )
    manual_dir: str = _flag(
        "",
        "folder with a data set's original files, for machines without network.",
        may_change=True,
    )
    split: str = _flag("train", "which examples to use, in tensorflow-datasets' notation: train, test, train[:50%].")
    image_size: int = _flag(
        0,
        "side in pixels to which images are resized (antialiased) and centre-cropped; 0 keeps the "
        "data set's own size, which must then be the same for all images.",
        minimum=0,
        below=2**14,
    )
    skip_bad_images: bool = _flag(
        False,
        "leave out the images of a folder that can't be read, instead of refusing the folder; all are decoded at each "
        "start to find them.",
    )
    flip: bool = _flag(False, "mirror training images left to right at random.")
    # Networks
    model: str = _flag(
        "dcgan",
        "network pair: dcgan (convolutional, 16 to 128 pixels), resnet (residual, the same sizes, arXiv 2501.05441) or "
        "mlp (fully connected, any size); sgan's discriminator is one of its own (fully connected, with noise).",
        choices=("dcgan", "mlp", "resnet"),
    )
    conditional: bool = _flag(False, "train class-conditional networks, which need a labelled data set.")
    conditioning: str = _flag(
        "concat",
        "how the discriminator of a conditional pair uses labels, one or several of: concat (joined to the image), "
        "projection (arXiv 1802.05637) and acgan (it names the class itself, arXiv 1610.09585), such as "
        "projection,acgan.",
    )
    latent_dim: int = _flag(100, "number of components of the latent z.", minimum=1)
    spectral_norm: bool = _flag(
        False, "divide each of the discriminator's kernels by its largest singular value (arXiv 1802.05957)."
    )
    # Objective
    objective: str = _flag(
        "r3gan",
        "what is optimised: r3gan (relativistic pairing with R1 and R2 penalties, arXiv 2501.05441), nsgan "
        "(non-saturating cross-entropy, arXiv 1406.2661), minimax (the same paper's game), lsgan (least squares, "
        "arXiv 1611.04076), hinge (arXiv 1705.02894), wgan_gp (Wasserstein distance with gradient penalty, "
        "arXiv 1704.00028) or sgan (semi-supervised: the discriminator names classes, of which it is told few, "
        "arXiv 1606.03498); or, with an encoder instead of a discriminator, vae (variational autoencoder, "
        "arXiv 1312.6114) or autoencoder (squared error).",
        choices=("autoencoder", "hinge", "lsgan", "minimax", "nsgan", "r3gan", "sgan", "vae", "wgan_gp"),
    )
    d_steps: int = _flag(
        1,
        "updates of the discriminator, each on new images, for each update of the generator; wgan_gp wants 5.",
        minimum=1,
    )
    gamma: float = _flag(0.5, "weight of R3GAN's two gradient penalties, each gamma / 2.", minimum=0)
    r1: float = _flag(
        0.0,
        "gamma of an R1 penalty added to the discriminator's loss (arXiv 1801.04406): gamma / 2 times the squared "
        "gradient at real images.",
        minimum=0,
    )
    r2: float = _flag(0.0, "the same at generated images.", minimum=0)
    gp: float = _flag(
        0.0,
        "lambda of WGAN-GP's penalty between real and generated images, for any objective; 0 means none, and 10 for "
        "wgan_gp.",
        minimum=0,
    )
    class_weight: float = _flag(1.0, "weight of acgan's class losses.", minimum=0)
    categories: int = _flag(
        0,
        "of how many categories the generator shall find one for each latent, without labels (arXiv 1606.03657): the "
        "place of the largest of z's first so many components.",
        minimum=0,
    )
    codes: int = _flag(0, "how many of z's components after those shall each say one thing of the image.", minimum=0)
    info_weight: float = _flag(1.0, "weight of the loss for --categories and --codes.", minimum=0)
    labelled: int = _flag(100, "number of images whose labels sgan may use, as many of each class.", minimum=1)
    unlabelled_weight: float = _flag(
        1.0, "weight of sgan's loss without labels; 0 leaves a plain classifier, to compare with.", minimum=0
    )
    sigma: float = _flag(
        0.3,
        "standard deviation of a VAE's pixels around its decoder's output, where black is -1 and white 1; larger "
        "values blur, smaller ones let codes drift from the prior.",
        minimum=1e-3,
    )
    augment: str = _flag(
        "",
        "for small data sets: how all images that the discriminator sees are augmented (arXiv 2006.10738): some of "
        "translation, cutout, color, such as translation,cutout.",
    )
    augment_adaptive: bool = _flag(
        False, "augment with a probability that follows the discriminator's overfitting (arXiv 2006.06676)."
    )
    penalty_every: int = _flag(
        1,
        "compute the penalties that --r1, --r2 and --gp add in every such step only, and as many times as strong "
        "(arXiv 1912.04958).",
        minimum=1,
    )
    d_batches: str = _flag(
        "joint",
        "joint: the discriminator sees a batch of real and a batch of generated images in one "
        "update; split: half a batch of each in two updates (nsgan only).",
        choices=("joint", "split"),
    )
    # Optimisation
    batch_size: int = _flag(64, "global batch size: images per update, over all replicas.", minimum=1)
    accumulate: int = _flag(
        1,
        "gradient accumulation: each update sums the gradients of this many batches, as if --batch_size "
        "were so many times as large (batch norm sees one batch at a time).",
        minimum=1,
    )
    steps: int = _flag(
        10000,
        "length of the training in steps; a larger number continues a finished run.",
        minimum=1,
        may_change=True,
    )
    learning_rate: float = _flag(2e-4, "Adam's learning rate, for both networks.", minimum=0)
    lr_warmup_images: int = _flag(
        0, "images over which the learning rate rises from 0 at the start; 0 starts with all of it.", minimum=0
    )
    lr_decay_images: int = _flag(
        0,
        "number of images after which the learning rate has fallen to 0, along half a cosine; 0 keeps it constant. "
        "It is counted from the start, whatever --steps says.",
        minimum=0,
    )
    beta_1: float = _flag(0.0, "Adam's beta_1.", minimum=0, below=1)
    beta_2: float = _flag(0.99, "Adam's beta_2.", minimum=0, below=1)
    ema_images: int = _flag(
        20000,
        "half life, in real images as logs count them, of the exponential moving average of the generator's weights, "
        "which previews and exports use; 0 turns it off.",
        minimum=0,
    )
    ema_warmup: float = _flag(
        0.05, "the average's half life is at most this share of the images seen so far; 0 for no such limit.", minimum=0
    )
    precision: str = _flag(
        "float32",
        "what the networks compute in: float32, mixed_bfloat16, or mixed_float16 with loss scaling; weights, "
        "losses and penalties are float32 always.",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
    )
    tf32: bool = _flag(
        True,
        "on GPUs, multiply the float32 matrices and convolutions of training in TF32, which has 10 bits of precision.",
    )
    deterministic: bool = _flag(
        True,
        "on GPUs, use kernels that give the same bits each time only, so that a continued run ends as if it had never "
        "stopped; CPUs do so anyway.",
        may_change=True,
    )
    seed: int = _flag(0, "seed of initial weights, noise and data order.", minimum=0, below=2**31)
    # Devices
    strategy: str = _flag(
        "auto",
        "one_device: the first device only; mirrored: one replica on each GPU of this machine (or each virtual "
        "device); multi_worker: the same on each worker of a cluster, found in TF_CONFIG or Slurm's variables; auto: "
        "whichever of them fits.",
        choices=("auto", "one_device", "mirrored", "multi_worker"),
        may_change=True,
    )
    virtual_devices: int = _flag(
        0,
        "train on this many logical devices, into which GPUs (or the CPU, where there is none) are split evenly, to "
        "try several replicas on one; 0 uses the real devices.",
        minimum=0,
        may_change=True,
    )
    jit: str = _flag(
        "auto",
        f"compile the step with XLA: on, off, or auto: in a run of at least {JIT_WORTHWHILE_STEPS} steps, what is "
        "faster, which GPUs measure; CPUs compile mlp only.",
        choices=("auto", "on", "off"),
        may_change=True,
    )
    steps_per_call: int = _flag(
        20,
        "training steps that run inside TensorFlow for each call from Python.",
        minimum=1,
        may_change=True,
    )
    device_data_mb: int = _flag(
        2048,
        "a data set of at most this many MiB (as uint8) is kept on each device; a larger one is decoded to a file once "
        "and streamed from there.",
        minimum=0,
        may_change=True,
    )
    timeout_s: int = _flag(
        600,
        "in a cluster: seconds without progress after which a process gives up waiting for the others.",
        minimum=1,
        may_change=True,
    )
    # Output
    run_dir: str = _flag(
        "runs/default",
        "folder that the run writes; a run that is there already is continued.",
        may_change=True,
    )
    log_every: int = _flag(100, "steps between two log lines.", minimum=1, may_change=True)
    preview_every: int = _flag(500, "steps between two preview pictures.", minimum=1, may_change=True)
    checkpoint_every: int = _flag(1000, "steps between two checkpoints.", minimum=1, may_change=True)
    keep_checkpoints: int = _flag(3, "number of newest checkpoints to keep.", minimum=1, may_change=True)
    eval_every: int = _flag(
        0,
        "steps between two evaluations of the generator, as python -m pipeline.evaluate makes them; 0 makes none.",
        minimum=0,
        may_change=True,
    )
    eval_samples: int = _flag(5000, "images to generate for an evaluation.", minimum=10, may_change=True)
    extractor: str = _flag(
        "auto",
        "what describes images in evaluations: classifier, inception, or auto, see Evaluate.",
        choices=("auto", "classifier", "inception"),
        may_change=True,
    )
    inception_weights: str = _flag(
        "", "file with InceptionV3's weights (no top), for evaluations; empty fetches them.", may_change=True
    )
    keep_best: bool = _flag(
        False,
        "keep the checkpoint with the smallest Frechet distance so far, for python -m export --checkpoint=best.",
        may_change=True,
    )
    profile_steps: str = _flag(
        "",
        "A:B records steps A to B for TensorBoard's profiler; empty records none.",
        may_change=True,
    )

    @property
    def one_loss(self) -> bool:
        """Whether the networks share one loss, rather than play against each other."""
        return self.objective in ("autoencoder", "vae")

    def augmentations(self) -> tuple[str, ...]:
        """Splits `augment`; raises MirageError if it names something unknown."""
        return self._split("augment", AUGMENTATIONS) if self.augment else ()

    def conditionings(self) -> tuple[str, ...]:
        """Splits `conditioning`; raises MirageError if it names something unknown or nothing."""
        return self._split("conditioning", CONDITIONINGS)

    def _split(self, name: str, known: tuple[str, ...]) -> tuple[str, ...]:
        given = getattr(self, name)
        if not {*given.split(",")} <= {*known}:
            raise MirageError(f"--{name}={given} is not known; choose from {', '.join(known)}, joined by commas.")
        return tuple(given.split(","))

    def validate(self) -> None:
        """Refuses what can't work.

        Raises:
          MirageError: naming the flag, the value, what was expected.
        """
        self.check_ranges()
        if self.dataset.removeprefix("stacked:") in ("", "folder:"):
            raise MirageError(
                f"--dataset={self.dataset} names no data; give mnist5k, a tensorflow-datasets name or folder:/path."
            )
        if not self.run_dir:
            raise MirageError("--run_dir= is empty; name the folder that the run may write.")
        contradictions.check(self)
        self.profile_range()

    def check_ranges(self) -> None:
        """Refuses values that no flag may have; raises MirageError."""
        for field in dataclasses.fields(self):
            check_range(field, getattr(self, field.name))

    def profile_range(self) -> tuple[int, int] | None:
        """Returns (A, B) of `--profile_steps=A:B`, or None.

        Raises:
          MirageError: if it is no such range.
        """
        if not self.profile_steps:
            return None
        first, colon, last = self.profile_steps.partition(":")
        if not (colon and first.isdecimal() and last.isdecimal() and int(first) < int(last)):
            raise MirageError(
                f"--profile_steps={self.profile_steps} is no range; expected two step numbers, as in 100:120."
            )
        return int(first), int(last)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Config":
        """Inverse of `to_dict`.

        Raises:
          MirageError: for an unknown field or a value of the wrong type, as after a hand edit.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for name, value in values.items():
            if name not in fields:
                raise MirageError(f"the configuration has an unknown field {name!r}; this Mirage knows no such flag.")
            expected = type(fields[name].default)
            if type(value) is not expected and not (expected is float and type(value) is int):
                raise MirageError(
                    f"the configuration's field {name!r} is {value!r:.200}; expected {expected.__name__}."
                )
        return cls(**values)

    def changes_from(self, earlier: "Config") -> list[tuple[str, Any, Any]]:
        """Lists the flags that keep this run from continuing `earlier`.

        Returns:
          (flag name, value of the earlier run, value now) of every flag that differs and matters.
        """
        return [
            (field.name, getattr(earlier, field.name), getattr(self, field.name))
            for field in dataclasses.fields(self)
            if not field.metadata["may_change"] and getattr(earlier, field.name) != getattr(self, field.name)
        ]
