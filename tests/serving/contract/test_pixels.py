import numpy as np

from serving.contract.pixels import to_pixels


def test_to_pixels():
    images = np.array([-2, -1, -0.996, 0, 0.5, 1, 2], np.float32)
    np.testing.assert_array_equal(to_pixels(images), [0, 0, 1, 128, 191, 255, 255])


def test_images_are_overwritten_only_where_that_is_allowed():
    images = np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4, 1)
    before = images.copy()
    pixels = to_pixels(images)
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(to_pixels(images, images), pixels)
    assert not np.array_equal(images, before)
