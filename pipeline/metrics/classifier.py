"""The `classifier` extractor: a small convolutional classifier, trained once for each labelled data set.

It is deterministic on a machine, needs no network, and is kept below `--data_dir`. Distances are taken
between its last hidden layer's 128 features.
"""

import hashlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import filelock
import keras
import numpy as np
import tensorflow as tf
import tqdm
from keras import layers

from pipeline.base.errors import MirageError
from pipeline.base.folders import cache_folder
from pipeline.base.kept_files import is_sealed, unsealed, write_sealed
from pipeline.devices.numerics import full_float32
from pipeline.metrics.extractor import Extractor, Features, Labelled
from pipeline.metrics.metric import BLOCK
from pipeline.metrics.modes import Stacked

FORMAT = 2  # part of the cache's key: to be raised whenever training changes
_FEATURES = 128
_BATCH_SIZE = 128
_IMAGES = 180_000  # to train on at most: three epochs of MNIST
_EPOCHS = 20  # at most
_LEARNING_RATE = 1e-3
_DROPOUT = 0.3
_SHIFT = 1  # pixels by which training images are moved at most
_INFERENCE_BATCH = 512
Cost = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
_TRUSTED = 0.9  # accuracy from which on its features say something of images


class Classifier:
    """A trained classifier, see `pipeline.metrics.extractor.Extractor`.

    Attributes:
      name: "classifier"; so is its title.
      facts: `test_accuracy`, in [0, 1].
    """

    name = title = "classifier"

    def __init__(self, model: keras.Model, test_accuracy: float) -> None:
        """Takes a model that returns features and logits."""
        self.facts: dict[str, float | str] = {"test_accuracy": test_accuracy}
        self._predict = tf.function(
            lambda images: model(tf.cast(images, tf.float32) / 127.5 - 1, training=False), reduce_retracing=True
        )

    def __call__(self, images: np.ndarray) -> Features:
        """Describes uint8 [n, H, W, C]; probabilities are those of the data set's classes."""
        features, logits = self.outputs(images)
        return Features(features, tf.nn.softmax(logits).numpy())

    @full_float32()
    def outputs(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns features [n, d] and logits [n, K] of uint8 [n, H, W, C]."""
        parts = [
            self._predict(tf.constant(images[start : start + _INFERENCE_BATCH]))
            for start in range(0, len(images), _INFERENCE_BATCH)
        ]
        features, logits = (np.concatenate([part[place].numpy() for part in parts]) for place in (0, 1))
        return features, logits


class Described(Protocol):
    """What must be known of the data."""

    @property
    def name(self) -> str:
        """As in `--dataset`."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per label."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""


def of_labelled_data(labelled: Callable[[], Labelled], stacked: bool = False, data_dir: str = "") -> Extractor:
    """Makes what `--extractor=classifier` names, see `pipeline.metrics.extractor.make_extractor`."""
    data = labelled()
    trained = classifier(data, data.train, data.test, data_dir)
    accuracy = float(trained.facts["test_accuracy"])
    if accuracy < _TRUSTED:
        print(
            f"warning: the classifier that judges images of {data.name} names only {accuracy:.1%} of unseen ones "
            "right, so its distances say little; --extractor=efficientnet may serve better.",
            file=sys.stderr,
            flush=True,
        )
    return Stacked(trained) if stacked else trained


def classifier(
    data: Described,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    data_dir: str = "",
) -> Classifier:
    """Loads the classifier of a data set, or trains it if there is none yet, or a damaged one.

    Args:
      data: the data set; must have labels.
      train: (images uint8 [n, H, W, C], labels int32 [n]).
      test: of the same form, not among `train`.
      data_dir: where it is kept; empty means ~/.cache/mirage.

    Returns:
      The extractor.

    Raises:
      MirageError: if the data has no labels, or the folder can't be written.
    """
    if len(data.class_names) < 2:
        raise MirageError(
            f"--extractor=classifier needs labels of at least two classes, and --dataset={data.name} has "
            f"{len(data.class_names)}; use --extractor=efficientnet."
        )
    content = [_digest(each) for each in train]
    key = json.dumps([FORMAT, list(data.class_names), content])
    model = build(data.image_shape, len(data.class_names))

    def accuracy() -> float:
        probabilities = Classifier(model, 0.0)(test[0]).probabilities
        assert probabilities is not None
        return float((probabilities.argmax(axis=1) == test[1]).mean())

    return Classifier(model, float(trained_once(model, key, data.name, train, _cross_entropy, accuracy, data_dir)))


def _digest(rows: np.ndarray) -> str:
    """SHA-256 of an array's content, read in slices."""
    found = hashlib.sha256()
    for start in range(0, len(rows), BLOCK):
        found.update(np.ascontiguousarray(rows[start : start + BLOCK]).data)
    return found.hexdigest()


def trained_once(
    model: keras.Model,
    key: str,
    name: str,
    train: tuple[np.ndarray, np.ndarray],
    cost: Cost,
    judged: Callable[[], Any],
    data_dir: str,
) -> np.ndarray:
    """Gives a model the weights that it had when it was last trained on these data, or trains it.

    Args:
      model: made by `build`.
      key: what tells it from others: its data, and how it is trained.
      name: of the data.
      train: (images uint8 [n, H, W, C], labels [n, ...]).
      cost: float32 [n] of labels and outputs.
      judged: called when it is trained, tells what to keep of it beside its weights.
      data_dir: where it is kept; empty means ~/.cache/mirage.

    Returns:
      What `judged` told.

    Raises:
      MirageError: if the folder can't be written.
    """
    folder = cache_folder(data_dir) / "extractors"
    path = folder / f"classifier-{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(path.with_suffix(".lock")):
            told = _load(path, model) if path.exists() else None
            if told is None:
                print(f"training the classifier that judges images of {name}, once ...", flush=True)
                _train(model, train, cost)
                told = np.asarray(judged())
                _save(path, model, told)
    except (OSError, NotImplementedError) as error:  # the latter where a file system has no locks
        raise MirageError(
            f"the classifier can't be kept in {folder} ({getattr(error, 'strerror', None) or error}); pass --data_dir= "
            "where you may write."
        ) from None
    return told


def _cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def build(image_shape: tuple[int, int, int], num_outputs: int) -> keras.Model:
    """Builds the untrained network: image in [-1, 1] to (features [N, 128], logits [N, num_outputs])."""
    image = keras.Input(image_shape)
    x, filters = image, 32
    while filters < 128 or min(x.shape[1:3]) > 4:
        for _ in range(1 if x is image else 2):
            x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x, filters = layers.MaxPooling2D(padding="same")(x), min(2 * filters, 128)
    features = layers.Dense(_FEATURES, activation="relu")(layers.Dropout(_DROPOUT)(layers.Flatten()(x)))
    return keras.Model(image, [features, layers.Dense(num_outputs)(layers.Dropout(_DROPOUT)(features))])


@full_float32()
def _train(model: keras.Model, train: tuple[np.ndarray, np.ndarray], cost: Cost) -> None:
    keras.utils.set_random_seed(0)
    fresh = build(model.input_shape[1:], model.output_shape[1][-1])  # whose dropout follows the seed too
    # Not a size that networks are trained with: cuDNN would go on as with the classifier (see `full_float32`), but only
    # in the process that trains it, so that a run which is continued would end with other bits.
    batch = min(_BATCH_SIZE - bool(tf.config.get_visible_devices("GPU")), len(train[0]))
    steps = max(1, min(_IMAGES, _EPOCHS * len(train[0])) // batch)
    schedule = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps)
    optimizer = keras.optimizers.Adam(schedule)
    optimizer.build(fresh.trainable_variables)

    @tf.function
    def update(images: tf.Tensor, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            _, logits = fresh(tf.cast(images, tf.float32) / 127.5 - 1, training=True)
            loss = tf.reduce_mean(cost(labels, logits))
        optimizer.apply(tape.gradient(loss, fresh.trainable_variables), fresh.trainable_variables)

    rng = np.random.default_rng(0)
    order = np.concatenate([rng.permutation(len(train[0])) for _ in range(-(-steps * batch // len(train[0])))])
    for chosen in tqdm.tqdm(np.split(order[: steps * batch], steps), unit="step", disable=None):
        shift = rng.integers(-_SHIFT, _SHIFT + 1, 2)
        update(tf.constant(np.roll(train[0][chosen], shift, axis=(1, 2))), tf.constant(train[1][chosen]))
    model.set_weights(fresh.get_weights())


def _save(path: Path, model: keras.Model, told: np.ndarray) -> None:
    content = io.BytesIO()
    np.savez(content, told, *model.get_weights())
    write_sealed(path, content.getvalue())


def _load(path: Path, model: keras.Model) -> np.ndarray | None:
    """Returns what was told of it, or None if the file is damaged."""
    content = path.read_bytes()
    try:
        # Earlier versions set no seal; of their files the archive's own checksums must do.
        content = unsealed(content) if is_sealed(content) else content
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            model.set_weights([arrays[f"arr_{index + 1}"] for index in range(len(arrays.files) - 1)])
            return arrays["arr_0"]
    except Exception as error:  # of numpy, zipfile or Keras, which raise what they like
        what = str(error).strip().partition("\n")[0][:150] or type(error).__name__
        print(f"warning: {path} is damaged ({what}).", file=sys.stderr, flush=True)
        return None
