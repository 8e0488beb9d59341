"""Differentiable augmentation of all that D sees, for small data sets.

Real and generated images are moved, partly covered and recoloured at random before D judges them, and G's gradient
passes through, so that D can't learn the few real images by heart and G doesn't learn to make changed ones. There are
the three kinds of Zhao et al. 2020 (arXiv 2006.10738), below, and the groups of Karras et al. 2020 (arXiv 2006.06676),
in `pipeline.objectives.ada`. Each transformation is applied with a probability p: a fixed one, one that rises over a
schedule, or one that follows D's overfitting (`adapted`; the latter paper, section 3).
"""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

from pipeline.base.errors import MirageError
from pipeline.base.libraries import tf
from pipeline.base.parameters import UNDECIDED, Parameters, parameter
from pipeline.base.schedules import SCHEDULE_IMAGES, half_cosine
from pipeline.objectives import ada
from pipeline.objectives.ada.geometry import shifting
from pipeline.objectives.objective import Objective, refuse
from pipeline.objectives.update import Batch, Loss, Losses, Networks, Update

AUGMENTATIONS = ("translation", "cutout", "color")
# Random numbers that each image needs: one for each kind to decide, and at most three for each to say how.
NUMBERS = 4 * len(AUGMENTATIONS)
KINDS = (*AUGMENTATIONS, *ada.GROUPS)
_P = "augment_p"  # its name in the training's state, and in logs
_SUM, _COUNT = "augment_acc", "augment_steps"  # what has been seen of D since p was moved last
_SHIFT = 1 / 8  # of the image's side
_CUTOUT = 1 / 2
# The overfitting heuristic: how many steps it looks at, and the share of real images that D is right about where
# r = E[sign D(x)] is 0.6. And the share of pairs of which it calls the right one real, if real and generated images
# are as widely spread about means so far apart that it is right about that share of single ones: a pair's difference
# has twice the variance, and a single image half the distance to go.
_EVERY = 4
_RIGHT = 0.8
_RIGHT_OF_PAIRS = statistics.NormalDist().cdf(math.sqrt(2) * statistics.NormalDist().inv_cdf(_RIGHT))
_IMAGES_TO_ONE, _IMAGES_TO_ONE_AGAIN = 500_000, 100_000


