"""How it is optimised. Needs only the standard library."""

import dataclasses

from pipeline.base.parameters import Parameters, parameter


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
        "number of images after which the learning rate has fallen to 0, along half a cosine; 0 keeps it constant. "
        "It is counted from the start, whatever --steps says.",
        minimum=0,
        automatic=True,
    )
    beta_1: float = parameter(0.0, "Adam's beta_1.", minimum=0, below=1)
    beta_2: float = parameter(0.99, "Adam's beta_2.", minimum=0, below=1, automatic=True)
    ema_images: int = parameter(
        20000,
        "half life, in real images as logs count them, of the exponential moving average of the generator's weights, "
        "which previews and exports use; 0 turns it off.",
        minimum=0,
        automatic=True,
    )
    ema_warmup: float = parameter(
        0.05, "the average's half life is at most this share of the images seen so far; 0 for no such limit.", minimum=0
    )
    precision: str = parameter(
        "float32",
        "what the networks compute in: float32, mixed_bfloat16, or mixed_float16 with loss scaling; weights, "
        "losses and penalties are float32 always.",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
    )
    seed: int = parameter(0, "seed of initial weights, noise and data order.", minimum=0, below=2**31)
