"""Paths through latent space: great circles, and lengths of generators whose paths are known."""

import numpy as np
import pytest

from pipeline.base.errors import MirageError
from pipeline.metrics.choice import choose
from pipeline.metrics.extractor import Features
from pipeline.metrics.metric import Evidence, Images, Samples
from pipeline.metrics.path_length import FeaturePathLength, slerp


def test_great_circles_keep_directions_and_lengths():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 50, 7))
    np.testing.assert_allclose(slerp(a, b, np.zeros(50)), a)
    np.testing.assert_allclose(slerp(a, b, np.ones(50)), b)
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (a, b)]
    middle = slerp(*unit, np.full(50, 0.5))
    np.testing.assert_allclose(np.linalg.norm(middle, axis=1), 1)
    np.testing.assert_allclose(np.vecdot(middle, unit[0]), np.vecdot(middle, unit[1]))
    assert np.isfinite(slerp(a, a, np.full(50, 0.3))).all()
    assert np.isfinite(slerp(a, -a, np.full(50, 0.3))).all()


class Raw:
    """Describes images by their pixels."""

    name = "raw"

    def __call__(self, images):
        return Features(images.reshape(len(images), -1).astype(np.float32), None)


def shown(generate):
    latents = np.random.default_rng(1).standard_normal((400, 64))
    labels = np.arange(400, dtype=np.int32) % 3
    made = Samples(Images("generated", generate(latents, labels), labels), Raw())
    return Evidence(made, made, made.images, (made.images, made.images), generate=generate, latent_dim=64)


def linear(z, labels):
    """Pixels that are straight in z, far within the range."""
    return np.rint(127.5 + 25 * np.clip(z, -5, 5)).astype(np.uint8).reshape(-1, 8, 8, 1)


def test_a_generator_that_is_straight_in_its_latents_has_the_length_of_their_circle():
    # Of latents at right angles, of squared length d, each d pi^2 / 4; of two of them, squared distances are 2 d.
    metric = FeaturePathLength()
    evidence = shown(linear)
    length, error = metric(evidence), metric.errors(evidence)
    assert length == pytest.approx(np.pi**2 / 8, rel=0.05)
    assert 0 < error < 0.05 * length
    assert FeaturePathLength(sampling="end")(shown(linear)) == pytest.approx(length, rel=0.05)


def test_uniform_latents_are_joined_by_straight_lines_within_their_cube():
    def within(z, labels):
        assert np.abs(z).max() <= 1
        return np.rint(127.5 * (1 + z)).astype(np.uint8).reshape(-1, 8, 8, 1)

    uniform = np.random.default_rng(1).uniform(-1, 1, (400, 64))
    made = Samples(Images("generated", within(uniform, None), np.zeros(400, np.int32)), Raw())
    sets = (made, made, made.images, (made.images, made.images))
    evidence = Evidence(*sets, generate=within, latent_dim=64, uniform=True)
    # Along a straight line |b - a|^2 is what two images are apart.
    assert FeaturePathLength()(evidence) == pytest.approx(1, rel=0.05)


def test_jumps_make_paths_longer_and_labels_are_the_same_at_both_ends():
    seen = []

    def jumping(z, labels):
        seen.append(labels)
        return np.where(linear(z, labels) > 127, 255, 0).astype(np.uint8)

    assert FeaturePathLength()(shown(jumping)) > 3 * np.pi**2 / 8
    for one, other in zip(seen[1::2], seen[2::2], strict=True):  # the first made the images that are judged
        np.testing.assert_array_equal(one, other)


def test_the_figure_is_the_same_each_time():
    assert FeaturePathLength(paths=20)(shown(linear)) == FeaturePathLength(paths=20)(shown(linear))


@pytest.mark.parametrize("arguments", ["sampling=middle", "epsilon=0.0", "paths=1"])
def test_what_is_no_path_is_told(arguments):
    with pytest.raises(MirageError, match="expected 'full' or 'end', between 0 and 1, and 2 or more"):
        choose(f"feature_path_length({arguments})")
