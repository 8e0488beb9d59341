import io
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipeline.config import Config
from pipeline.data.spec import DataSpec
from pipeline.runs.layout import attribute_rows, grid_labels
from pipeline.runs.preview import Preview, grid, to_pixels, write_png
from serving.contract.attributes import Attribute


def spec(classes):
    return DataSpec("shapes", "", (2, 2, 1), tuple(map(str, range(classes))), 9)


def brightness_by_class(num_classes):
    """A generator whose image is the label, scaled to [-1, 1]."""
    z, label = keras.Input([4]), keras.Input([], dtype="int32")
    level = keras.ops.cast(label, "float32") / (num_classes - 1) * 2 - 1
    return keras.Model([z, label], keras.ops.reshape(level, [-1, 1, 1, 1]) * keras.ops.ones([1, 2, 2, 1]))


def model_of_latents():
    z = keras.Input([4])
    return keras.Model(z, keras.layers.Reshape([2, 2, 1])(keras.ops.tanh(z)))


def test_to_pixels():
    images = np.array([-1.5, -1, -0.996, 0, 0.5, 1, 2], np.float32)
    # 0 is 127.5, halfway; to even is 128.
    np.testing.assert_array_equal(to_pixels(images), [0, 0, 1, 128, 191, 255, 255])


def test_grid_places_images_row_by_row():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 1), np.uint8)
    picture = grid(images, columns=3)
    assert picture.shape == (2 * 4 + 2, 3 * 5 + 2, 1)
    for index in range(5):
        top, left = 2 + index // 3 * 4, 2 + index % 3 * 5
        assert (picture[top : top + 2, left : left + 3] == index).all()
    assert (picture[6:, 12:] == 255).all()
    assert (picture[:2] == 255).all()


def test_pictures_with_alpha_are_straight_and_stay_transparent(tmp_path):
    z = keras.Input([4])
    level = keras.ops.reshape(keras.ops.array([-0.5, -1.0, 0.0, -0.5]), [1, 1, 1, 4])
    model = keras.Model(z, level + 0 * keras.ops.reshape(z, [-1, 1, 1, 4]) * keras.ops.ones([1, 3, 2, 1]))
    picture = Preview(Config(latent_dim=4), 0, DataSpec("shapes", "", (3, 2, 4), (), 9), model).draw()
    assert picture.shape == (5 * 5 + 2, 5 * 4 + 2, 4)
    assert (picture[2:5, 2:4] == [255, 0, 255, 64]).all()
    assert (picture[:2] == 0).all()
    write_png(tmp_path / "a.png", picture)
    with Image.open(tmp_path / "a.png") as read:
        assert read.mode == "RGBA"
        np.testing.assert_array_equal(np.asarray(read), picture)


@pytest.mark.parametrize("num_classes", [0, 2, 10, 20, 21, 100])
def test_every_class_is_shown(num_classes):
    labels, columns = grid_labels(num_classes)
    assert set(labels.tolist()) == set(range(max(1, num_classes)))
    if 0 < num_classes <= 20:
        assert (labels.reshape(-1, columns) == np.arange(num_classes)[:, None]).all()


def test_conditional_preview_has_a_row_per_class():
    picture = Preview(Config(conditional=True, latent_dim=4), 0, spec(4), brightness_by_class(4)).draw()
    assert [picture[2 + 4 * row, 2, 0] for row in range(4)] == [0, 85, 170, 255]


def test_a_row_for_each_attribute_shows_what_it_does():
    attributes = (Attribute("red", "binary", 0, 1, 1), Attribute("age", "number", 20, 90, 30))
    labels, latents, columns = attribute_rows(attributes)
    assert columns == 8
    assert labels[:8].tolist() == [[0, 30]] * 4 + [[1, 30]] * 4
    assert labels[8:, 0].tolist() == [1] * 8
    assert labels[8:, 1].tolist() == pytest.approx(np.linspace(20, 90, 8))
    assert latents.tolist() == [0, 1, 2, 3] * 2 + [0] * 8
    assert len(attribute_rows(attributes[:1] * 40)[0]) == 20 * 8


def test_a_preview_of_attributes_is_drawn_from_them():
    attributes = (Attribute("red", "binary", 0, 1, 1), Attribute("age", "number", 20, 90, 30))
    z, label = keras.Input([4], name="z"), keras.Input([2], name="label")
    brightness = keras.layers.Reshape([1, 1, 1])(label[:, 1:] / 45 - 1)
    model = keras.Model([z, label], keras.layers.UpSampling2D(2)(brightness))
    data = DataSpec("faces", "", (2, 2, 1), (), 9, attributes=attributes)
    picture = Preview(Config(conditional=True, latent_dim=4), 0, data, model).draw()
    assert picture.shape == (2 * 4 + 2, 8 * 4 + 2, 1)
    assert picture[6, 2::4, 0].tolist() == [round(255 * age / 90) for age in np.linspace(20, 90, 8)]


def test_preview_is_the_same_every_time():
    config, model = Config(latent_dim=4), model_of_latents()
    first = Preview(config, config.seed, spec(0), model).draw()
    np.testing.assert_array_equal(Preview(config, config.seed, spec(0), model).draw(), first)
    assert len(np.unique(first)) > 50  # 25 different latents


def test_write_png(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    write_png(tmp_path / "a.png", picture)
    decoded = np.asarray(Image.open(io.BytesIO((tmp_path / "a.png").read_bytes())))
    np.testing.assert_array_equal(decoded, picture)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_previews_of_many_trainings_in_a_process_are_no_matter_for_warnings():
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    tf.get_logger().addHandler(handler)
    try:
        for _ in range(12):
            Preview(Config(latent_dim=4), 0, spec(0), model_of_latents()).draw()
    finally:
        tf.get_logger().removeHandler(handler)
    assert lines == []
