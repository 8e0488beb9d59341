import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from serving.contract import png


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 4]), st.integers(0, 2**32 - 1))
def test_pillow_reads_what_we_write(height, width, channels, seed):
    picture = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    image = Image.open(io.BytesIO(png.encode(picture)))
    assert image.mode == {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    np.testing.assert_array_equal(np.asarray(image).reshape(picture.shape), picture)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 2), (0, 4, 1)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="expected uint8"):
        png.encode(np.zeros(shape, np.uint8))


def test_grid_places_images_row_by_row():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 1), np.uint8)
    picture = png.grid(images, columns=3)
    assert picture.shape == (10, 17, 1)
    for index in range(5):
        top, left = 2 + index // 3 * 4, 2 + index % 3 * 5
        assert (picture[top : top + 2, left : left + 3] == index).all()
    assert (picture[6:, 12:] == 255).all()


def test_a_grid_of_transparent_images_is_transparent_around_them():
    images = np.arange(1, 3, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 3, 4), np.uint8)
    picture = png.grid(images, columns=1)
    assert picture.shape == (10, 7, 4)
    assert (picture[2:4, 2:5] == 1).all()
    assert (picture[6:8, 2:5] == 2).all()
    assert picture.sum() == images.sum()


def test_write_leaves_only_the_file(tmp_path):
    png.write(tmp_path / "a.png", np.zeros((2, 2, 1), np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_failed_write_leaves_nothing(tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OSError, match="directory"):
        png.write(tmp_path / "folder.png", np.zeros((2, 2, 1), np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["folder.png"]
