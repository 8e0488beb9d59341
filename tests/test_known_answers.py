"""Where the answer is known: damage is what it says, and the verdict follows from the distances."""

import io

import numpy as np
import pytest
from PIL import Image

from benchmarks import known_answers
from pipeline.metrics.extractor import Features


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (60, 4, 4, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(each).resize((16, 16), Image.Resampling.BICUBIC)) for each in small])


def blocks(images):
    """Describes pictures by the means, and the roughness, of four parts of them."""
    parts = images.reshape(len(images), 2, 8, 2, 8, 3).astype(np.float32)
    return Features(np.concatenate([parts.mean((2, 4)), parts.std((2, 4))], -1).reshape(len(images), -1), None)


def test_jpeg_is_pillows_own(pictures):
    file = io.BytesIO()
    Image.fromarray(pictures[3]).save(file, "JPEG", quality=30)
    np.testing.assert_array_equal(known_answers.compressed(pictures, 30)[3], np.asarray(Image.open(file)))


def test_noise_has_its_deviation():
    grey = np.full((50, 32, 32, 1), 128, np.uint8)
    assert known_answers.noisy(grey, 20).std() == pytest.approx(20, rel=0.02)


def test_of_lost_modes_nothing_is_left(pictures):
    light = pictures.reshape(60, -1).mean(1)
    kept = known_answers.dropped(pictures, 0.25).reshape(60, -1).mean(1)
    assert kept.max() <= np.sort(light)[44]
    assert len(np.unique(kept)) == 45


@pytest.mark.parametrize("channels", [1, 3])
def test_every_damage_keeps_shape_and_type(pictures, channels):
    images = pictures[..., :channels]
    for damage, _, degrees in known_answers.DAMAGES.values():
        for degree in degrees:
            made = damage(images, degree)
            assert (made.shape, made.dtype) == (images.shape, np.uint8)
            assert (made != images).any()


def test_the_table_holds_what_was_measured_and_a_fall_is_named(pictures):
    found = known_answers.answers(pictures, blocks)
    assert [*found] == ["blur", "noise", "JPEG", "lost modes"]
    text = known_answers.table(found)
    degree, value, error = found["noise"][-1]
    assert f"| noise | none: **{found['noise'][0][1]:.4g}** " in text
    assert f"{degree}: **{value:.4g}** ± {1.96 * error:.2g} |" in text
    assert "lost modes" not in known_answers.grows(found)
    assert known_answers.grows(
        {"a": [("none", 1.0, 0.1), ("x", 0.5, 0.1)], "b": [("none", 1.0, 0), ("x", 2.0, 0)]}
    ) == ["a"]
