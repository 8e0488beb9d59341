"""Semi-supervised GAN (Salimans et al. 2016, arXiv 1606.03498, section 5, and feature matching, section 3.1).

D names one of K classes. With logits l, an image is real with probability p = Z / (Z + 1), Z = sum exp l_k, so
its logit for "real" is log Z. D minimises

    L_D = -log softmax(l(x_labelled))_y  +  weight * 1/2 [ -log p(x) - log(1 - p(G(z))) ]

over a few labelled images, and real and generated ones without labels. G matches features f, D's last layer
before the logits, in the mean over the global batch: L_G = |E f(x) - E f(G(z))|^2. D is a noisy network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.base.errors import MirageError
from pipeline.base.libraries import tf
from pipeline.base.needs import Needs
from pipeline.base.parameters import parameter
from pipeline.base.values import values_of
from pipeline.objectives.nsgan import d_loss_fake, d_loss_real
from pipeline.objectives.objective import Objective, refuse
from pipeline.objectives.update import Batch, Losses, Networks, Update, global_mean, is_positive, per_image

if TYPE_CHECKING:
    import numpy as np


@dataclasses.dataclass(frozen=True)
class SGAN(Objective):
    """The semi-supervised GAN; see the module."""

    absolute: ClassVar[bool] = True
    labelled: int = parameter(100, "number of images whose labels sgan may use, as many of each class.", minimum=1)
    unlabelled_weight: float = parameter(
        1.0, "weight of sgan's loss without labels; 0 leaves a plain classifier, to compare with.", minimum=0
    )

    @property
    def joint(self) -> bool:
        """See `Objective`: its discriminator names classes."""
        return False

    def updates(self, images: np.ndarray, labels: np.ndarray, num_labels: int, seed: int) -> tuple[Update, ...]:  # type: ignore[override]
        """Returns the updates of one step; see `few_labelled`."""
        chosen = few_labelled(images, labels, num_labels, self.labelled, seed)

        def d_loss(networks: Networks, batch: Batch) -> Losses:
            return _d(networks, batch, chosen, self.unlabelled_weight)

        names = ("d_loss", "d_acc_real", "d_acc_fake", "class_loss", "class_error")
        return (
            Update("discriminator", d_loss, names, needs_u=True, needs_noise=3),
            Update("generator", _g, ("g_loss",), new_images=False, needs_noise=2),
        )

    def needs(self, num_labels: int, latent_dim: int) -> Needs:
        """See `Objective`."""
        heads = {"classes": num_labels, "features": 0}
        return Needs(heads=heads, noise=True, architectures={"discriminator": "noisy_mlp"})

    def check(self, values: Mapping[str, Any]) -> None:
        """See `Parameters`."""
        names = ("conditional", "r1", "r2", "gp", "categories", "codes")
        refuse(values, names, "objective=sgan", "whose discriminator names classes itself", "leave it out")


def few_labelled(
    images: np.ndarray, labels: np.ndarray, num_labels: int, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Chooses the images whose labels semi-supervised learning may use.

    Args:
      images: uint8 [N, H, W, C].
      labels: int32 [N].
      num_labels: number of classes.
      count: how many to choose.
      seed: decides which.

    Returns:
      (images uint8 [count, H, W, C], labels int32 [count]), as many of each class.

    Raises:
      MirageError: if there are no labels, or not so many images of each class.
    """
    import numpy as np

    if labels.ndim > 1:
        raise MirageError("--objective=sgan needs classes, and --dataset has attributes; choose another objective.")
    if num_labels < 2 or count % num_labels:
        raise MirageError(
            f"--labelled={count} can't be shared by the {num_labels} classes of --dataset; "
            + (f"choose a multiple of {num_labels}." if num_labels > 1 else "--objective=sgan needs data with labels.")
        )
    order = np.random.default_rng(seed).permutation(len(labels))
    each = count // num_labels
    chosen = np.concatenate([order[labels[order] == label][:each] for label in range(num_labels)])
    if len(chosen) < count:
        raise MirageError(
            f"--labelled={count} takes {each} images of each class, and --dataset has fewer of some; choose a smaller "
            "number."
        )
    return np.asarray(images[chosen]), labels[chosen]


def _d(networks: Networks, batch: Batch, labelled: tuple[np.ndarray, np.ndarray], weight: float) -> Losses:
    chosen = tf.cast(batch.u * len(labelled[0]), tf.int32)
    images = values_of(tf.gather(tf.constant(labelled[0]), chosen))
    marks = tf.gather(tf.constant(labelled[1]), chosen)
    for_labelled, for_others = batch.noise[:, 0], batch.noise[:, 1:]
    classes = networks["discriminator"](images, for_labelled)["classes"]
    supervised = tf.nn.sparse_softmax_cross_entropy_with_logits(marks, classes)
    wrong = 1 - tf.cast(tf.equal(tf.argmax(classes, 1, tf.int32), marks), tf.float32)
    generated = networks["generator"](batch.z, batch.labels)
    real, fake = _real_and_generated(networks, batch.images, generated, for_others, "logits")
    unsupervised = per_image(0.5 * (d_loss_real(real) + d_loss_fake(fake)))
    loss = supervised + weight * unsupervised
    accuracies = {"d_acc_real": is_positive(real), "d_acc_fake": is_positive(-fake)}
    return loss, {"d_loss": loss, **accuracies, "class_loss": supervised, "class_error": wrong}


def _g(networks: Networks, batch: Batch) -> Losses:
    generated = networks["generator"](batch.z, batch.labels)
    real, fake = _real_and_generated(networks, batch.images, generated, batch.noise, "features")
    difference = global_mean(tf.stop_gradient(real)) - global_mean(fake)
    loss = tf.fill(tf.shape(batch.u), tf.reduce_sum(tf.square(difference)))
    return loss, {"g_loss": loss}


def _real_and_generated(
    networks: Networks, images: tf.Tensor, generated: tf.Tensor, noise: tf.Tensor, head: str
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns what a head of D says of real and of generated images; `noise` is [n, 2, M]."""
    each = tf.concat(tf.unstack(noise, axis=1), 0)
    real, fake = tf.split(networks["discriminator"](tf.concat([images, generated], 0), each)[head], 2)
    return real, fake
