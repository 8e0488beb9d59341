"""Mean and covariance, in blocks and in parts, are those of all features at once."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.metrics.moments import Moments


def same(moments, features, rtol=1e-10):
    np.testing.assert_allclose(moments.mean, features.mean(axis=0, dtype=np.float64), rtol=rtol, atol=1e-12)
    expected = np.atleast_2d(np.cov(features.astype(np.float64), rowvar=False))
    np.testing.assert_allclose(moments.covariance, expected, rtol=rtol, atol=1e-10)
    assert moments.count == len(features)


@given(st.integers(0, 1000), st.integers(1, 5), st.lists(st.integers(2, 9), min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_they_are_the_same_in_blocks_and_joined(seed, dimensions, sizes):
    rng = np.random.default_rng(seed)
    features = (rng.standard_normal((sum(sizes), dimensions)) * rng.uniform(0, 3, dimensions) + 5).astype(np.float32)
    blocks = np.split(features, np.cumsum(sizes)[:-1])
    same(Moments.of(features), features)
    same(Moments.of(iter(blocks)), features)
    joined = Moments.of(blocks[0])
    for block in blocks[1:]:
        joined = joined.joined(Moments.of(block))
    same(joined, features)


def test_features_far_from_zero_lose_nothing():
    features = np.random.default_rng(0).standard_normal((5000, 3)) + 1e6
    same(Moments.of(features), features, rtol=1e-7)


def test_the_root_is_the_covariances_even_without_full_rank():
    features = np.random.default_rng(0).standard_normal((4, 6))
    moments = Moments.of(features)
    np.testing.assert_allclose(moments.root @ moments.root, moments.covariance, atol=1e-12)
    np.testing.assert_allclose(moments.root, moments.root.T)
