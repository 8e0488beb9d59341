import numpy as np

from serving.contract.pixels import to_pixels


def test_to_pixels():
    images = np.array([-2, -1, -0.996, 0, 0.5, 1, 2], np.float32)
    np.testing.assert_array_equal(to_pixels(images), [0, 0, 1, 128, 191, 255, 255])
