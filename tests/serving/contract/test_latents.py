import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from serving.contract.latents import latents, threefry2x32


def threefry(key, counter):
    words = [np.array([word], np.uint32) for word in (*key, *counter)]
    return [int(word[0]) for word in threefry2x32((words[0], words[1]), (words[2], words[3]))]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        # Known answers published with Random123 (Salmon et al. 2011), threefry2x32, 20 rounds.
        ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_published_answers(counter, key, expected):
    assert threefry(key, counter) == list(expected)


def by_hand(seed, latent_dim):
    """The law of `serving.contract.latents`, one number at a time in Python's own arithmetic."""
    key = (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF)
    values = []
    for pair in range((latent_dim + 1) // 2):
        x0, x1 = threefry(key, (pair, 0))
        u1, u2 = ((x0 >> 8) + 0.5) / 2**24, (x1 >> 8) / 2**24
        z = np.sqrt(-2 * np.log(u1)) * np.exp(2j * np.pi * u2)
        values += [z.real, z.imag]
    return np.array(values[:latent_dim])


@given(st.integers(-(2**63), 2**63 - 1), st.integers(1, 9))
def test_latents_follow_the_documented_law(seed, latent_dim):
    z = latents([seed], latent_dim)
    assert z.dtype == np.float32
    assert z.shape == (1, latent_dim)
    np.testing.assert_allclose(z[0], by_hand(seed, latent_dim), rtol=1e-6, atol=1e-9)


def test_a_seed_does_not_depend_on_its_neighbours_or_the_size():
    seeds = np.array([-5, 0, 7, 2**40], np.int64)
    together = latents(seeds, 10)
    for row, seed in zip(together, seeds, strict=True):
        np.testing.assert_array_equal(latents([seed], 10)[0], row)
        np.testing.assert_array_equal(latents([seed], 4)[0], row[:4])


def test_latents_are_standard_normal_and_independent():
    z = latents(np.arange(20_000), 6)
    for column in z.T:
        assert stats.kstest(column, "norm").pvalue > 1e-3
    # 20,000 rows: a correlation's standard error is 0.007.
    assert np.abs(np.corrcoef(z.T) - np.eye(6)).max() < 0.03
    assert np.abs([np.corrcoef(z[:-1, i], z[1:, i])[0, 1] for i in range(6)]).max() < 0.03
    assert stats.kstest((z**2).sum(axis=1), stats.chi2(6).cdf).pvalue > 1e-3


@given(st.integers(-(2**63), 2**63 - 1), st.integers(1, 9))
def test_uniform_latents_follow_the_documented_law(seed, latent_dim):
    key = (seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF)
    expected = [2 * ((x >> 8) + 0.5) / 2**24 - 1 for pair in range(5) for x in threefry(key, (pair, 0))]
    z = latents([seed], latent_dim, "uniform")
    assert z.dtype == np.float32
    np.testing.assert_array_equal(z[0], np.array(expected[:latent_dim], np.float32))


def test_uniform_latents_are_uniform_and_independent():
    z = latents(np.arange(20_000), 6, "uniform")
    for column in z.T:
        assert stats.kstest(column, stats.uniform(-1, 2).cdf).pvalue > 1e-3
    assert np.abs(np.corrcoef(z.T) - np.eye(6)).max() < 0.03


def test_extreme_uniform_numbers_stay_finite():
    assert np.isfinite(latents(np.arange(200_000), 2)).all()
