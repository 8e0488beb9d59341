"""Differentiable augmentation of all that D sees (Zhao et al. 2020, arXiv 2006.10738), for small data sets.

Real and generated images are shifted, partly covered and recoloured at random before D judges them, and G's
gradient passes through, so that D can't learn the few real images by heart and G doesn't learn to make
shifted ones. Each of them is applied with probability p: always, or with a p that follows D's overfitting
(`adapted`; Karras et al. 2020, arXiv 2006.06676, section 3).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from pipeline.base.errors import MirageError
from pipeline.base.libraries import tf
from pipeline.base.parameters import Parameters, parameter, split
from pipeline.objectives.objective import Objective, refuse
from pipeline.objectives.update import Batch, Loss, Losses, Networks, Update

AUGMENTATIONS = ("translation", "cutout", "color")
# Random numbers that each image needs: one for each kind to decide, and at most three for each to say how.
NUMBERS = 4 * len(AUGMENTATIONS)
_P = "augment_p"  # its name in the training's state
_SHIFT = 1 / 8  # of the image's side
_CUTOUT = 1 / 2
# The overfitting heuristic r = E[sign D(x)] that p follows, and over how many images p may rise from 0 to 1.
_TARGET = 0.6
_IMAGES_TO_ONE = 500_000


@dataclasses.dataclass(frozen=True)
class Augmentation(Parameters):
    """How what D sees is augmented; see the module."""

    augment: str = parameter(
        "",
        "for small data sets: how all images that the discriminator sees are augmented (arXiv 2006.10738): some of "
        "translation, cutout, color, such as translation,cutout.",
        automatic=True,
    )
    augment_adaptive: bool = parameter(
        False, "augment with a probability that follows the discriminator's overfitting (arXiv 2006.06676)."
    )

    @classmethod
    def asked(cls, values: Mapping[str, Any], objective: Objective) -> Self:
        """Makes the term of a run."""
        return cls.of(values)

    def check_with(self, values: Mapping[str, Any], objective: Objective) -> None:
        """See `Term`."""
        kinds = self._kinds
        name = f"objective={values['objective']}"
        if kinds and not getattr(objective, "discriminator", True):
            refuse(self.to_dict(), ("augment",), name, "which has no discriminator", "leave it out")
        if self.augment_adaptive and not kinds:
            raise MirageError("--augment_adaptive needs something to adapt; set --augment=translation,cutout,color.")
        if self.augment_adaptive and not getattr(objective, "absolute", False):
            raise MirageError(
                f"--augment_adaptive does not go with --{name}, whose logits say nothing of a single image; use an "
                "objective such as nsgan, hinge or lsgan, or --noaugment_adaptive."
            )

    @property
    def _kinds(self) -> tuple[str, ...]:
        return split("augment", self.augment, AUGMENTATIONS) if self.augment else ()

    def add_to(self, updates: tuple[Update, ...]) -> tuple[Update, ...]:
        """Augments what D sees in each update of an objective with a discriminator."""
        kinds = self._kinds
        if not kinds:
            return updates
        return tuple(
            dataclasses.replace(update, loss=_augmented(update.loss, kinds), needs_augmentation=NUMBERS)
            for update in updates
        )

    def state(self) -> dict[str, float]:
        """See `Term`: the probability of each kind."""
        return {_P: 0.0 if self.augment_adaptive else 1.0}

    def next_state(
        self, state: Mapping[str, tf.Tensor], means: Mapping[str, tf.Tensor], images: int
    ) -> dict[str, tf.Tensor]:
        """See `Term`."""
        return {_P: adapted(state[_P], means["d_acc_real"], images)} if self.augment_adaptive else {}


def _augmented(loss: Loss, kinds: Sequence[str]) -> Loss:
    def augmented(networks: Networks, batch: Batch) -> Losses:
        def discriminator(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
            # Real and generated images together are twice a batch.
            numbers = tf.concat(tf.unstack(batch.augmentation, axis=1), 0)[: images.shape[0]]
            return networks["discriminator"](augment(images, numbers, batch.state[_P], kinds), labels)

        return loss({**networks, "discriminator": discriminator}, batch)

    return augmented


def augment(images: tf.Tensor, numbers: tf.Tensor, p: tf.Tensor, kinds: Sequence[str]) -> tf.Tensor:
    """Augments each image in its own way.

    Args:
      images: float32 [n, H, W, C] in [-1, 1].
      numbers: float32 [n, NUMBERS], uniform in [0, 1).
      p: float32 scalar, probability of each kind.
      kinds: some of `AUGMENTATIONS`.

    Returns:
      float32 [n, H, W, C]; what is shifted in or covered is 0.
    """
    functions = {"translation": _translate, "cutout": _cut_out, "color": _recolour}
    for index, kind in enumerate(AUGMENTATIONS):
        if kind in kinds:
            decide, how = numbers[:, 4 * index], numbers[:, 4 * index + 1 : 4 * index + 4]
            images = tf.where((decide < p)[:, None, None, None], functions[kind](images, how), images)
    return images


def _translate(images: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
    """Shifts by up to an eighth of the side, in whole pixels."""
    for axis in (1, 2):
        size = images.shape[axis]
        most = round(_SHIFT * size)
        images = _shifted(images, tf.cast(tf.floor(u[:, axis - 1] * (2 * most + 1)), tf.int32), axis, most)
    return images


def _shifted(images: tf.Tensor, shift: tf.Tensor, axis: int, most: int) -> tf.Tensor:
    """Moves each image along an axis, by `most` - `shift` pixels; `shift` is in [0, 2 `most`].

    Its gradient moves back. TensorFlow's own would add up into places, which GPUs do slowly if the same bits shall come
    out each time.
    """

    @tf.custom_gradient
    def shifted(images: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        padding = [[0, 0] if other != axis else [most, most] for other in range(4)]
        places = shift[:, None] + tf.range(images.shape[axis])
        moved = tf.gather(tf.pad(images, padding), places, axis=axis, batch_dims=1)
        return moved, lambda gradient: _shifted(gradient, 2 * most - shift, axis, most)

    return shifted(images)


def _cut_out(images: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
    """Covers a rectangle of half the height and half the width, anywhere, even partly outside."""
    inside = []
    for axis in (1, 2):
        size = images.shape[axis]
        centre = tf.floor(u[:, axis - 1] * (size + 1))[:, None]
        place = tf.range(size, dtype=tf.float32)
        half = _CUTOUT * size / 2
        inside.append((place >= centre - half) & (place < centre + half))
    covered = inside[0][:, :, None] & inside[1][:, None, :]
    return tf.where(covered[..., None], 0.0, images)


def _recolour(images: tf.Tensor, u: tf.Tensor) -> tf.Tensor:
    """Changes brightness, then saturation, then contrast; not how transparent images are."""
    if images.shape[-1] == 4:
        return tf.concat([_recolour(images[..., :3], u), images[..., 3:]], axis=-1)
    u = u[:, :, None, None, None]
    images = images + (u[:, 0] - 0.5)
    grey = tf.reduce_mean(images, axis=3, keepdims=True)
    images = grey + (images - grey) * (2 * u[:, 1])
    mean = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
    return mean + (images - mean) * (0.5 + u[:, 2])


def adapted(p: tf.Tensor, d_acc_real: tf.Tensor, images: int) -> tf.Tensor:
    """Moves p towards where D is right about real images as often as it should be.

    Args:
      p: float32 scalar, the present probability.
      d_acc_real: share of real images that D calls real; r = 2 d_acc_real - 1.
      images: real images of this step.

    Returns:
      The next probability, in [0, 1].
    """
    r = 2 * d_acc_real - 1
    return tf.clip_by_value(p + tf.sign(r - _TARGET) * images / _IMAGES_TO_ONE, 0.0, 1.0)
