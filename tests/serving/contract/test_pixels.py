import numpy as np
import pytest
from PIL import Image

from serving.contract.pixels import over_white, premultiplied, straight, to_pixels


def every_pixel():
    """All pairs of a colour and an alpha, as uint8 [256, 256, 4] with three equal colours."""
    alpha, colour = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8), indexing="ij")
    return np.stack([colour, colour, colour, alpha], axis=-1)


def test_to_pixels():
    images = np.array([-2, -1, -0.996, 0, 0.5, 1, 2], np.float32)
    np.testing.assert_array_equal(to_pixels(images), [0, 0, 1, 128, 191, 255, 255])


def test_premultiplied_images_become_straight_pixels():
    # Half red under half alpha is full red; more colour than alpha is full colour; without alpha there is none.
    images = np.array([[0, -1, -1, 0], [1, 0.5, -1, 0], [1, 1, 1, -1], [0.5, 0, -1, 1]], np.float32)
    expected = [[255, 0, 0, 128], [255, 255, 0, 128], [0, 0, 0, 0], [191, 128, 0, 255]]
    np.testing.assert_array_equal(to_pixels(images, "premultiplied"), expected)
    np.testing.assert_array_equal(to_pixels(images, "straight"), to_pixels(images))


def test_straight_pixels_follow_the_law():
    pixels = every_pixel()
    for before, after in zip(pixels.reshape(-1, 4).tolist(), straight(pixels).reshape(-1, 4).tolist(), strict=True):
        c, a = min(before[0], before[3]), before[3]
        assert after == [(255 * c + a // 2) // a if a else 0] * 3 + [a]


def test_premultiplied_is_the_inverse():
    pixels = every_pixel()
    cut = np.concatenate([np.minimum(pixels[..., :3], pixels[..., 3:]), pixels[..., 3:]], axis=-1)
    np.testing.assert_array_equal(premultiplied(straight(pixels)), cut)


def test_over_white_is_what_others_make():
    pixels = every_pixel()
    with Image.fromarray(pixels) as picture:
        white = Image.new("RGBA", picture.size, "white")
        expected = np.asarray(Image.alpha_composite(white, picture))[..., :3]
    assert np.abs(over_white(pixels).astype(int) - expected).max() <= 1
    opaque = np.dstack([np.arange(12, dtype=np.uint8).reshape(2, 2, 3), np.full((2, 2), 255, np.uint8)])
    np.testing.assert_array_equal(over_white(opaque), opaque[..., :3])


@pytest.mark.parametrize("function", [straight, premultiplied, over_white])
def test_what_is_given_stays_as_it_is(function):
    pixels = every_pixel()
    function(pixels)
    np.testing.assert_array_equal(pixels, every_pixel())


def test_images_are_overwritten_only_where_that_is_allowed():
    images = np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 3, 4, 1)
    before = images.copy()
    pixels = to_pixels(images)
    np.testing.assert_array_equal(images, before)
    np.testing.assert_array_equal(to_pixels(images, scratch=images), pixels)
    assert not np.array_equal(images, before)
