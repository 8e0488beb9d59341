"""The measures against closed forms, scipy and an independent package on the same features."""

import numpy as np
import prdc
import pytest
import scipy.linalg
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.metrics import classes
from pipeline.metrics.frechet import frechet_distance, frechet_distance_of_few
from pipeline.metrics.kernel import kernel_distance
from pipeline.metrics.label_accuracy import label_accuracy
from pipeline.metrics.neighbours import nearest, squared_distances
from pipeline.metrics.precision_recall import precision_recall
from pipeline.metrics.reconstruction import reconstruction_error
from pipeline.metrics.sharpness import sharpness

RNG = np.random.default_rng(0)


def with_moments(mean, covariance, n=500):
    """Points whose sample mean and covariance are exactly these."""
    x = RNG.standard_normal((n, len(mean)))
    x -= x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return x @ np.linalg.cholesky(covariance).T + mean


def test_frechet_distance_of_two_gaussians_on_the_axes():
    # Commuting covariances: |difference of means|^2 + sum of (difference of standard deviations)^2.
    a = with_moments([1.0, 2.0, 0.0], np.diag([1.0, 4.0, 9.0]))
    b = with_moments([0.0, 4.0, 0.0], np.diag([4.0, 4.0, 1.0]))
    assert frechet_distance(a, b) == pytest.approx(1 + 4 + (1 + 0 + 4), rel=1e-9)


def test_frechet_distance_agrees_with_scipys_matrix_root():
    a, b = RNG.standard_normal((300, 8)) @ RNG.standard_normal((8, 8)), RNG.standard_normal((200, 8)) + 1
    c_a, c_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    difference = a.mean(axis=0) - b.mean(axis=0)
    root = scipy.linalg.sqrtm(c_a @ c_b).real
    expected = difference @ difference + np.trace(c_a + c_b - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_of_equal_sets_is_zero_even_if_features_are_constant():
    a = np.concatenate([RNG.standard_normal((50, 3)), np.ones((50, 2))], axis=1)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + 3 * np.eye(5)[4]) == pytest.approx(9)


