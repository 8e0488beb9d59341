"""The configuration of a training run: one frozen dataclass, one field per flag.

`Config` is the only place where a training flag gets its name, type, default, choices, range and
help text; `pipeline/__main__.py` generates the absl flags from it. This module imports nothing but
the standard library, so that flags can be checked before TensorFlow is loaded.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

# A shorter run would end sooner without the measurement.
JIT_WORTHWHILE_STEPS = 1000


# Exit status of the commands. Batch systems can tell a run that saved and stopped because it was told to,
# and one that only needs to be started again, from a mistake; Kubeflow retries at 128 and above.
MISTAKE = 1
INTERRUPTED = 130
PREEMPTED = 138
WORKER_LOST = 140


class MirageError(Exception):
    """A mistake that the user can mend.

    Its message is one sentence that says what was passed, what was expected and what to do. Command
    lines print it without a traceback and exit with status 1.
    """


class WorkerLostError(MirageError):
    """Another worker of the cluster is gone or stuck; starting all of them again goes on from the last checkpoint."""


def _flag(
    default: Any,
    help: str,  # noqa: A002 - the standard term for a flag's text
    *,
    choices: tuple[str, ...] | None = None,
    minimum: float | None = None,
    below: float | None = None,
    may_change: bool = False,
) -> Any:
    """Declares a `Config` field together with everything its absl flag needs.

    Args:
      default: default value; its type is the flag's type.
      help: one sentence for `--help`.
      choices: the permitted values of a string flag.
      minimum: the least permitted number.
      below: numbers must be smaller than this.
      may_change: whether a resumed run may have another value than the run it continues.
    """
    metadata = {
        "help": help,
        "choices": choices,
        "minimum": minimum,
        "below": below,
        "may_change": may_change,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that decides a training run. Field names are flag names."""

    # Data
    dataset: str = _flag(
        "mnist5k",
        "what to learn: mnist5k (5,000 digits that come with the installation), any image data set of "
        "tensorflow-datasets by name (mnist, fashion_mnist, cifar10, ...), or folder:/path with "
        "images, flat or in one sub-folder per class.",
    )
    data_dir: str = _flag(
        "",
        "where prepared and decoded data sets are kept; empty means tensorflow-datasets' own default, and "
        "~/.cache/mirage for what is decoded.",
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
    )
    flip: bool = _flag(False, "mirror training images left to right at random.")
    # Networks
    model: str = _flag(
        "dcgan",
        "network pair: dcgan (convolutional, 16 to 128 pixels) or mlp (fully connected, any size).",
        choices=("dcgan", "mlp"),
    )
    conditional: bool = _flag(False, "train class-conditional networks, which need a labelled data set.")
    latent_dim: int = _flag(100, "number of components of the latent z.", minimum=1)
    # Objective
    objective: str = _flag(
        "r3gan",
        "what is optimised: r3gan (relativistic pairing with R1 and R2 penalties, arXiv 2501.05441), nsgan "
        "(non-saturating cross-entropy, arXiv 1406.2661), minimax (the same paper's game), lsgan (least squares, "
        "arXiv 1611.04076), hinge (arXiv 1705.02894) or wgan_gp (Wasserstein distance with gradient penalty, "
        "arXiv 1704.00028).",
        choices=("hinge", "lsgan", "minimax", "nsgan", "r3gan", "wgan_gp"),
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
    beta_1: float = _flag(0.0, "Adam's beta_1.", minimum=0, below=1)
    beta_2: float = _flag(0.99, "Adam's beta_2.", minimum=0, below=1)
    ema_images: int = _flag(
        20000,
        "half life, in images, of the exponential moving average of the generator's weights, which "
        "previews and exports use; 0 turns it off.",
        minimum=0,
    )
    precision: str = _flag(
        "float32",
        "what the networks compute in: float32, mixed_bfloat16, or mixed_float16 with loss scaling; weights, "
        "losses and penalties are float32 always.",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
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
        "split the CPU into this many logical devices, to try several replicas without GPUs; 0 uses the real devices.",
        minimum=0,
        may_change=True,
    )
    jit: str = _flag(
        "auto",
        "compile the step with XLA: on, off, or auto, which times both at the start of a run of at least "
        f"{JIT_WORTHWHILE_STEPS} steps and keeps to the faster.",
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

    def validate(self) -> None:
        """Refuses what can't work.

        Raises:
          MirageError: naming the flag, the value, what was expected.
        """
        for field in dataclasses.fields(self):
            _check_range(field, getattr(self, field.name))
        if self.dataset == "folder:" or not self.dataset:
            raise MirageError(
                f"--dataset={self.dataset} names no data; give mnist5k, a tensorflow-datasets name or folder:/path."
            )
        if not self.run_dir:
            raise MirageError("--run_dir= is empty; name the folder that the run may write.")
        self._check_objective()
        if self.keep_best and not self.eval_every:
            raise MirageError("--keep_best needs evaluations; set --eval_every, such as --eval_every=2000.")
        if self.strategy == "one_device" and self.virtual_devices > 1:
            raise MirageError(
                f"--virtual_devices={self.virtual_devices} does not go with --strategy=one_device, which uses one "
                "device; use --strategy=mirrored."
            )
        if self.model == "dcgan" and self.image_size and not 16 <= self.image_size <= 128:
            raise MirageError(
                f"--image_size={self.image_size} is outside 16 to 128, which --model=dcgan supports; choose a size "
                "within, or --model=mlp."
            )

        self.profile_range()

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

    def _check_objective(self) -> None:
        added = [name for name in ("r1", "r2", "gp") if getattr(self, name)]
        if self.d_batches == "split":
            if self.objective != "nsgan":
                raise MirageError(
                    f"--d_batches=split does not go with --objective={self.objective}; use --d_batches=joint or "
                    "--objective=nsgan."
                )
            if self.d_steps > 1 or added:
                name = "d_steps" if self.d_steps > 1 else added[0]
                raise MirageError(
                    f"--{name}={getattr(self, name)} does not go with --d_batches=split, in which no update of D sees "
                    "both real and generated images; use --d_batches=joint."
                )
            if self.batch_size % 2:
                raise MirageError(
                    f"--batch_size={self.batch_size} can't be halved for --d_batches=split; make it even."
                )
        if self.objective == "r3gan" and (self.r1 or self.r2):
            raise MirageError("--r1 and --r2 do not go with --objective=r3gan, which has both: set --gamma.")

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
            if expected is float and type(value) is int:
                continue
            if type(value) is not expected:
                raise MirageError(f"the configuration's field {name!r} is {value!r}; expected {expected.__name__}.")
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


def _check_range(field: dataclasses.Field, value: Any) -> None:
    choices, minimum, below = (field.metadata[key] for key in ("choices", "minimum", "below"))
    if choices and value not in choices:
        raise MirageError(f"--{field.name}={value} is not known; choose from {', '.join(choices)}.")
    # Written so that NaN, which compares false with everything, is refused too.
    if minimum is not None and not value >= minimum:
        raise MirageError(f"--{field.name}={value} is too small; expected at least {minimum}.")
    if below is not None and not value < below:
        raise MirageError(f"--{field.name}={value} is too large; expected less than {below}.")


@dataclasses.dataclass(frozen=True)
class DataSpec:
    """What networks, checkpoints and bundles need to know of a data set.

    Attributes:
      name: the data set's name, as in `--dataset`.
      version: its version, or empty where there is none.
      image_shape: (height, width, channels), channels 1 or 3.
      class_names: one name per label, in label order; empty if the data has no labels.
      num_examples: number of training images.
    """

    name: str
    version: str
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    num_examples: int

    @property
    def num_bytes(self) -> int:
        """Size of all images as uint8."""
        return self.num_examples * math.prod(self.image_shape)

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON types."""
        return {
            **dataclasses.asdict(self),
            "image_shape": list(self.image_shape),
            "class_names": list(self.class_names),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "DataSpec":
        """Inverse of `to_dict`."""
        return cls(
            **{**values, "image_shape": tuple(values["image_shape"]), "class_names": tuple(values["class_names"])}
        )