@dataclasses.dataclass(frozen=True)
class Augmentation(Parameters):
    """How what D sees is augmented; see the module.

    Attributes:
      right: see `_right`, of the objective that it is added to.
    """

    right: ClassVar[float] = 0.0
    augment: str = parameter(
        "",
        "for small data sets: how all images that the discriminator sees are augmented: some of translation, cutout, "
        "color (arXiv 2006.10738), blit, geom, ada_color, filter, noise (arXiv 2006.06676, of which bgc is the first "
        "three), such as translation,cutout; ada_color:0.5 makes one half as probable.",
        automatic=True,
    )
    augment_p: float = parameter(
        1.0,
        "probability of each augmentation; the largest one, with --augment_adaptive.",
        minimum=0,
    )
    augment_scheduled: bool = parameter(
        False, "let the probability rise from 0 to --augment_p over --schedule_images (arXiv 2501.05441)."
    )
    schedule_images: int = SCHEDULE_IMAGES
    augment_adaptive: bool = parameter(
        False, "augment with a probability that follows the discriminator's overfitting (arXiv 2006.06676)."
    )
    augment_adaptive_images: int = parameter(
        0,
        "over how many images --augment_adaptive can raise the probability from 0 to 1; 0: 500,000, or "
        "100,000 with --init_from.",
        minimum=0,
    )

    @classmethod
    def asked(cls, values: Mapping[str, Any], objective: Objective) -> Self:
        """Makes the term of a run."""
        own = cls.of(values)
        if not own.augment_adaptive_images:  # what has been trained before overfits sooner
            images = _IMAGES_TO_ONE_AGAIN if values.get("init_from") else _IMAGES_TO_ONE
            own = dataclasses.replace(own, augment_adaptive_images=images)
        object.__setattr__(own, "right", _right(objective))  # which is no parameter
        return own

    def check_with(self, values: Mapping[str, Any], objective: Objective) -> None:
        """See `Term`."""
        kinds = shares_of(self.augment)
        name = f"objective={values['objective']}"
        if kinds and not getattr(objective, "discriminator", True):
            refuse(self.to_dict(), ("augment",), name, "which has no discriminator", "leave it out")
        if self.augment_p > 1:
            raise MirageError(f"--augment_p={self.augment_p} is too large; expected a probability, at most 1.")
        some = kinds or "augment" in values.get(UNDECIDED, ())
        idle = {"augment_p": some, "augment_adaptive_images": values["augment_adaptive"]}
        for flag, used in idle.items():
            if values[flag] != getattr(type(self)(), flag) and not used:
                needed = "--augment" if flag == "augment_p" else "--augment_adaptive"
                raise MirageError(f"--{flag}={values[flag]} says nothing without {needed}; add it, or leave it out.")
        for flag in ("augment_adaptive", "augment_scheduled"):
            if getattr(self, flag) and not kinds:
                raise MirageError(f"--{flag} needs something whose probability changes; set --augment=bgc.")
        if self.augment_adaptive and self.augment_scheduled:
            raise MirageError(
                "--augment_scheduled does not go with --augment_adaptive, which both say how probable augmentations "
                "are; leave one of them out."
            )
        if self.augment_adaptive and not _right(objective):
            raise MirageError(
                f"--augment_adaptive does not go with --{name}, whose logits say nothing of a single image or of a "
                "pair; use an objective such as r3gan, nsgan, hinge or lsgan, or --noaugment_adaptive."
            )

    def add_to(self, updates: tuple[Update, ...]) -> tuple[Update, ...]:
        """Augments what D sees in each update of an objective with a discriminator."""
        shares = shares_of(self.augment)
        if not shares:
            return updates
        return tuple(self._added_to(update, shares) for update in updates)

    def _added_to(self, update: Update, shares: Mapping[str, float]) -> Update:
        logged = (self.augment_adaptive or self.augment_scheduled) and "discriminator" in update.network.split("+")
        return dataclasses.replace(
            update,
            loss=_augmented(update.loss, shares, self._probability, logged=logged),
            metrics=(*update.metrics, _P) if logged else update.metrics,
            needs_augmentation=NUMBERS + (ada.NUMBERS if {*shares} & {*ada.GROUPS} else 0),
            needs_pixels="noise" in shares,
        )

    def _probability(self, batch: Batch) -> tf.Tensor:
        if self.augment_scheduled:
            return half_cosine(batch.seen, 0.0, self.augment_p, self.schedule_images)
        return batch.state[_P]

    def state(self) -> dict[str, float]:
        """See `Term`: the probability of each kind, and what moves it."""
        return {_P: 0.0, _SUM: 0.0, _COUNT: 0.0} if self.augment_adaptive else {_P: self.augment_p}

    def next_state(
        self, state: Mapping[str, tf.Tensor], means: Mapping[str, tf.Tensor], images: int
    ) -> dict[str, tf.Tensor]:
        """See `Term`."""
        if not self.augment_adaptive:
            return {}
        total, count = state[_SUM] + means["d_acc_real"], state[_COUNT] + 1
        due = count >= _EVERY
        speed = count * (images / self.augment_adaptive_images)
        moved = adapted(state[_P], total / count, self.right, speed, self.augment_p)
        return {
            _P: tf.where(due, moved, state[_P]),
            _SUM: tf.where(due, 0.0, total),
            _COUNT: tf.where(due, 0.0, count),
        }


def shares_of(given: str) -> dict[str, float]:
    """Reads --augment.

    Returns:
      By kind, in the order of `KINDS`, by how much the probability is multiplied for it.

    Raises:
      MirageError: for what is no kind, or no such factor.
    """
    found: dict[str, float] = {}
    for word in given.split(",") if given else ():
        name, colon, factor = word.partition(":")
        kinds = ada.WORDS.get(name, name).split(",")
        if not {*kinds} <= {*KINDS}:
            known = ", ".join((*KINDS, *ada.WORDS))
            raise MirageError(f"--augment={given} is not known; choose from {known}, joined by commas.")
        try:
            share = float(factor) if colon else 1.0
        except ValueError:
            share = math.nan
        if not 0 < share <= 1:
            raise MirageError(
                f"--augment={given} has {factor!r} after {name}; expected a factor of its probability, above 0 and at "
                "most 1, such as ada_color:0.5."
            )
        if twice := [kind for kind in kinds if kind in found]:
            raise MirageError(f"--augment={given} names {twice[0]} twice; name it once.")
        found |= dict.fromkeys(kinds, share)
    return {kind: found[kind] for kind in KINDS if kind in found}


def _right(objective: Any) -> float:
    """The share `d_acc_real` that an objective reports where D overfits as much as it may; 0 if it says nothing."""
    if getattr(objective, "absolute", False):
        return _RIGHT
    return _RIGHT_OF_PAIRS if getattr(objective, "paired", False) else 0.0