@pytest.mark.parametrize("counts", [(20, 20), (20, 35), (50, 7), (2, 90)])
def test_frechet_distance_of_few_samples_is_the_same(counts):
    a, b = (RNG.standard_normal((count, 40)) @ RNG.standard_normal((40, 40)) + 5 for count in counts)
    assert frechet_distance_of_few(a, b) == pytest.approx(frechet_distance(a, b), rel=1e-4)
    assert frechet_distance_of_few(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance_of_few(a, a + 3 * np.eye(40)[4]) == pytest.approx(9)
    small = a.astype(np.float32)
    assert frechet_distance_of_few(small, small + 1) == pytest.approx(40, rel=1e-5)


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_frechet_distance_is_symmetric_and_not_negative(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((20, 4)), rng.standard_normal((30, 4)) * rng.uniform(0, 3)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-6, abs=1e-9)
    assert frechet_distance(a, b) > -1e-9


def test_kernel_distance_without_subsets_is_the_double_sum_of_the_paper():
    a, b = RNG.standard_normal((6, 3)), RNG.standard_normal((6, 3)) + 0.5

    def kernel(x, y):
        return (x @ y / 3 + 1) ** 3

    within = sum(kernel(s[i], s[j]) for s in (a, b) for i in range(6) for j in range(6) if i != j) / 30
    across = sum(kernel(x, y) for x in a for y in b) / 36
    value, error = kernel_distance(a, b, subsets=2, size=100)
    assert value == pytest.approx(within - 2 * across)
    assert error == pytest.approx(0, abs=1e-12)  # both subsets are the whole sets


def test_kernel_distance_of_equal_distributions_is_zero_within_its_error():
    a, b, c = (RNG.standard_normal((2000, 8)) + shift for shift in (0, 0, 0.3))
    value, error = kernel_distance(a, b, size=500)
    assert abs(value) < 0.02
    far, far_error = kernel_distance(a, c, size=500)
    assert far > 10 * (error + far_error)


def test_precision_and_recall_agree_with_an_independent_package():
    real, generated = RNG.standard_normal((200, 5)), 0.6 * RNG.standard_normal((150, 5)) + 0.3
    expected = prdc.compute_prdc(real_features=real, fake_features=generated, nearest_k=3)
    precision, recall = precision_recall(real, generated, k=3)
    assert precision == pytest.approx(expected["precision"], abs=0.01)
    assert recall == pytest.approx(expected["recall"], abs=0.01)
    assert 0.2 < recall < precision


def test_precision_and_recall_of_the_extremes():
    a = RNG.standard_normal((100, 4))
    assert precision_recall(a, a) == (1, 1)
    assert precision_recall(a, a + 100) == (0, 0)
    # One mode of two: all that is generated is good, half of what is real is missing.
    two = np.concatenate([a, a + 100])
    assert precision_recall(two, a) == (1, 0.5)


def test_distances_in_blocks_are_those_of_scipy(monkeypatch):
    a, b = RNG.standard_normal((7, 3)), RNG.standard_normal((9, 3))
    np.testing.assert_allclose(squared_distances(a, b), scipy.spatial.distance.cdist(a, b) ** 2, rtol=1e-9)
    monkeypatch.setattr("pipeline.metrics.manifolds._NUMBERS", 100)
    points = RNG.standard_normal((30, 3))
    assert precision_recall(points, points[:20] + 0.5) == precision_recall(points, points[:20] + 0.5)


def test_nearest_finds_copies_and_their_distance():
    train = RNG.integers(0, 256, (20, 4, 4, 1), dtype=np.uint8)
    queries = train[[3, 7]].copy()
    queries[1, 0, 0, 0] ^= 16
    indices, distances = nearest(queries, train)
    assert indices.tolist() == [3, 7]
    assert distances.tolist() == [0, pytest.approx(16 / 4)]  # 16 levels in one of 16 pixels


def test_inception_score_of_the_extremes():
    assert classes.inception_score(np.eye(10)) == pytest.approx(10)
    assert classes.inception_score(np.tile(np.eye(10)[0], (5, 1))) == pytest.approx(1)
    assert classes.inception_score(np.full((7, 10), 0.1)) == pytest.approx(1)


def test_inception_score_is_the_mutual_information_of_image_and_class():
    p = RNG.dirichlet(np.ones(4), size=50)
    expected = np.mean([scipy.stats.entropy(row, p.mean(axis=0)) for row in p])
    assert np.log(classes.inception_score(p)) == pytest.approx(expected)


def test_label_accuracy_histogram_entropy():
    p = np.eye(4)[[0, 1, 2, 2]]
    assert label_accuracy(p, np.array([0, 1, 2, 3])) == 0.75
    np.testing.assert_array_equal(classes.histogram(p), [0.25, 0.25, 0.5, 0])
    assert classes.entropy(np.full(8, 1 / 8)) == pytest.approx(1)
    assert classes.entropy(np.eye(8)[0]) == 0
    assert classes.entropy(classes.histogram(p)) == pytest.approx(scipy.stats.entropy([0.25, 0.25, 0.5, 0], base=4))
    assert classes.kl_to_uniform(np.array([5, 5, 5])) == pytest.approx(0)
    assert classes.kl_to_uniform(np.array([9, 0, 0])) == pytest.approx(np.log(3))


def test_blur_lowers_sharpness():
    images = RNG.integers(0, 256, (3, 16, 16, 1), dtype=np.uint8)
    x = images.astype(np.float64)
    blurred = ((x + np.roll(x, 1, 1) + np.roll(x, 1, 2)) / 3).astype(np.uint8)
    assert sharpness(np.full((2, 8, 8, 3), 77, np.uint8)) == 0
    assert sharpness(blurred) < 0.7 * sharpness(images)
    laplacian = scipy.ndimage.laplace(x[0, :, :, 0])[1:-1, 1:-1]
    assert sharpness(images[:1]) == pytest.approx(laplacian.std(), rel=1e-5)


def test_reconstruction_error():
    images = RNG.integers(0, 200, (3, 4, 4, 1), dtype=np.uint8)
    assert reconstruction_error(images, images) == 0
    assert reconstruction_error(images, images + 7) == pytest.approx(7)
