"""Transparent pictures stay transparent if that is wanted: straight pixels, premultiplied values."""

import dataclasses
import io
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipeline.base.values import values_of
from pipeline.config import Config
from pipeline.data.dataset import load, open_data
from pipeline.data.options import DataOptions
from pipeline.metrics.resizing import resized
from pipeline.objectives.augment import changes
from serving.contract.pixels import over_white, to_pixels

RNG = np.random.default_rng(0)


@pytest.fixture
def icons(tmp_path):
    for index in range(8):
        pixels = RNG.integers(0, 256, (16, 12, 4), np.uint8)
        pixels[:, :4, 3] = 0
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    Image.fromarray(RNG.integers(0, 256, (16, 12, 3), np.uint8)).save(tmp_path / "opaque.png")
    palette = Image.fromarray(RNG.integers(0, 4, (16, 12), np.uint8), mode="P")
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.save(tmp_path / "palette.png", transparency=0)
    Image.fromarray(RNG.integers(0, 256, (16, 12, 2), np.uint8), mode="LA").save(tmp_path / "grey.png")
    return tmp_path


def config(root, **changes):
    return Config(dataset=f"folder:{root}", batch_size=1, **changes)


def test_pixels_are_those_of_the_files(icons):
    dataset = load(config(icons, transparency="keep"))
    assert dataset.spec.image_shape == (16, 12, 4)
    files = {np.asarray(Image.open(path).convert("RGBA")).tobytes() for path in icons.iterdir()}
    assert {image.tobytes() for image in dataset.images} == files
    assert load(config(icons)).spec.image_shape == (16, 12, 3)


def test_without_transparent_files_there_is_no_alpha(image_folder):
    for mode, channels in (("L", 1), ("RGB", 3)):
        root = image_folder(classes=(mode,), mode=mode)
        assert load(config(root / mode, transparency="keep")).spec.image_shape[2] == channels


def test_what_is_hidden_does_not_bleed_when_resized(tmp_path):
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[:, :16] = 255, 0, 0, 255
    pixels[:, 16:] = 0, 255, 0, 0  # hidden green
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = load(config(tmp_path, transparency="keep", image_size=8)).images[0]
    seen = image[image[..., 3] > 0]
    assert (seen[:, 1] == 0).all()
    assert (seen[:, 0] == 255).all()


@pytest.mark.parametrize("size", [0, "8x6"])
def test_compressed_ones_are_the_same(icons, tmp_path_factory, size):
    plain = config(icons, transparency="keep", image_size=size)
    kept = dataclasses.replace(
        plain, prepared_as="pictures", device_data_mb=0, data_dir=str(tmp_path_factory.mktemp("kept"))
    )
    np.testing.assert_array_equal(np.asarray(load(kept).images), load(plain).images)


def test_values_are_premultiplied_and_come_back(icons):
    pixels = load(config(icons, transparency="keep")).images
    values = values_of(tf.constant(pixels)).numpy()
    share = pixels[..., 3:] / 255
    np.testing.assert_allclose(values[..., :3], pixels[..., :3] * share / 127.5 - 1, atol=1e-6)
    np.testing.assert_allclose(values[..., 3:], pixels[..., 3:] / 127.5 - 1, atol=1e-6)
    back = to_pixels(values, "premultiplied")
    np.testing.assert_array_equal(back[..., 3], pixels[..., 3])
    np.testing.assert_allclose(over_white(back).astype(int), over_white(pixels), atol=1)
    opaque = pixels[..., 3] == 255
    np.testing.assert_array_equal(back[opaque], pixels[opaque])
    grey = tf.constant(pixels[..., :1])
    np.testing.assert_array_equal(values_of(grey), pixels[..., :1].astype(np.float32) / np.float32(127.5) - 1)


def test_figures_see_them_over_white(icons):
    pixels = load(config(icons, transparency="keep")).images
    seen = resized(tf.constant(pixels), 16, "pillow").numpy()
    assert seen.shape == (len(pixels), 16, 16, 3)
    white = resized(tf.constant(over_white(pixels)), 16, "pillow").numpy()
    np.testing.assert_allclose(seen, white, atol=1)


def test_augmentation_changes_colours_but_not_what_is_seen():
    images = tf.constant(RNG.uniform(-1, 1, (4, 8, 8, 4)), tf.float32)
    numbers = tf.constant(RNG.uniform(0, 1, (4, 100)), tf.float32)
    changed = changes(numbers, tf.constant(1.0), {"color": 1.0}, images.shape[1:])(images)
    np.testing.assert_array_equal(changed[..., 3], images[..., 3])
    assert not np.allclose(changed[..., :3], images[..., :3])


def sources(pixels):
    """Straight RGBA pixels as every kind of object."""
    yield pixels
    yield pixels, np.zeros(len(pixels), int)
    yield list(pixels)
    yield [Image.fromarray(each) for each in pixels]
    yield tf.data.Dataset.from_tensor_slices(pixels).batch(2)


def test_arrays_and_streams_stay_transparent_or_are_laid_over_white():
    pixels = RNG.integers(0, 256, (5, 16, 12, 4), np.uint8)
    over = [
        np.asarray(Image.alpha_composite(Image.new("RGBA", (12, 16), "white"), Image.fromarray(each)).convert("RGB"))
        for each in pixels
    ]
    for data in sources(pixels):
        kept = open_data(data, DataOptions(transparency="keep"))
        flat = open_data(data, DataOptions())
        assert {each.tobytes() for each in np.asarray(kept.images)} == {each.tobytes() for each in pixels}
        assert {each.tobytes() for each in np.asarray(flat.images)} == {each.tobytes() for each in over}
        small = open_data(data, DataOptions(transparency="keep", image_size=8))
        assert small.spec.image_shape == (8, 8, 4)
    assert np.shares_memory(open_data(pixels, DataOptions(transparency="keep")).images, pixels)


def test_a_file_of_arrays_stays_transparent(tmp_path):
    pixels = RNG.integers(0, 256, (5, 16, 12, 4), np.uint8)
    np.save(tmp_path / "icons.npy", pixels)
    given = f"array:{tmp_path / 'icons.npy'}"
    np.testing.assert_array_equal(load(DataOptions(dataset=given, transparency="keep")).images, pixels)
    assert load(DataOptions(dataset=given)).spec.image_shape == (16, 12, 3)


def test_deep_greys_with_a_transparent_one_keep_it(tmp_path):
    pixels = np.full((8, 8), 40_000, np.uint16)
    pixels[:4] = 7
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    content = bytearray(png.getvalue())
    place = content.index(b"IDAT") - 4
    chunk = b"tRNS" + (7).to_bytes(2, "big")
    content[place:place] = (2).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(content)
    image = load(config(tmp_path, transparency="keep")).images[0]
    assert image.shape == (8, 8, 4)
    assert (image[:4, :, 3] == 0).all()
    np.testing.assert_allclose(image[4:, :, :3], round(40_000 / 65_535 * 255), atol=1)
    assert (load(config(tmp_path)).images[0, :4] == 255).all()
