"""Nearest training images: numbers against brute force, the sheet pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.metrics import neighbours
from pipeline.metrics.neighbours import nearest, nearest_of_all, sheet


def brute(queries, candidates, k):
    apart = queries.reshape(len(queries), 1, -1).astype(np.float64) - candidates.reshape(len(candidates), -1)
    distances = np.sqrt(np.square(apart).mean(axis=2))
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, axis=1)


@given(st.integers(0, 1000), st.integers(1, 12), st.integers(1, 12), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_the_nearest_are_found_in_blocks_of_any_size(seed, n, m, levels):
    rng = np.random.default_rng(seed)
    # Few levels make ties, which go to the first of them.
    queries, candidates = (rng.integers(0, levels + 1, (size, 2, 2, 1), dtype=np.uint8) * 60 for size in (n, m))
    k = int(rng.integers(1, m + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "_BLOCK", int(rng.integers(1, 50)))
        patch.setattr(neighbours, "_MORE", 12)
        indices, distances = nearest_of_all(queries, candidates, k)
    expected = brute(queries, candidates, k)
    np.testing.assert_allclose(distances, expected[1])
    np.testing.assert_array_equal(indices, expected[0])


def test_a_near_copy_of_a_bright_image_is_told_from_a_copy():
    # In single precision the expanded square of both is the same.
    rng = np.random.default_rng(0)
    candidates = rng.integers(240, 256, (50, 64, 64, 3), dtype=np.uint8)
    candidates[7] = candidates[31]
    candidates[7, 5, 5, 0] ^= 1
    indices, distances = nearest(candidates[[31]], candidates)
    assert (indices.tolist(), distances.tolist()) == ([31], [0])


def test_features_are_compared_as_they_are():
    features = np.random.default_rng(0).standard_normal((30, 5)).astype(np.float32)
    indices, _ = nearest_of_all(features[:4] + 0.01, features, 3)
    assert indices[:, 0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("channels", [1, 3, 9])
def test_a_sheet_shows_each_image_and_its_nearest_in_a_row(channels):
    train = np.random.default_rng(1).integers(0, 256, (8, 4, 5, channels), dtype=np.uint8)
    generated = train[[6, 2]] ^ 1
    picture = sheet(generated, train, k=3)
    assert (picture.shape, picture.dtype) == ((2 * 6 + 2, 4 * 7 + 6, channels), np.uint8)
    order, _ = brute(generated, train, 3)
    for row in range(2):
        top = 2 + row * 6
        np.testing.assert_array_equal(picture[top : top + 4, 2:7], generated[row])
        for column, index in enumerate(order[row]):
            left = 6 + (column + 1) * 7
            np.testing.assert_array_equal(picture[top : top + 4, left : left + 5], train[index])
    shown = 2 * 4 * 4 * 5  # rows, pictures and pixels
    assert (picture != 255).any(axis=2).sum() <= shown
    np.testing.assert_array_equal(picture[:, 7:13], 255)


def test_a_sheet_goes_by_features_where_they_are_given_and_shows_what_there_is():
    train = np.random.default_rng(1).integers(0, 256, (3, 2, 2, 1), dtype=np.uint8)
    features = (np.array([[0.0]]), np.array([[3.0], [-1.0], [2.0]]))
    picture = sheet(train[:1], train, features=features)
    assert picture.shape == (2 + 4, 4 * 4 + 6, 1)
    for column, index in enumerate([1, 2, 0]):
        left = 6 + (column + 1) * 4
        np.testing.assert_array_equal(picture[2:4, left : left + 2], train[index])
