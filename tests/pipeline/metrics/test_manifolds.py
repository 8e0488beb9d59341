"""Precision, recall, density and coverage: as others compute them, and as sure as they say."""

import functools

import numpy as np
import prdc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.metrics import manifolds
from pipeline.metrics.density_coverage import DensityCoverage, density_coverage
from pipeline.metrics.manifolds import Nearest
from pipeline.metrics.metric import TooFewError
from pipeline.metrics.precision_recall import PrecisionRecall, precision_recall
from tests.pipeline.metrics.samples import evidence


@given(st.integers(0, 1000), st.integers(1, 7))
@settings(max_examples=15, deadline=None)
def test_all_four_are_those_of_an_independent_package_in_blocks_of_any_size(seed, k):
    rng = np.random.default_rng(seed)
    n, m, d = rng.integers(k + 2, 90, 3)  # prdc asks for one sample more than it needs
    real = rng.standard_normal((n, d)).astype(np.float32)
    generated = (rng.uniform(0.3, 1.2) * rng.standard_normal((m, d)) + rng.uniform(0, 0.5)).astype(np.float32)
    expected = prdc.compute_prdc(real_features=real, fake_features=generated, nearest_k=k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifolds, "_NUMBERS", int(rng.integers(1, 3000)))
        found = (*precision_recall(real, generated, k), *density_coverage(real, generated, k))
    assert found == pytest.approx([expected[name] for name in ("precision", "recall", "density", "coverage")], abs=1e-9)


def test_density_and_coverage_of_the_extremes():
    rng = np.random.default_rng(0)
    a = rng.standard_normal((200, 4))
    assert density_coverage(a, a + 100) == (0, 0)
    density, coverage = density_coverage(np.concatenate([a, a + 100]), a)
    assert coverage == 0.5
    assert density > 1  # each sample lies in its own ball too
    # Equal distributions: 1 and 1 - 2^-k, as the paper computes.
    real, generated = rng.standard_normal((2, 3000, 2))
    assert density_coverage(real, generated) == pytest.approx((1, 1 - 2**-5), abs=0.02)


@given(st.integers(0, 1000), st.integers(1, 8), st.one_of(st.integers(1, 12), st.integers(50, 400)), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_the_smallest_are_found_even_among_equals(seed, rows, columns, count):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, rng.choice([4, 1000]), (rows, columns)).astype(np.float32)
    values[rng.random((rows, columns)) < 0.2] = np.inf
    found = Nearest.of(values, count, start=5)
    np.testing.assert_array_equal(np.sort(found.distances, axis=1), np.sort(values, axis=1)[:, :count])
    np.testing.assert_array_equal(np.take_along_axis(values, found.indices - 5, axis=1), found.distances)
    assert all(len({*row}) == len(row) for row in found.indices.tolist())


@functools.cache
def drawn(size, generated_size, dimensions, scale):
    """Figures and their errors of 30 seeds."""
    figures, errors = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        real = rng.standard_normal((size, dimensions))
        shown = evidence(scale * rng.standard_normal((generated_size, dimensions)) + 0.2, real)
        one, other = PrecisionRecall(), DensityCoverage()
        figures.append((*one(shown), *other(shown)))
        errors.append((*one.errors(shown), *other.errors(shown)))
    return np.asarray(figures), np.asarray(errors)


@pytest.mark.parametrize("sizes", [(1000, 500), (500, 500), (500, 3000)])
def test_a_perfect_generator_has_the_same_whatever_is_counted(sizes):
    rng = np.random.default_rng(0)
    real, generated = (rng.standard_normal((size, 4)) for size in sizes)
    assert DensityCoverage()(evidence(generated, real)) == pytest.approx((1, 0.97), abs=0.06)


@pytest.mark.parametrize("drawing", [(200, 250, 5, 0.8), (250, 240, 3, 0.4), (200, 200, 16, 1.0)])
def test_errors_are_the_spread_over_seeds_or_a_little_more(drawing):
    figures, errors = drawn(*drawing)
    spread = figures.std(axis=0, ddof=1)
    assert (errors.mean(axis=0) > 0.75 * spread).all()
    # Of shares near 0 and 1 there is a least error.
    assert (errors.mean(axis=0) < np.maximum(2 * spread, 0.015)).all()
    within = np.abs(figures - figures.mean(axis=0)) <= 1.96 * errors
    assert (within.mean(axis=0) >= 0.85).all()


def test_nothing_is_certain_where_all_samples_are_alike():
    a = np.random.default_rng(0).standard_normal((50, 3))
    shown = evidence(a + 100, a)
    assert PrecisionRecall()(shown) == (0, 0)
    assert all(0.01 < error < 0.1 for error in PrecisionRecall().errors(shown))
    assert DensityCoverage().errors(shown)[1] > 0.01


def test_distances_are_taken_once_for_both_metrics(monkeypatch):
    taken = []
    squared = manifolds.squared_distances
    monkeypatch.setattr(manifolds, "squared_distances", lambda a, b: taken.append(len(a) * len(b)) or squared(a, b))
    real, generated = np.random.default_rng(0).standard_normal((2, 60, 3))
    shown = evidence(generated, real)
    for metric in (PrecisionRecall(), DensityCoverage()):
        metric(shown)
        metric.errors(shown)
    assert sum(taken) == 3 * 60 * 60


def test_many_copies_take_no_more_memory_and_no_warning():
    real = np.random.default_rng(0).standard_normal((100, 3))
    generated = np.repeat(real[:1], 100, axis=0)
    shown = evidence(generated, real)
    assert PrecisionRecall()(shown)[0] == 1
    assert np.isfinite([*PrecisionRecall().errors(shown), *DensityCoverage().errors(shown)]).all()


def test_too_few_samples_are_told():
    few = np.eye(3)
    with pytest.raises(TooFewError, match="k=3 needs more than 3 samples of each kind, and there are 3"):
        PrecisionRecall()(evidence(few, np.random.default_rng(0).standard_normal((9, 3))))
    shown = evidence(np.random.default_rng(0).standard_normal((9, 3)), np.eye(4)[:, :3])
    assert np.isfinite([*PrecisionRecall()(shown), *PrecisionRecall().errors(shown)]).all()
    with pytest.raises(TooFewError, match="k=5 needs more than 5 samples of each kind, and there are 4"):
        DensityCoverage()(shown)
