"""A small convolutional classifier that says which attributes images have, trained once for each data set."""

import hashlib
import json
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from pipeline.base.affine import affine
from pipeline.metrics.classifier import FORMAT, Classifier, build, trained_once
from pipeline.metrics.metric import BLOCK, Images
from serving.contract.attributes import BINARY, Attribute

_MOST = 10_000  # real images of which it is said how well it does
_LOOKED_AT = 256  # images that tell, with a fingerprint, what all are
_RAREST = 0.01  # rarer attributes weigh no more than of this share


class AttributeClassifier:
    """A trained classifier, see `pipeline.metrics.metric.Naming`."""

    def __init__(
        self, network: Classifier, attributes: Sequence[Attribute], labels: np.ndarray, named: np.ndarray
    ) -> None:
        """Takes the network, what it names, and real images' labels with what it says of these."""
        self._network = network
        self.attributes, self.labels, self.named = tuple(attributes), labels, named

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """See `pipeline.metrics.metric.Naming`."""
        return self._network.outputs(images)[1]


class Described(Protocol):
    """What must be known of the data."""

    @property
    def name(self) -> str:
        """As in `--dataset`."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """What labels are."""

    @property
    def fingerprint(self) -> str:
        """What they are by their content; empty where that isn't known."""


def attribute_classifier(data: Described, train: Images, test: Images, data_dir: str = "") -> AttributeClassifier:
    """Loads the classifier of a data set, or trains it if there is none yet.

    Args:
      data: its description; must have attributes.
      train: images to learn from.
      test: others.
      data_dir: where it is kept; empty means ~/.cache/mirage.

    Raises:
      MirageError: if the folder can't be written.
    """
    test = test.some(_MOST)
    model = build(data.image_shape, len(data.attributes))
    network = Classifier(model, 0.0)
    key = json.dumps(
        [FORMAT, [each.to_dict() for each in data.attributes], _content(data, train), _content(data, test)]
    )

    def named() -> np.ndarray:
        return network.outputs(test.pixels)[1]

    cost = _Cost(data.attributes, train.labels)
    told = trained_once(model, key, data.name, (train.pixels, train.labels), cost, named, data_dir)
    return AttributeClassifier(network, data.attributes, test.labels, told)


def _content(data: Described, images: Images) -> str:
    """What images and labels are: by all their pixels, or by the data's fingerprint and some of them."""
    some = images.some(_LOOKED_AT) if data.fingerprint else images
    digest = hashlib.sha256(json.dumps([data.fingerprint, len(images.labels), *data.image_shape]).encode())
    digest.update(images.labels.astype("<f4").tobytes())
    for block in some.read(np.arange(len(some.labels)), BLOCK):
        digest.update(np.ascontiguousarray(block).data)
    return digest.hexdigest()


class _Cost:
    """Mean over attributes of the cross-entropy of those that are 0 or 1, both weighing the same, or squared error."""

    def __init__(self, attributes: Sequence[Attribute], labels: np.ndarray) -> None:
        """Takes the attributes, and labels that say how frequent they are, float32 [n, A]."""
        self._affine = affine(attributes)
        self._is_binary = np.array([each.kind == BINARY for each in attributes])
        self._shares = np.clip(labels.mean(axis=0, dtype=np.float64), _RAREST, 1 - _RAREST).astype(np.float32)

    def __call__(self, labels: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """Takes labels and outputs float32 [n, A]; returns float32 [n]."""
        scale, offset = self._affine
        code = labels * tf.constant(scale) + tf.constant(offset)
        targets = (code + 1) / 2
        weights = tf.where(targets > 0.5, 0.5 / self._shares, 0.5 / (1 - self._shares))
        entropy = weights * tf.nn.sigmoid_cross_entropy_with_logits(targets, outputs)
        return tf.reduce_mean(tf.where(self._is_binary, entropy, tf.square(outputs - code)), axis=1)
