"""What changes over a run, as a function of the images seen: known for every step, so that nothing of it is saved."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pipeline.base.errors import MirageError
from pipeline.base.libraries import tf
from pipeline.base.parameters import parameter

# Of everything that follows a schedule; what does is named --..._end or --..._scheduled.
SCHEDULE_IMAGES: int = parameter(
    0,
    "length, in real images as logs count them, of the schedules that --gamma_end, --beta_2_end, --ema_scheduled and "
    "--augment_scheduled ask for: half a cosine, after which all stays as it is. It is counted from the start, "
    "whatever --steps says.",
    minimum=0,
)
_OF_THEIR_OWN = ("learning_rate_end",)  # which --lr_decay_images leads to


def check_length(values: Mapping[str, Any]) -> None:
    """Refuses schedules without a length, and a length without schedules; raises MirageError."""
    asked = [
        name
        for name, value in values.items()
        if value and name.endswith(("_end", "_scheduled")) and name not in _OF_THEIR_OWN
    ]
    if asked and not values["schedule_images"]:
        raise MirageError(
            f"--{asked[0]}={values[asked[0]]} needs to know over how many images; set --schedule_images, such as to "
            "those of the whole training, --steps times --batch_size."
        )
    if values["schedule_images"] and not asked:
        raise MirageError(
            f"--schedule_images={values['schedule_images']} is the length of schedules, and none is asked for; add "
            "--gamma_end, --beta_2_end, --ema_scheduled or --augment_scheduled, or leave it out."
        )


def half_cosine(images: tf.Tensor, start: float, end: float, length: float) -> tf.Tensor:
    """Moves from one value to another along half a cosine, and stays there.

    Args:
      images: float32 scalar, real images seen.
      start: value where none have been seen.
      end: value from `length` images on.
      length: how many images it takes, more than 0.

    Returns:
      float32 scalar.
    """
    # (1 - cos x) / 2, which loses its digits where x is small.
    moved = tf.square(tf.sin(math.pi / 2 * tf.minimum(1.0, images / length)))
    return start + (end - start) * moved
