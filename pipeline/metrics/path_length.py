"""Length of paths through latent space, in features (after Karras et al. 2019, arXiv 1812.04948)."""

import dataclasses
from typing import Any

import numpy as np

from pipeline.metrics.metric import Evidence, Images, Metric

_BATCH = 128  # a multiple of what extractors take at once
_PERCENTILES = (1, 99)  # beyond which the paper's code leaves paths out


def slerp(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Goes from latents to others along a great circle, by its share t.

    Args:
      a: float [n, latent_dim].
      b: of the same shape.
      t: float [n], 0 for a and 1 for b.

    Returns:
      float64 [n, latent_dim]; lengths go from those of a to those of b.
    """
    lengths = [np.linalg.norm(each, axis=1, keepdims=True) for each in (a, b)]
    one, other = a / lengths[0], b / lengths[1]
    angle = np.arccos(np.clip(np.vecdot(one, other), -1, 1))[:, None]
    t = np.asarray(t, np.float64)[:, None]
    sine = np.sin(angle)
    # In opposite, or the same, directions there is no one circle; the straight line is as good.
    circle = sine > 1e-6
    weights = [np.where(circle, np.sin(share * angle) / np.where(circle, sine, 1), share) for share in (1 - t, t)]
    return (weights[0] * one + weights[1] * other) * ((1 - t) * lengths[0] + t * lengths[1])


def _line(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    """The same along a straight line, which doesn't leave the cube that both lie in."""
    return a + np.asarray(t, np.float64)[:, None] * (b - a)


@dataclasses.dataclass(frozen=True)
class FeaturePathLength(Metric):
    """`feature_path_length`: how much images change along short paths between latents, in an extractor's features.

    Of `paths` pairs of latents, each with one label, the images at t and at t + `epsilon` of the great circle between
    them, or of the straight line where latents are uniform in a cube: the mean of |f(t + epsilon) - f(t)|^2 /
    epsilon^2, but for the 1 % least and 1 % most, over the mean squared distance of two images of the reference. A
    generator that goes straight from image to image, as different as real ones are, has 1; one that makes detours or
    jumps has more.

    It is the perceptual path length but for two things, so that its figures are not those of papers: features are the
    extractor's, in units of real images, where the paper takes LPIPS; and since generators to be judged return whole
    grey levels, `epsilon` is 0.1 and not 0.0001, which rounding would hide.

    Attributes:
      sampling: "full": t is anywhere between the latents; "end": t is 0.
    """

    paths: int = 500
    epsilon: float = 0.1
    sampling: str = "full"

    figures = ("feature_path_length",)
    needs = ("features", "generator")
    quick = False
    compared = False

    def __post_init__(self) -> None:
        if self.sampling not in ("full", "end") or not 0 < self.epsilon <= 1 or self.paths < 2:
            raise ValueError(
                f"sampling={self.sampling!r}, epsilon={self.epsilon}, paths={self.paths}; expected 'full' or 'end', "
                "between 0 and 1, and 2 or more"
            )

    def __call__(self, evidence: Evidence) -> float:
        """See `Metric`."""
        return float(self._lengths(evidence).mean())

    def errors(self, evidence: Evidence) -> float:
        """See `Metric`."""
        lengths = self._lengths(evidence)
        return float(lengths.std(ddof=1) / np.sqrt(len(lengths)))

    def _lengths(self, evidence: Evidence) -> Any:
        return evidence.once(self, lambda: self._measure(evidence))

    def _measure(self, evidence: Evidence) -> np.ndarray:
        assert evidence.generate is not None
        rng = np.random.default_rng(0)
        shape = 2, self.paths, evidence.latent_dim
        ends = rng.uniform(-1, 1, shape) if evidence.uniform else rng.standard_normal(shape)
        path = _line if evidence.uniform else slerp
        t = rng.uniform(0, 1 - self.epsilon, self.paths) if self.sampling == "full" else np.zeros(self.paths)
        asked = evidence.generated.labels
        labels = np.resize(asked, (self.paths, *asked.shape[1:]))
        lengths = []
        for start in range(0, self.paths, _BATCH):
            part = slice(start, start + _BATCH)
            one, other = (
                self._features(evidence, path(ends[0, part], ends[1, part], at), labels[part])
                for at in (t[part], t[part] + self.epsilon)
            )
            lengths.append(np.square(other - one).sum(axis=1) / self.epsilon**2)
        apart = 2 * np.trace(evidence.real.moments.covariance)
        found = np.concatenate(lengths) / (apart or 1.0)
        low, high = np.percentile(found, _PERCENTILES)
        return found[(low <= found) & (found <= high)]

    def _features(self, evidence: Evidence, z: np.ndarray, labels: np.ndarray) -> np.ndarray:
        assert evidence.generate is not None
        images = Images("of paths", evidence.generate(z.astype(np.float32), labels), labels)
        return evidence.generated.likewise(images).features.astype(np.float64)
