import dataclasses

import numpy as np
import pytest

from pipeline.base.errors import MirageError
from pipeline.config import Config
from pipeline.data import stacked
from pipeline.data.dataset import describe, load
from pipeline.data.source import Source
from pipeline.data.spec import DataSpec
from pipeline.metrics.extractor import Features
from pipeline.metrics.modes import Stacked, coverage

BASE = DataSpec("digits", "1", (2, 2, 1), ("a", "b", "c"), 12)
IMAGES = np.arange(12, dtype=np.uint8)[:, None, None, None] + np.zeros((12, 2, 2, 1), np.uint8)
LABELS = np.arange(12) % 3
CONFIG = Config(dataset="stacked:digits", batch_size=4)


def opened():
    return stacked.open_stacked(
        CONFIG, lambda: Source(BASE, lambda start: zip(IMAGES[start:], LABELS[start:], strict=True), lambda: "x")
    )


def test_each_channel_shows_each_image_once_and_the_label_tells_all_three():
    source = opened()
    assert source.spec.image_shape == (2, 2, 3)
    assert source.spec.num_examples == 12
    assert len(source.spec.class_names) == 27
    assert source.spec.class_names[:4] == ("a-a-a", "a-a-b", "a-a-c", "a-b-a")
    examples = list(source)
    chosen = np.array([image[0, 0] for image, _ in examples])
    for channel in range(3):
        assert sorted(chosen[:, channel]) == list(range(12))
    assert not np.array_equal(chosen[:, 0], chosen[:, 1])
    for (_, label), triple in zip(examples, chosen, strict=True):
        names = [BASE.class_names[LABELS[index]] for index in triple]
        assert source.spec.class_names[label] == "-".join(names)


def test_the_same_images_are_stacked_every_time():
    first, second = (list(opened()) for _ in range(2))
    for (image, label), (other, other_label) in zip(first, second, strict=True):
        np.testing.assert_array_equal(image, other)
        assert label == other_label


def test_the_embedded_digits_can_be_stacked():
    config = Config(dataset="stacked:mnist5k")
    dataset = load(config)
    assert dataset.images.shape == (5000, 28, 28, 3)
    assert len(dataset.spec.class_names) == 1000
    assert describe(config) == dataset.spec


def test_colour_images_are_refused():
    with pytest.raises(MirageError, match="needs grey images with labels"):
        stacked.describe_stacked(CONFIG, dataclasses.replace(BASE, image_shape=(2, 2, 3)))


class ByBrightness:
    """Calls images dark or bright."""

    name, facts = "brightness", {"test_accuracy": 1.0}

    def __call__(self, images):
        bright = images.mean(axis=(1, 2, 3)) > 127
        return Features(images.reshape(len(images), -1).astype(np.float32), np.eye(2)[bright.astype(int)])


def test_modes_are_combinations_of_the_channels_classes():
    extractor = Stacked(ByBrightness())
    images = np.zeros((8, 2, 2, 3), np.uint8)
    for number, image in enumerate(images):
        image[..., :] = [255 * (number >> bit & 1) for bit in (2, 1, 0)]
    described = extractor(images)
    np.testing.assert_array_equal(described.modes, np.arange(8))
    assert described.num_modes == 8
    assert coverage(described.modes, 8) == (8, pytest.approx(0))
    assert coverage(np.array([5, 5, 5]), 8) == (1, pytest.approx(np.log(8)))
    assert described.features.shape == (8, 12)
    assert described.probabilities is None