def _augmented(
    loss: Loss, shares: Mapping[str, float], probability: Callable[[Batch], tf.Tensor], *, logged: bool
) -> Loss:
    def augmented(networks: Networks, batch: Batch) -> Losses:
        p = probability(batch)

        n, *shape = batch.images.shape
        numbers, pixels = (tf.concat(tf.unstack(each, axis=1), 0) for each in (batch.augmentation, batch.pixels))

        def chosen(count: int) -> Callable[[tf.Tensor], tf.Tensor]:
            return changes(numbers[:count], p, shares, shape, pixels[:count])

        # Before any branch. Real and generated images together are twice a batch.
        known = {count: chosen(count) for count in (n, 2 * n)}

        def discriminator(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
            change = known.get(images.shape[0]) or chosen(images.shape[0])
            return networks["discriminator"](change(images), labels)

        losses, figures = loss({**networks, "discriminator": discriminator}, batch)
        return losses, {**figures, _P: tf.fill(tf.shape(losses), p)} if logged else figures

    return augmented


def changes(
    numbers: tf.Tensor,
    p: tf.Tensor,
    shares: Mapping[str, float],
    shape: Sequence[int],
    pixels: tf.Tensor | None = None,
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Chooses how each image is augmented.

    Args:
      numbers: float32 [n, NUMBERS], uniform in [0, 1); with groups of ADA's, `ada.NUMBERS` more.
      p: float32 scalar, probability of each kind.
      shares: see `shares_of`.
      shape: (H, W, C).
      pixels: float32 [n, H * W * C], standard normal, for "noise".

    Returns:
      A function of images float32 [n, H, W, C] in [-1, 1], of the same shape; what is shifted in by "translation" or
      covered is 0.
    """
    makers = {"translation": _translation, "cutout": _cutting_out, "color": _recolouring}
    plain = {
        kind: _where(numbers[:, 4 * index] < p * shares[kind], makers[kind](numbers[:, 4 * index + 1 :], shape))
        for index, kind in enumerate(AUGMENTATIONS)
        if kind in shares
    }
    groups = {kind: p * share for kind, share in shares.items() if kind in ada.GROUPS}
    others = [ada.changes(numbers[:, NUMBERS:], pixels, groups, shape)] if groups else []
    # What covers comes after what moves and recolours the picture itself.
    first = [plain.pop("translation")] if "translation" in plain else []
    chosen = [*first, *others, *plain.values()]
    return lambda images: functools.reduce(lambda done, change: change(done), chosen, images)


def _where(chosen: tf.Tensor, change: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[tf.Tensor], tf.Tensor]:
    # By products: at the scalars in tf.where's gradient the layout optimizer of graphs for GPUs fails.
    share = tf.cast(chosen, tf.float32)[:, None, None, None]
    return lambda images: share * change(images) + (1 - share) * images


def _translation(u: tf.Tensor, shape: Sequence[int]) -> Callable[[tf.Tensor], tf.Tensor]:
    """Shifts by up to an eighth of the side, in whole pixels."""
    shifts = []
    for axis in (1, 2):
        most = round(_SHIFT * shape[axis - 1])
        shift = most - tf.cast(tf.floor(u[:, axis - 1] * (2 * most + 1)), tf.int32)
        shifts.append(shifting(shift, axis, shape[axis - 1], "CONSTANT"))
    return lambda images: functools.reduce(lambda done, shift: shift(done), shifts, images)


def _cutting_out(u: tf.Tensor, shape: Sequence[int]) -> Callable[[tf.Tensor], tf.Tensor]:
    """Covers a rectangle of half the height and half the width, anywhere, even partly outside."""
    inside = []
    for axis in (1, 2):
        size = shape[axis - 1]
        centre = tf.floor(u[:, axis - 1] * (size + 1))[:, None]
        place = tf.range(size, dtype=tf.float32)
        half = _CUTOUT * size / 2
        inside.append((place >= centre - half) & (place < centre + half))
    covered = (inside[0][:, :, None] & inside[1][:, None, :])[..., None]
    return lambda images: images * (1 - tf.cast(covered, tf.float32))


def _recolouring(u: tf.Tensor, shape: Sequence[int]) -> Callable[[tf.Tensor], tf.Tensor]:
    """Changes brightness, then saturation, then contrast; not how transparent images are."""
    u = u[:, :, None, None, None]

    def recoloured(images: tf.Tensor) -> tf.Tensor:
        if images.shape[-1] == 4:
            return tf.concat([recoloured(images[..., :3]), images[..., 3:]], axis=-1)
        images = images + (u[:, 0] - 0.5)
        grey = tf.reduce_mean(images, axis=3, keepdims=True)
        images = grey + (images - grey) * (2 * u[:, 1])
        mean = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
        return mean + (images - mean) * (0.5 + u[:, 2])

    return recoloured


def adapted(p: tf.Tensor, right: tf.Tensor, as_it_should: float, speed: tf.Tensor | float, most: float) -> tf.Tensor:
    """Moves p towards where D is right as often as it should be.

    Args:
      p: float32 scalar, the present probability.
      right: share of real images, or of pairs, that D is right about.
      as_it_should: the share that p is to lead to.
      speed: how far it moves.
      most: the largest probability.

    Returns:
      The next probability, in [0, most].
    """
    return tf.clip_by_value(p + tf.sign(right - as_it_should) * speed, 0.0, most)
