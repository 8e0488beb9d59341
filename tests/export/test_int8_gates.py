"""By what quantised generators are judged, of pictures that are known."""

import numpy as np
import pytest

from export import int8_gates
from export.int8_gates import by_pixels, feature_figures, pixel_figures, too_far
from serving.contract.latents import latents
from serving.contract.manifest import ModelInfo
from serving.contract.pixels import straight

GOOD = {"psnr": 30.0, "within_8": 0.95, "feature_floor": 10.0, "feature_noise": 1.0, "feature_distance": 5.0}
GREY = ModelInfo(3, (16, 16, 1), True, ("cat", "dog", "owl"))


@pytest.mark.parametrize(
    ("scores", "named"),
    [
        (GOOD, []),
        ({"psnr": 30.0, "within_8": 0.95}, []),  # without an extractor
        ({**GOOD, "psnr": 29.9}, ["29.9 dB from those of float32 (at least 30)"]),
        ({**GOOD, "psnr": float("nan")}, ["nan dB"]),
        ({**GOOD, "within_8": 0.9499}, ["95.0% of its values are within 8 levels of float32's (at least 95%)"]),
        ({**GOOD, "feature_distance": 5.01}, ["FD-EfficientNet-Lite0 from float32 is 5.010 (at most 5.000)"]),
        ({**GOOD, "feature_distance": float("nan")}, ["is nan (at most 5.000)"]),
        ({**GOOD, "feature_floor": 0.0, "feature_distance": 1.0}, []),
        ({**GOOD, "feature_floor": 1.9, "feature_distance": 1.001}, ["1.001 (at most 1.000)"]),
        ({**GOOD, "psnr": 0, "within_8": 0, "feature_distance": 99}, ["0.0 dB", "0.0%", "99.000"]),
    ],
)
def test_what_is_too_far(scores, named):
    clauses = list(too_far(scores))
    assert len(clauses) == len(named)
    assert all(part in clause for part, clause in zip(named, clauses, strict=True))


def test_pixel_figures():
    before = np.full((4, 2, 5, 1), 100, np.uint8)
    after = before.copy()
    after[0, 0] = [[102], [103], [108], [109], [133]]
    figures = pixel_figures([before[:3], before[3:]], [after[:3], after[3:]])
    squares = 2**2 + 3**2 + 8**2 + 9**2 + 33**2
    assert figures["psnr"] == pytest.approx(10 * np.log10(255**2 * 40 / squares), abs=0.01)
    assert (figures["within_2"], figures["within_8"], figures["within_32"]) == (36 / 40, 38 / 40, 39 / 40)


def test_what_cannot_be_seen_is_not_counted():
    clear = np.zeros((2, 4, 4, 4), np.uint8)
    coloured = clear.copy()
    coloured[..., :3] = 255
    assert pixel_figures([clear], [coloured])["within_2"] == 1
    coloured[..., 3] = 255
    assert pixel_figures([clear], [coloured])["within_32"] == 0


def test_pictures_with_alpha_are_described_over_white():
    seen = []

    def describe(pixels):
        seen.append(pixels)
        return pixels.reshape(len(pixels), -1)[:, :2].astype(np.float32)

    rng = np.random.default_rng(0)
    one = straight(rng.integers(0, 256, (3, 4, 4, 4), dtype=np.uint8))
    one[0, ..., 3] = 0
    figures = feature_figures(describe, [one], [one], [one[::-1]])
    assert figures == {
        "extractor": "efficientnet",
        "num_described": 3,
        "feature_distance": pytest.approx(0, abs=1e-3),
        "feature_floor": pytest.approx(0, abs=1e-3),
        "feature_noise": pytest.approx(0, abs=1),
    }
    assert [each.shape for each in seen] == [(3, 4, 4, 3)] * 4
    assert (seen[0][0] == 255).all()
    assert (seen[1][0] >= 254).all()
    assert np.abs(seen[1].astype(int) - seen[0]).max() == 1


def smooth(z, label):
    """A ramp of each latent's direction and colour."""
    x = np.linspace(-1, 1, 16)
    ramp = z[:, :1, None] * x[:, None] + z[:, 1:2, None] * x + z[:, 2:, None] + label[:, None, None]
    return np.round(127.5 + 60 * np.tanh(0.5 * ramp)).astype(np.uint8)[..., None]


def test_which_pictures_are_drawn(monkeypatch):
    monkeypatch.setattr(int8_gates, "_describe", lambda: (lambda pixels: pixels.reshape(len(pixels), -1)[:, :4], ""))
    drawn = {"float32": [], "int8": []}

    def draw(name):
        return lambda z, label: drawn[name].append((z, label)) or smooth(z, label)

    scores = by_pixels(GREY, 70)(draw("float32"), draw("int8")).scores["int8"]
    assert (scores["num_samples"], scores["num_described"]) == (70, 70)
    assert (scores["psnr"] > 99, scores["feature_distance"]) == (True, 0)
    assert scores["feature_floor"] > 0
    z, labels = (np.concatenate(each) for each in zip(*drawn["float32"], strict=True))
    np.testing.assert_array_equal(z, latents(np.concatenate([np.arange(70), np.arange(70), np.arange(70, 140)]), 3))
    np.testing.assert_array_equal(labels, np.tile(np.arange(70) % 3, 3))
    assert sum(len(z) for z, _ in drawn["int8"]) == 140


def test_the_extractor_tells_bands_from_what_nobody_sees(monkeypatch):
    extractor = int8_gates._describe()
    monkeypatch.setattr(int8_gates, "_describe", lambda: extractor)

    def banded(z, label):
        return smooth(z, label) // 16 * 16 + 8

    def rounded(z, label):
        return smooth(z, label) // 2 * 2 + 1

    fine = by_pixels(GREY, 24)(smooth, rounded)
    bad = by_pixels(GREY, 24)(smooth, banded)
    assert fine.failed == []
    assert fine.note == ""
    scores = bad.scores["int8"]
    assert scores["within_8"] == 1
    assert scores["psnr"] > 30
    (clause,) = bad.failed
    assert clause.startswith("its FD-EfficientNet-Lite0 from float32 is")
    assert bad.thresholds["feature_distance"] == {"most": max(scores["feature_noise"], scores["feature_floor"] / 2)}
