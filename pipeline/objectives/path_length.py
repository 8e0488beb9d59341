"""Path length regularisation (Karras et al. 2019, arXiv 1912.04958, section 3.2), for generators with styles.

G's loss gains

    weight (|J^T y| - a)^2,   y ~ N(0, I) / sqrt(pixels),

where J is the Jacobian of the image by its styles w, |.| is the root of the mean over layers of the squared norm, and a
is the running mean of these lengths, so that a step in w changes images by as much everywhere. As in the paper it is
computed lazily, in every k-th step and k times as strong, and for half of the batch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from pipeline.base.errors import MirageError
from pipeline.base.libraries import tf
from pipeline.base.needs import Needs
from pipeline.base.parameters import Parameters, parameter
from pipeline.objectives.objective import Objective
from pipeline.objectives.style_mixing import PARTS, refuse_without_game
from pipeline.objectives.update import Batch, Loss, Losses, Networks, Update

_MEAN = "path_length_mean"  # its name in the training's state
_FIGURE = "path_length"
_DECAY = 0.01


@dataclasses.dataclass(frozen=True)
class PathLength(Parameters):
    """How strong it is; see the module."""

    path_length: float = parameter(
        0.0,
        "weight of the path length regularisation of generators of a mapping and a synthesis (arXiv 1912.04958), such "
        "as stylegan2, whose paper has 2; 0 means none.",
        minimum=0,
    )
    path_length_every: int = parameter(4, "compute it in every such step only, and as many times as strong.", minimum=1)

    @classmethod
    def asked(cls, values: Mapping[str, Any], objective: Objective) -> Self | None:
        """Makes the term of a run that asks for it; otherwise None."""
        return cls.of(values) if values["path_length"] else None

    def check_with(self, values: Mapping[str, Any], objective: Objective) -> None:
        """See `Term`."""
        refuse_without_game(self, "path_length", values, objective)

    def needs(self, needs: Needs, num_labels: int) -> Needs:
        """See `Term`."""
        return dataclasses.replace(needs, parts=PARTS)

    def state(self) -> dict[str, float]:
        """See `Term`: the running mean."""
        return {_MEAN: 0.0}

    def next_state(
        self, state: Mapping[str, tf.Tensor], means: Mapping[str, tf.Tensor], images: int
    ) -> dict[str, tf.Tensor]:
        """See `Term`. In steps that compute no lengths the figure is the mean itself, which stays."""
        return {_MEAN: state[_MEAN] + _DECAY * (means[_FIGURE] - state[_MEAN])}

    def add_to(self, updates: tuple[Update, ...]) -> tuple[Update, ...]:
        """Adds it to each update of the generator."""
        return tuple(
            dataclasses.replace(
                each, loss=self._regularised(each.loss), metrics=(*each.metrics, _FIGURE), needs_directions=True
            )
            if each.network == "generator"
            else each
            for each in updates
        )

    def _regularised(self, loss: Loss) -> Loss:
        def regularised(networks: Networks, batch: Batch) -> Losses:
            made: list[tf.Tensor] = []

            def synthesis(styles: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
                made.append(styles)
                return networks["synthesis"](styles, labels)

            def generator(z: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
                return synthesis(networks["mapping"](z, labels), labels)

            value, metrics = loss({**networks, "generator": generator, "synthesis": synthesis}, batch)
            lengths, penalties = self._lazily(networks, batch, made[0])
            return value + self.path_length * penalties, {**metrics, _FIGURE: lengths}

        return regularised

    def _lazily(self, networks: Networks, batch: Batch, styles: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns (lengths, penalties), float32 [n], whose means over many steps are what they would be if all were."""
        count = batch.z.shape[0]
        if count % 2:
            raise MirageError(
                f"--path_length takes every second image of each replica's batch, which has {count}; choose "
                "--batch_size as a multiple of twice the replicas."
            )
        mean, every = batch.state[_MEAN], self.path_length_every
        # Every second row, which are the same images on any number of replicas; they stand for their neighbours.
        labels, directions, styles = batch.labels[::2], batch.directions[::2], styles[::2]  # type: ignore[index]

        def computed() -> tf.Tensor:
            return path_lengths(networks, styles, labels, directions)

        if every == 1:
            lengths = computed()
        else:
            # A length that is the mean moves nothing.
            lengths = tf.cond(batch.step % every == 0, computed, lambda: tf.fill([count // 2], mean))
        lengths = tf.reshape(tf.stack([lengths, lengths], 1), [count])
        return lengths, every * tf.square(lengths - mean)


def path_lengths(networks: Networks, styles: tf.Tensor, labels: tf.Tensor, directions: tf.Tensor) -> tf.Tensor:
    """Computes |J^T y| of images.

    Args:
      networks: with the generator's `synthesis`.
      styles: float32 [n, L, W].
      labels: int32 [n], for a synthesis that looks at them.
      directions: float32 [n, H, W, C], standard normal.

    Returns:
      float32 [n].
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(styles)
        images = networks["synthesis"](styles, labels)
        total = tf.reduce_sum(images * directions) / (images.shape[1] * images.shape[2]) ** 0.5
    gradient = tape.gradient(total, styles)
    # The square root has no derivative at 0.
    return tf.sqrt(tf.reduce_mean(tf.reduce_sum(tf.square(gradient), 2), 1) + 1e-12)
