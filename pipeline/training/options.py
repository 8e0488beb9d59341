"""How it is optimised. Needs only the standard library."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.parameters import Parameters, parameter
from pipeline.base.schedules import SCHEDULE_IMAGES, check_length


@dataclasses.dataclass(frozen=True)
class TrainingOptions(Parameters):
    """How it is optimised. Field names are flag names."""

    flip: bool = parameter(False, "mirror training images left to right at random.")
    balance: bool = parameter(
        False, "draw all classes equally often, the pictures of rarer ones again and again; off: as they are."
    )
    batch_size: int = parameter(
        64, "global batch size: images per update, over all replicas.", minimum=1, automatic=True
    )
    accumulate: int = parameter(
        1,
        "gradient accumulation: each update sums the gradients of this many batches, as if --batch_size "
        "were so many times as large (batch norm sees one batch at a time).",
        minimum=1,
    )
    steps: int = parameter(
        10000,
        "length of the training in steps; a larger number continues a finished run.",
        minimum=1,
        may_change=True,
    )
    learning_rate: float = parameter(2e-4, "Adam's learning rate, for both networks.", minimum=0, automatic=True)
    lr_warmup_images: int = parameter(
        0, "images over which the learning rate rises from 0 at the start; 0 starts with all of it.", minimum=0
    )
    lr_decay_images: int = parameter(
        0,
        "number of images after which the learning rate has fallen to --learning_rate_end, along half a cosine; 0 "
        "keeps it constant. It is counted from the start, whatever --steps says.",
        minimum=0,
        automatic=True,
    )
    learning_rate_end: float = parameter(0.0, "the learning rate after --lr_decay_images, where it stays.", minimum=0)
    beta_1: float = parameter(0.0, "Adam's beta_1.", minimum=0, below=1)
    beta_2: float = parameter(0.99, "Adam's beta_2.", minimum=0, below=1, automatic=True)
    beta_2_end: float = parameter(
        0.0,
        "what beta_2 has become after --schedule_images, such as 0.99 from 0.9: gradients change fast at first, and "
        "less later; 0 keeps it constant.",
        minimum=0,
        below=1,
    )
    epsilon: float = parameter(
        1e-7,
        "Adam's epsilon, added to the root of the second moment: the least that a gradient is divided by.",
        minimum=1e-30,
    )
    ema_images: int = parameter(
        20000,
        "half life, in real images as logs count them, of the exponential moving average of the generator's weights, "
        "which previews and exports use; 0 turns it off.",
        minimum=0,
        automatic=True,
    )
    ema_warmup: float = parameter(
        0.05,
        "the average's half life is at most this share of the images seen so far; 0, and --init_from, for no such "
        "limit.",
        minimum=0,
    )
    ema_scheduled: bool = parameter(
        False,
        "let the average's half life grow from 0 to --ema_images over --schedule_images, and no longer by "
        "--ema_warmup; not with --init_from, whose average goes on.",
    )
    schedule_images: int = SCHEDULE_IMAGES
    precision: str = parameter(
        "float32",
        "what the networks compute in: float32, mixed_bfloat16, or mixed_float16 with loss scaling; weights, "
        "losses and penalties are float32 always.",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
    )
    seed: int = parameter(0, "seed of initial weights, noise and data order.", minimum=0, below=2**31)

    init_from: str = parameter(
        "",
        "begin with the weights of another training, as far as names and shapes are equal: a run directory (of both "
        "networks), a bundle or a saved generator, such as theirs.keras (of the generator alone).",
        may_differ=True,
    )
    freeze_d: int = parameter(
        0,
        "with --init_from: hold so many of the discriminator's layers still, those next to the image (arXiv "
        "2002.10964); 4 is a good start for a few hundred pictures.",
        minimum=0,
    )

    def check(self, values: Mapping[str, Any]) -> None:
        """See `Parameters`."""
        check_length(values)
        if self.freeze_d and not self.init_from:
            raise MirageError(
                f"--freeze_d={self.freeze_d} would hold layers still that have learned nothing; add --init_from, or "
                "leave it out."
            )
        if self.freeze_d and values.get("discriminator") == "projected":
            raise MirageError(
                f"--freeze_d={self.freeze_d} does not go with --discriminator=projected, whose layers next to the "
                "image are never trained; leave it out."
            )
        if self.ema_scheduled and self.init_from:
            raise MirageError(
                "--ema_scheduled does not go with --init_from, whose average goes on instead of growing from nothing; "
                "leave one of them out."
            )
        if self.ema_scheduled and not self.ema_images:
            raise MirageError("--ema_scheduled needs an average; set --ema_images, or leave it out.")
